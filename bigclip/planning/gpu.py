"""A plan for GPUs, by formula: XLA's GPU compiler wants a GPU to compile for."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from bigclip.config import ConfigError, plain
from bigclip.models import is_resnet
from bigclip.planning.analytic import estimate, state_sizes
from bigclip.planning.chips import find_chip
from bigclip.planning.plans import read_config, run_cost, times


@dataclasses.dataclass(frozen=True)
class StandIn:
    """Takes a device's place in a mesh of which only the sizes matter."""

    id: int
    platform: str = "gpu"
    slice_index: int = 0
    process_index: int = 0
    device_kind: str = "stand-in"


def plan_gpus(
    config: Mapping[str, Any],
    topology: str,
    *,
    price: float | None = None,
    epoch_examples: int | None = None,
) -> dict[str, Any]:
    """Plan a configuration's train step for a GPU cluster, by the formulas of `analytic`.

    Args:
        config: see `plan_training`.
        topology: "h100:64": 64 GPUs, in nodes of 8 that share a switch.
        price: USD per GPU and hour.
        epoch_examples: see `plan_training`.

    Returns:
        As `plan_training`; `analytic` is true, and what only a compiler tells (collectives,
        compile_seconds) is None. ici_bytes_per_step are bytes over NVLink, dcn_bytes_per_step
        those that leave a node. Parameters and optimizer are exact, the rest is by formula.

    Raises:
        ConfigError: see `read_config`; if the number of GPUs is none; for a ResNet with tensor
            parallelism.
    """
    chip, count = find_chip(topology)
    if not re.fullmatch(r"[1-9]\d*", count):
        raise ConfigError(
            f"--topology {topology}: a GPU cluster is a number of GPUs, such as {chip.name}:64."
        )
    devices = [StandIn(index) for index in range(int(count))]
    values, parts, rule = read_config(config, devices, num_slices=1, epoch_examples=epoch_examples)
    tensor = parts.mesh.shape["tensor"]
    if tensor > 1 and is_resnet(parts.task.manifest["architecture"]["image"]):
        raise ConfigError(
            f"config.mesh.tensor = {tensor}: a ResNet's convolutions are not split over `tensor`, "
            "and the formulas for GPUs do not hold for it. Plan with config.mesh.tensor = 1."
        )
    found = estimate(
        parts,
        chip,
        state_sizes(values, parts, rule),
        rule.groups,
        micro_batch_size=values["micro_batch_size"],
    )
    hbm, model = found.hbm_bytes, found.model_flops
    fits = hbm["total"] <= hbm["limit"]
    plan = {
        "topology": topology,
        "slices": 1,
        "chip": chip.label,
        "chips": len(devices),
        "devices": len(devices),
        "mesh": {axis: parts.mesh.shape[axis] for axis in parts.mesh.axis_names},
        "analytic": True,
        "architecture": values["task"].get("architecture"),
        "batch_size": parts.batch_size,
        "micro_batch_size": values["micro_batch_size"],
        "remat": values["task"].get("remat", "none"),
        "total_steps": rule.total_steps,
        "fits": fits,
        "over_bytes": 0 if fits else hbm["total"] - hbm["limit"],
        "hbm_bytes": hbm,
        "flops_per_step": sum(model.values()),
        "flops": {**model, "hardware": found.hardware_flops},
        "ici_bytes_per_step": found.sent.ici_bytes,
        "dcn_bytes_per_step": found.sent.dcn_bytes,
        "hbm_bytes_accessed_per_step": found.hbm_accessed,
        "collectives": None,
        "unknown_trip_counts": None,
        **times(found.bound, parts.batch_size),
        "compile_seconds": None,
    }
    plan["mfu"] = plan["flops_per_step"] / (found.bound.seconds * len(devices) * chip.peak_flops)
    return plain({**plan, **run_cost(plan, chips=len(devices), price=price)})
