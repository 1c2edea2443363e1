"""Try micro-batches, rematerialisation and FSDP, and recommend the fastest choice that fits.

All choices are first estimated by formula (`analytic`), which takes no time. Then they are
compiled, the fastest by formula first, which are those that compute least twice. What the formula
calls more than twice too large is left out, and so is what must take more memory than a choice
that did not fit. The sweep ends when something fits and the rest is slower by a tenth, by
formula; or when `max_trials` were compiled. A step's time is taken midway between its two bounds
(`roofline`); what is faster by less than a twentieth replaces nothing.
"""

import itertools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bigclip.config import ConfigError, plain
from bigclip.parallel import check_batch
from bigclip.planning.advice import REMATS
from bigclip.planning.analytic import estimate, state_sizes
from bigclip.planning.chips import find_chip
from bigclip.planning.gpu import StandIn, plan_gpus
from bigclip.planning.plans import is_gpu, read_config
from bigclip.planning.topology import make_pod
from bigclip.planning.trial import plan_apart
from bigclip.training.outline import Outline

_SLACK = 1.1
_EQUAL = 1.05
_FAR_TOO_LARGE = 2.0


class Choice(NamedTuple):
    """What a sweep varies.

    Attributes:
        micro_batch_size: examples at once, or None for all.
        remat: policy of the layers.
        fsdp: devices over which parameters are sharded.
    """

    micro_batch_size: int | None
    remat: str
    fsdp: int


class Candidate(NamedTuple):
    """A choice with its configuration and what the formulas say of it."""

    choice: Choice
    config: dict[str, Any]
    seconds: float
    share: float  # of the memory there is


def _with(config: Mapping[str, Any], choice: Choice) -> dict[str, Any]:
    changed = plain(config)
    changed["micro_batch_size"] = choice.micro_batch_size
    changed["task"] = {**changed["task"], "remat": choice.remat}
    changed["mesh"] = {**(changed.get("mesh") or {}), "fsdp": choice.fsdp}
    return changed


def _options(batch_size: int, num_devices: int, own: Choice) -> tuple[list, list, list]:
    """What each of a choice's fields may be, the configuration's own value among them."""
    micros = [None, *(batch_size // parts for parts in (2, 4, 8, 16, 32, 64))]
    fsdps = [size for size in (1, 4, 16, 64) if num_devices % size == 0]

    def joined(own: Any, others: list) -> list:
        return others if own in others else [own, *others]

    return (
        joined(own.micro_batch_size, micros),
        joined(own.remat, list(REMATS)),
        joined(own.fsdp, fsdps),
    )


def _divides(parts: Outline, micro_batch_size: int | None) -> bool:
    try:
        check_batch(parts.mesh, parts.batch_size, micro_batch_size)
    except ConfigError:
        return False
    return True


def candidates(
    config: Mapping[str, Any],
    topology: str,
    *,
    num_slices: int = 1,
    epoch_examples: int | None = None,
) -> list[Candidate]:
    """Estimate all choices that the mesh and the batch allow, the fastest first.

    Raises:
        ConfigError: if the configuration as it is has a mistake.
    """
    chip, _ = find_chip(topology)
    if is_gpu(topology):
        devices: list[Any] = [StandIn(index) for index in range(int(topology.split(":")[1]))]
    else:
        devices = make_pod(topology, num_slices=num_slices).devices

    def read(changed: Mapping[str, Any]) -> tuple:
        return read_config(changed, devices, num_slices=num_slices, epoch_examples=epoch_examples)

    values, parts, _ = read(config)
    own = Choice(
        values["micro_batch_size"],
        values["task"].get("remat", "none"),
        parts.mesh.shape["fsdp"],
    )
    micros, remats, fsdps = _options(parts.batch_size, len(devices) // num_slices, own)
    found = []
    for fsdp in fsdps:
        try:
            values, parts, rule = read(_with(config, Choice(None, own.remat, fsdp)))
        except ConfigError:
            continue  # the mesh, or the batch, does not divide so
        state = state_sizes(values, parts, rule)
        for remat, micro in itertools.product(remats, micros):
            choice = Choice(micro, remat, fsdp)
            if not _divides(parts, micro):
                continue
            # The formulas read of a task what its manifest says.
            manifest = {**parts.task.manifest, "remat": remat}
            changed = parts._replace(task=parts.task._replace(manifest=manifest))
            guess = estimate(changed, chip, state, rule.groups, micro_batch_size=micro)
            found.append(
                Candidate(
                    choice,
                    _with(config, choice),
                    seconds=0.5 * (guess.bound.seconds + guess.bound.serial_seconds),
                    share=guess.hbm_bytes["total"] / guess.hbm_bytes["limit"],
                )
            )
    return sorted(found, key=_simplest_of_the_fastest)


def _simplest_of_the_fastest(one: Candidate) -> tuple:
    """What differs by less than the formulas can tell counts as equal; then the simplest first."""
    micro, remat, fsdp = one.choice
    equal = round(math.log(one.seconds) / math.log(_EQUAL))
    return equal, -(micro or math.inf), REMATS.index(remat) if remat in REMATS else -1, fsdp


def _takes_more(one: Choice, other: Choice) -> bool:
    """Whether `one` must take at least the memory of `other`."""
    many = math.inf
    return (
        (one.micro_batch_size or many) >= (other.micro_batch_size or many)
        and one.remat in REMATS
        and other.remat in REMATS
        and REMATS.index(one.remat) <= REMATS.index(other.remat)
        and one.fsdp <= other.fsdp
    )


def sweep(
    config: Mapping[str, Any],
    topology: str,
    *,
    num_slices: int = 1,
    price: float | None = None,
    epoch_examples: int | None = None,
    max_trials: int = 8,
    trial_minutes: float = 15,
    report: Callable[[dict[str, Any]], None] = lambda trial: None,
) -> dict[str, Any]:
    """Plan choices until the fastest that fits is found.

    Args:
        config: see `plan_training`.
        topology: see `plan_training`; for GPUs nothing is compiled, and all is by formula.
        num_slices: see `plan_training`.
        price: see `plan_training`.
        epoch_examples: see `plan_training`.
        max_trials: how many choices to compile at most.
        trial_minutes: after which a compilation is given up.
        report: called with each trial when it is done.

    Returns:
        {"trials": [...], "skipped": number of choices not planned, "recommended": choice or None,
        "plan": its plan, or None}.

    Raises:
        ConfigError: see `plan_training`.
    """
    left = candidates(config, topology, num_slices=num_slices, epoch_examples=epoch_examples)
    total, trials, too_large = len(left), [], []
    best: tuple[Candidate, dict[str, Any]] | None = None
    for one in left:
        if len(trials) >= max_trials or (best and one.seconds > _SLACK * best[0].seconds):
            break
        if one.share > _FAR_TOO_LARGE or any(_takes_more(one.choice, x) for x in too_large):
            continue
        since = time.perf_counter()
        options = {"price": price, "epoch_examples": epoch_examples}
        if is_gpu(topology):
            plan: dict[str, Any] | str = plan_gpus(one.config, topology, **options)
        else:
            plan = plan_apart(
                one.config,
                topology,
                timeout_seconds=60 * trial_minutes,
                num_slices=num_slices,
                **options,
            )
        trial = {"choice": one.choice._asdict(), "status": "planned"}
        if isinstance(plan, str):
            trial["status"] = plan
        else:
            hbm = plan["hbm_bytes"]
            trial |= {
                "fits": plan["fits"],
                "total_bytes": hbm["total"],
                "limit_bytes": hbm["limit"],
                "step_seconds_roofline": plan["step_seconds_roofline"],
                "step_seconds_serial": plan["step_seconds_serial"],
                "trial_seconds": time.perf_counter() - since,
            }
            if not plan["fits"]:
                too_large.append(one.choice)
            elif best is None or _EQUAL * _seconds(plan) < _seconds(best[1]):
                best = (one, plan)
        trials.append(trial)
        report(trial)
    return {
        "trials": trials,
        "skipped": total - len(trials),
        "recommended": best[0].choice._asdict() if best else None,
        "plan": best[1] if best else None,
    }


def _seconds(plan: Mapping[str, Any]) -> float:
    """Of a step: midway between its two bounds."""
    return 0.5 * (plan["step_seconds_roofline"] + plan["step_seconds_serial"])
