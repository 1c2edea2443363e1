"""A plan: what one step takes on a pod, as plain data."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from bigclip.config import ConfigError, check, plain, resolve
from bigclip.losses import pair_flops
from bigclip.parallel import make_mesh, num_batch_shards
from bigclip.planning import flops
from bigclip.planning.accesses import bytes_accessed
from bigclip.planning.chips import find_chip
from bigclip.planning.compiled import (
    Compiled,
    abstract_examples,
    abstract_outputs,
    abstract_state,
    compile_objective,
    compile_step,
)
from bigclip.planning.hlo import read_program, unknown_trip_counts
from bigclip.planning.memory import split_memory
from bigclip.planning.roofline import Roofline, roofline
from bigclip.planning.topology import Pod, make_pod
from bigclip.planning.traffic import Collective, Network, collectives, summarise
from bigclip.tasks import make_task
from bigclip.training.experiment import experiment
from bigclip.training.outline import Outline, Rule, learning_rule, outline

_OUTLINE_KEYS = (
    "task", "data", "preprocess", "tokenizer", "optimizer", "batch_size", "micro_batch_size",
    "schedule", "mesh", "checkpoints", "log",
)  # fmt: skip


def read_config(
    config: Mapping[str, Any], devices: list[Any], *, num_slices: int, epoch_examples: int | None
) -> tuple[dict[str, Any], Outline, Rule]:
    """Read a run's configuration for other devices than this machine's, without its data.

    Args:
        config: see `experiment`.
        devices: of the mesh.
        num_slices: `config.mesh.replica`, unless the configuration sets it.
        epoch_examples: records of the training source, for lengths in epochs.

    Returns:
        The arguments of `experiment` with their defaults, the outline and the learning rule.

    Raises:
        ConfigError: for what would stop a run before its data is opened, or a length in epochs
            without `epoch_examples`.
    """
    check(experiment, config, "")
    values = resolve(experiment, config)
    mesh = dict((values["mesh"] or {}).items())
    if num_slices > 1 and mesh.get("replica", 1) == 1:
        mesh["replica"] = num_slices
    values["mesh"] = mesh
    in_epochs = [
        f"config.{key}"
        for key in ("total_epochs", *(f"schedule.{x}_epochs" for x in ("warmup", "cooldown")))
        if _value_at(values, key) is not None
    ]
    if in_epochs and epoch_examples is None:
        raise ConfigError(
            f"{' and '.join(in_epochs)}: a plan opens no data, so it does not know how long an "
            "epoch is. Tell it with --epoch-examples N."
        )
    try:
        parts = outline(**{key: values[key] for key in _OUTLINE_KEYS}, devices=devices)
    except NotImplementedError as error:  # of JAX, which lays axes on a torus
        raise ConfigError(
            f"config.mesh = {mesh} cannot be laid on these devices: {error}"
        ) from error
    rule = learning_rule(
        parts,
        total_steps=values["total_steps"],
        total_examples=values["total_examples"],
        total_epochs=values["total_epochs"],
        epoch_examples=epoch_examples or 1,
    )
    return values, parts, rule


def _value_at(values: Mapping[str, Any], path: str) -> Any:
    for key in path.split("."):
        values = (values or {}).get(key)
    return values


def _network(pod: Pod, mesh: Mesh) -> Network:
    # The compiler writes one program per slice, whose partitions are the slice's devices in order.
    first = mesh.devices.reshape(pod.num_slices, -1)[0]
    coords = np.asarray([device.coords[: len(pod.shape)] for device in first])
    return Network(
        coords=coords,
        shape=pod.shape,
        wraps=pod.wraps,
        link_bytes_per_second=pod.chip.link_bytes_per_second,
        dcn_bytes_per_second=pod.chip.dcn_bytes_per_second,
        num_slices=pod.num_slices,
    )


def _sum(found: list[Collective], what: str, *, dcn: bool) -> float:
    return sum(
        one.times * getattr(one, what) for one in found if one.kind.startswith("dcn-") == dcn
    )


def _describe(pod: Pod, mesh: Mesh) -> dict[str, Any]:
    return {
        "topology": pod.topology,
        "slices": pod.num_slices,
        "chip": pod.chip.label,
        "chips": pod.num_chips,
        "devices": len(pod.devices),
        "mesh": {axis: mesh.shape[axis] for axis in mesh.axis_names},
        "analytic": False,
    }


def _speed(program: Compiled, pod: Pod, mesh: Mesh, *, batch_size: int) -> dict[str, Any]:
    """Traffic and roofline of a compiled program; None for each where it did not fit."""
    keys = (
        "ici_bytes_per_step", "dcn_bytes_per_step", "hbm_bytes_accessed_per_step", "collectives",
        "unknown_trip_counts", "roofline_seconds", "roofline_bound", "step_seconds_roofline",
        "step_seconds_serial", "examples_per_second",
    )  # fmt: skip
    if not program.fits:
        return dict.fromkeys(keys)
    hlo = read_program(program.text)
    found = collectives(hlo, _network(pod, mesh))
    accessed = bytes_accessed(hlo)
    bound = roofline(
        pod.chip,
        num_devices=len(pod.devices),
        hardware_flops=program.flops.bfloat16_flops,
        hbm_bytes=accessed,
        ici_seconds=_sum(found, "seconds", dcn=False),
        dcn_seconds=_sum(found, "seconds", dcn=True),
    )
    return {
        "ici_bytes_per_step": _sum(found, "bytes_sent", dcn=False),
        "dcn_bytes_per_step": _sum(found, "bytes_sent", dcn=True),
        "hbm_bytes_accessed_per_step": accessed,
        "collectives": summarise(found),
        "unknown_trip_counts": unknown_trip_counts(hlo),
        **times(bound, batch_size),
    }


def times(bound: Roofline, batch_size: int) -> dict[str, Any]:
    """Figures of a roofline, as a plan writes them."""
    return {
        "roofline_seconds": bound._asdict(),
        "roofline_bound": bound.bound,
        "step_seconds_roofline": bound.seconds,
        "step_seconds_serial": bound.serial_seconds,
        "examples_per_second": batch_size / bound.seconds,
    }


def run_cost(plan: Mapping[str, Any], *, chips: int, price: float | None) -> dict[str, Any]:
    """Chip-hours of the whole run at the roofline, and what they cost.

    Args:
        plan: with `total_steps` and `step_seconds_roofline`.
        chips: number of chips.
        price: USD per chip and hour, or None.
    """
    seconds = plan["step_seconds_roofline"]
    if seconds is None or plan.get("total_steps") is None:
        return {"chip_hours": None, "cost_usd": None}
    hours = plan["total_steps"] * seconds / 3600 * chips
    return {"chip_hours": hours, "cost_usd": None if price is None else hours * price}


def plan_training(
    config: Mapping[str, Any],
    topology: str,
    *,
    num_slices: int = 1,
    price: float | None = None,
    epoch_examples: int | None = None,
) -> dict[str, Any]:
    """Compile a configuration's train step for a pod, and tell what it takes.

    Args:
        config: see `bigclip.training.experiment.experiment`. Its data need not be there.
        topology: "v5e:16x16", ...
        num_slices: slices joined by the data-centre network; they become the replica axis.
        price: USD per chip and hour.
        epoch_examples: records of the training source, for lengths in epochs.

    Returns:
        Plain data. Bytes are per device (a chip, but for TPU7x, whose chips are two devices);
        FLOPs are of all devices.

        chips, devices, mesh, topology, slices, chip: where.
        fits: whether the compiler found room, and `total` is within the limit (it has been seen to
            pass what is a few percent above); `over_bytes` is by how much it is not (0 if so).
        hbm_bytes: see `split_memory`.
        flops_per_step: model FLOPs, see `model_flops`; `flops` splits them, with `hardware` and
            `hardware_bfloat16`, see `Counted`, of the traced step: what is computed twice counts
            twice. (The stem's gradient by the pixels, which model FLOPs count, is not computed.)
        ici_bytes_per_step, dcn_bytes_per_step: sent by one chip.
        hbm_bytes_accessed_per_step: see `bytes_accessed`.
        collectives: see `summarise`.
        unknown_trip_counts: loops that the figures of traffic count once, for want of a number.
        step_seconds_roofline, step_seconds_serial, roofline_seconds, roofline_bound: see
            `roofline`.
        examples_per_second, mfu: at the roofline.
        chip_hours, cost_usd: of the whole run, at the roofline.
        compile_seconds: of the step; `loss_compile_seconds`: of the objective alone.

        What takes a program to tell is None where the step does not fit.

    Raises:
        ConfigError: see `read_config` and `make_pod`.
    """
    pod = make_pod(topology, num_slices=num_slices)
    values, parts, rule = read_config(
        config, pod.devices, num_slices=num_slices, epoch_examples=epoch_examples
    )
    task, mesh, batch_size = parts.task, parts.mesh, parts.batch_size
    step = compile_step(
        task,
        rule,
        mesh,
        batch_size=batch_size,
        micro_batch_size=values["micro_batch_size"],
        ema_decay=values["ema_decay"],
        seed=values["seed"],
    )
    state, _ = abstract_state(
        task, rule, mesh, seed=values["seed"], ema=values["ema_decay"] is not None
    )
    examples = abstract_examples(task, mesh, batch_size)
    outputs = abstract_outputs(task, state.params, examples)
    objective = compile_objective(task, state.params, outputs, mesh)
    limit = step.limit_bytes or pod.chip.limit_bytes
    hbm = split_memory(step, objective, state, examples, limit=limit)
    model = flops.model_flops(task, batch_size, rule.groups)
    speed = _speed(step, pod, mesh, batch_size=batch_size)
    plan = {
        **_describe(pod, mesh),
        "architecture": values["task"].get("architecture"),
        "batch_size": batch_size,
        "micro_batch_size": values["micro_batch_size"],
        "remat": values["task"].get("remat", "none"),
        "total_steps": rule.total_steps,
        "fits": step.fits and hbm["total"] <= limit,
        "over_bytes": max(0, hbm["total"] - limit),
        "hbm_bytes": hbm,
        "flops_per_step": sum(model.values()),
        "flops": _split_flops(model, step.flops),
        **speed,
        "compile_seconds": step.seconds,
        "loss_compile_seconds": objective.seconds,
    }
    plan["mfu"] = _mfu(plan, pod)
    return plain({**plan, **run_cost(plan, chips=pod.num_chips, price=price)})


def _split_flops(model: Mapping[str, int], program: flops.Counted) -> dict[str, int]:
    return {**model, "hardware": program.flops, "hardware_bfloat16": program.bfloat16_flops}


def _mfu(plan: Mapping[str, Any], pod: Pod) -> float | None:
    seconds = plan["step_seconds_roofline"]
    if seconds is None:
        return None
    return plan["flops_per_step"] / (seconds * len(pod.devices) * pod.chip.peak_flops)


def plan_loss(
    *,
    loss: str,
    batch_size: int,
    embed_dim: int,
    topology: str,
    num_slices: int = 1,
    mesh: Mapping[str, int] | None = None,
    pairs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Compile the objective and its gradient alone, for a global batch of any size.

    It is the objective of the contrastive task: value, gradient of both embeddings, of the logit
    scale and of the bias. No tower takes part.

    Args:
        loss: "softmax" or "sigmoid".
        batch_size: B.
        embed_dim: D.
        topology: "v5e:16x16", ...
        num_slices: see `plan_training`.
        mesh: see `make_mesh`.
        pairs: how the pairs are walked, `config.task.pairs`; the task's default if empty.

    Returns:
        As `plan_training`, as far as it applies: hbm_bytes has arguments, outputs, loss
        (temporaries), other, total and limit (and a step's other keys as 0); flops_per_step are
        those of four products of all pairs.
    """
    pod = make_pod(topology, num_slices=num_slices)
    sizes = dict(mesh or {})
    if num_slices > 1:
        sizes.setdefault("replica", num_slices)
    where = make_mesh(devices=pod.devices, **sizes)
    shards = num_batch_shards(where)
    if batch_size < 1 or embed_dim < 1 or batch_size % shards:
        raise ConfigError(
            f"--batch {batch_size} and --dim {embed_dim} must be positive, and the batch "
            f"divisible by the {shards} batch shards of {topology}."
        )
    task = make_task(
        {
            "name": "contrastive",
            "architecture": "tiny-clip",
            "overrides": {"embed_dim": embed_dim},
            "loss": loss,
            **({"pairs": dict(pairs)} if pairs else {}),
        },
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    names = ("log_logit_scale", *(("logit_bias",) if loss == "sigmoid" else ()))
    emb = jax.ShapeDtypeStruct((batch_size, embed_dim), jnp.float32)
    program = compile_objective(
        task, dict.fromkeys(names, scalar), {"image_emb": emb, "text_emb": emb}, where
    )
    own = 2 * math.prod(emb.shape) * 4 // shards
    memory = program.memory
    total = memory.total if memory else program.asked_bytes
    limit = program.limit_bytes or pod.chip.limit_bytes
    model = {"loss": pair_flops(batch_size, embed_dim)}
    plan = {
        **_describe(pod, where),
        "loss": loss,
        "pairs": dict(pairs or {}),
        "batch_size": batch_size,
        "embed_dim": embed_dim,
        "fits": program.fits and total <= limit,
        "over_bytes": max(0, total - limit),
        "hbm_bytes": {
            # Keys of a whole step, so that one reader reads both.
            **dict.fromkeys(("parameters", "optimizer", "activations"), 0),
            "arguments": memory.arguments if memory else own,
            "outputs": memory.outputs - memory.aliased if memory else own,
            "loss": memory.temporaries if memory else total - 2 * own,
            "other": memory.code if memory else 0,
            "total": total,
            "limit": limit,
        },
        "flops_per_step": model["loss"],
        "flops": _split_flops(model, program.flops),
        **_speed(program, pod, where, batch_size=batch_size),
        "compile_seconds": program.seconds,
    }
    plan["mfu"] = _mfu(plan, pod)
    return plain(plan)


def is_gpu(topology: str) -> bool:
    """Whether a topology names GPUs, which are planned by formula."""
    return find_chip(topology)[0].kind == "gpu"
