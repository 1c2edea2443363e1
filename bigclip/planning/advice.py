"""What to change where a step does not fit."""

from collections.abc import Mapping
from typing import Any

# From keeping the most to keeping the least.
REMATS = ("none", "dots_no_batch", "full")


def advise(plan: Mapping[str, Any]) -> list[str]:
    """Suggest changes, the most effective first; nothing where the step fits.

    Args:
        plan: of `plan_training` or `plan_gpus`.
    """
    if plan["fits"]:
        return []
    hbm, mesh = plan["hbm_bytes"], plan["mesh"]
    shards = mesh["replica"] * mesh["data"] * mesh["fsdp"]
    micro = plan["micro_batch_size"] or plan["batch_size"]
    found = []
    state = hbm["parameters"] + hbm["optimizer"]
    if state > 0.3 * hbm["limit"] and mesh["data"] > 1:
        more = mesh["fsdp"] * min(mesh["data"], 4)
        found.append(
            f"--config.mesh.fsdp={more}: parameters and optimizer, {state / 2**30:.1f} GiB a "
            "device, are sharded over more devices"
        )
    if hbm["loss"] > 0.3 * hbm["limit"]:
        found.append(
            "--config.task.pairs.implementation=ring: the loss holds one tile of the pairs at a "
            "time (the configuration's task block must have pairs)"
        )
    room = hbm["limit"] - (hbm["total"] - hbm["activations"])
    if hbm["activations"] > 0.3 * hbm["limit"]:
        smaller = micro
        while smaller % (2 * shards) == 0 and hbm["activations"] * smaller / micro > room > 0:
            smaller //= 2
        if smaller < micro:
            found.append(
                f"--config.micro_batch_size={smaller}: activations of one slice at a time; every "
                "negative stays, and one more forward pass is paid"
            )
        remat = plan["remat"]
        if remat in REMATS[:-1]:
            found.append(
                f"--config.task.remat={REMATS[REMATS.index(remat) + 1]}: the backward pass "
                "computes more again, and keeps less"
            )
    if not found:
        found.append("more chips: a larger topology, or several slices with --slices")
    return found
