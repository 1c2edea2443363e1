"""A step's memory, work and traffic without any compiler.

What a GPU plan consists of, and what orders the trials of a sweep. Parameters and optimizer state
are exact (shapes and shardings). Activations are

    b (kept + 2 kept_none / layers) / tensor + 16 (1 + C) D b' + gradients

with b examples of a micro-batch and b' of the batch on a device, C captions of an example, what the
backward pass keeps of an example (`residuals`), what one layer at work holds in its two passes, the
embeddings with their gradients, and the parameters' float32 gradients. The tests hold that against
the TPU compiler's figure, within a factor of 1.5. The loss holds the pairs of one caption at a
time. Traffic is counted in `communication`.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from bigclip import models
from bigclip.losses import PairOptions, choose_implementation, pair_bytes, pair_flops
from bigclip.models.image import kept_patches
from bigclip.parallel import num_batch_shards
from bigclip.planning import flops
from bigclip.planning.chips import Chip
from bigclip.planning.compiled import abstract_examples, abstract_state
from bigclip.planning.memory import sharded_bytes
from bigclip.planning.residuals import kept_bytes
from bigclip.planning.roofline import Roofline, roofline
from bigclip.training.groups import Group
from bigclip.training.outline import Outline, Rule


class Tower(NamedTuple):
    """A tower, as far as its layers go; figures are of one example.

    Attributes:
        num_layers: blocks.
        outputs: elements that leave the layers, over all of them.
        recomputed_flops: policy of rematerialisation -> FLOPs of what the backward pass computes
            again inside the layers; policies without any are not there.
    """

    num_layers: int
    outputs: int
    recomputed_flops: Mapping[str, int]


def _transformer(
    fields: Mapping[str, Any], num_tokens: int, num_sequences: int = 1, *, pooled: bool
) -> Tower:
    # "full" computes all products of a layer again but the MLP's last, whose result nothing needs;
    # "dots_no_batch" the two of attention.
    flops = models.transformer_flops(fields, num_tokens, pooled=pooled)
    depth = fields["depth"]
    leaving = models.computed_positions(depth, num_tokens, pooled=pooled)
    return Tower(
        depth,
        num_sequences * leaving * fields["width"],
        {
            "dots_no_batch": num_sequences * flops.attention,
            "full": num_sequences * (flops.attention + flops.projections),
        },
    )


def _resnet(image: Mapping[str, Any]) -> Tower:
    # "full" computes all convolutions again: a normalisation needs what enters it.
    blocks = list(models.resnet_blocks(image))
    return Tower(
        len(blocks),
        sum((side // shape.stride) ** 2 * shape.outputs for shape, side in blocks),
        {"full": sum(models.block_flops(shape, side) for shape, side in blocks)},
    )


def towers(arch: Mapping[str, Any], num_captions: int = 1) -> dict[str, Tower]:
    """The two towers of an architecture, for examples of C captions."""
    image, text = arch["image"], arch["text"]
    length = text["context_length"]
    found = {"text": _transformer(text, length, num_captions, pooled=True)}
    if models.is_resnet(image):
        return {"image": _resnet(image), **found}
    num_tokens = (image["image_size"] // image["patch_size"]) ** 2
    if image["patch_dropout"]:
        num_tokens = kept_patches(num_tokens, image["patch_dropout"])
    pooled = image["pool"] == "class"
    return {"image": _transformer(image, num_tokens + pooled, pooled=pooled), **found}


class Sent(NamedTuple):
    """Bytes that one device sends a step, and the seconds it takes."""

    ici_bytes: float
    dcn_bytes: float
    ici_seconds: float
    dcn_seconds: float


def _crossing(chip: Chip, axis: str, stride: int, size: int) -> float:
    """Which part of an axis' traffic leaves the node or slice, per device.

    A TPU's replica axis does. GPUs are numbered node by node, the last mesh axis fastest: an axis
    stays in its node while stride x size GPUs fit in one; beyond that, a ring crosses nodes once
    for the 8 / stride members that it has in each.
    """
    if chip.node_size == 0:
        return 1.0 if axis == "replica" else 0.0
    if stride * size <= chip.node_size:
        return 0.0
    return min(1.0, stride / chip.node_size)


def communication(
    chip: Chip,
    mesh: Mapping[str, int],
    *,
    layer_params: int,
    itemsize: int,
    activations: float,
    num_slices: int,
    batch_size: int,
    embed_dim: int,
    implementation: str,
    num_captions: int = 1,
) -> Sent:
    """Bytes that one device sends a step, on rings, with P = `layer_params` / tensor.

        fsdp     a gather of P in the towers' type for each pass over the layers (2, or 3 for each
                 micro-batch), and a scatter of the float32 gradient
        data, replica   an all-reduce of the gradient's shard
        tensor   four all-reduces of a layer's activations, forward and backward
        loss     embeddings gathered and their gradient scattered; twice that around the ring; all
                 of it for each of C captions

    Gradients are summed once for each micro-batch, as the TPU compiler does it.

    Args:
        chip: for its network.
        mesh: {axis: size}.
        layer_params: number of trainable parameters.
        itemsize: bytes of an element of the towers' type.
        activations: bytes of all layers' outputs on one device, over the whole batch.
        num_slices: micro-batches.
        batch_size: B.
        embed_dim: D.
        implementation: of the loss.
        num_captions: C.
    """
    sizes = {axis: mesh.get(axis, 1) for axis in ("replica", "data", "fsdp", "tensor")}
    per_tensor = layer_params / sizes["tensor"]
    shard = per_tensor / sizes["fsdp"]
    passes = 2 if num_slices == 1 else 3 * num_slices
    ring = {axis: (size - 1) / size for axis, size in sizes.items()}
    sends = {
        "fsdp": ring["fsdp"] * per_tensor * (itemsize * passes + 4 * num_slices),
        "data": ring["data"] * 2 * 4 * shard * num_slices,
        "replica": ring["replica"] * 2 * 4 * shard * num_slices,
        "tensor": ring["tensor"] * 2 * 4 * activations,
    }
    rounds = 4 if implementation == "ring" else 2
    shards = sizes["replica"] * sizes["data"] * sizes["fsdp"]
    loss = num_captions * rounds * 4 * batch_size * embed_dim * (shards - 1) / shards
    # The pairs go round all batch axes; the outermost of them is the one that may leave the node.
    outer = next((axis for axis in ("replica", "data", "fsdp") if sizes[axis] > 1), "fsdp")
    sends[outer] += loss
    ici_bytes = dcn_bytes = 0.0
    stride = 1
    for axis in ("tensor", "fsdp", "data", "replica"):
        outside = _crossing(chip, axis, stride, sizes[axis]) * sends[axis]
        dcn_bytes += outside
        ici_bytes += sends[axis] if chip.node_size else sends[axis] - outside
        stride *= sizes[axis]
    links = chip.link_bytes_per_second * (2 * chip.torus_axes if chip.kind == "tpu" else 1)
    return Sent(ici_bytes, dcn_bytes, ici_bytes / links, dcn_bytes / chip.dcn_bytes_per_second)


class Estimate(NamedTuple):
    """One device's memory in bytes by what it is for, the step's FLOPs, traffic and roofline."""

    hbm_bytes: dict[str, int]
    model_flops: dict[str, int]
    hardware_flops: int
    sent: Sent
    hbm_accessed: float
    bound: Roofline
    implementation: str


def recomputed_flops(arch: Mapping[str, Any], remat: str, num_captions: int = 1) -> int:
    """FLOPs per example of what the backward pass computes again inside the layers."""
    both = towers(arch, num_captions).values()
    return sum(tower.recomputed_flops.get(remat, 0) for tower in both)


class StateSizes(NamedTuple):
    """What the state takes on one device, in bytes, and how many parameters there are."""

    parameters: int
    optimizer: int
    num_parameters: int


def state_sizes(values: Mapping[str, Any], parts: Outline, rule: Rule) -> StateSizes:
    """Measure the state's shapes and shardings; exact.

    Args:
        values: the arguments of `experiment`.
        parts: the outline; its mesh may consist of stand-ins for devices.
        rule: the learning rule.
    """
    ema = values["ema_decay"] is not None
    state, _ = abstract_state(parts.task, rule, parts.mesh, seed=values["seed"], ema=ema)
    return StateSizes(
        parameters=sharded_bytes(state.params),
        optimizer=sharded_bytes((state.opt_state, state.ema, state.step)),
        num_parameters=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params)),
    )


def estimate(
    parts: Outline,
    chip: Chip,
    state: StateSizes,
    groups: Mapping[str, Group],
    *,
    micro_batch_size: int | None,
) -> Estimate:
    """Estimate a step.

    Args:
        parts: the outline; its mesh may consist of stand-ins for devices.
        chip: the facts.
        state: of `state_sizes`.
        groups: of the learning rule.
        micro_batch_size: examples at once, or None for all.
    """
    task, mesh, batch_size = parts.task, parts.mesh, parts.batch_size
    manifest = task.manifest
    arch, remat = manifest["architecture"], manifest.get("remat", "none")
    itemsize = 2 if manifest.get("dtype") == "bfloat16" else 4
    parameters, optimizer, num_parameters = state
    batch = sharded_bytes(abstract_examples(task, mesh, batch_size))
    shards, tensor = num_batch_shards(mesh), mesh.shape["tensor"]
    micro = micro_batch_size or batch_size
    num_slices, local = batch_size // micro, micro // shards
    num_captions = task.num_captions or 1
    both = towers(arch, num_captions)
    kept, unspared = (
        kept_bytes(manifest, remat=policy, num_captions=task.num_captions)
        for policy in (None, "none")
    )
    at_work = 2 * unspared / sum(one.num_layers for one in both.values())
    embeddings = (1 + num_captions) * 4 * 4 * arch["embed_dim"] * batch_size // shards
    gradients = parameters  # float32, like what they belong to
    activations = local * (kept + at_work) / tensor + embeddings + gradients
    options = PairOptions(**manifest.get("pairs", {}))
    pairs = {
        "batch_size": batch_size,
        "dim": arch["embed_dim"],
        "num_devices": shards,
        "options": options,
    }
    implementation = choose_implementation(**pairs)
    loss = pair_bytes(implementation, **pairs)
    parts_bytes = {
        "parameters": parameters,
        "optimizer": optimizer,
        "batch": batch,
        "activations": int(activations),
        "loss": int(loss),
        "other": 0,
    }
    model = flops.model_flops(task, batch_size, groups)
    forward = {tower: model[tower] // flops.PASSES // batch_size for tower in both}
    again = recomputed_flops(arch, remat, num_captions) + (
        sum(forward.values()) if num_slices > 1 else 0
    )
    hardware = sum(model.values()) + batch_size * again
    if implementation == "dense":  # keeps the logits, and does not compute them again
        hardware -= num_captions * pair_flops(batch_size, arch["embed_dim"]) // 4
    outputs = sum(one.outputs for one in both.values())
    sent = communication(
        chip,
        dict(mesh.shape),
        layer_params=num_parameters,
        itemsize=itemsize,
        activations=itemsize * outputs * batch_size / shards,
        num_slices=num_slices,
        batch_size=batch_size,
        embed_dim=arch["embed_dim"],
        implementation=implementation,
        num_captions=num_captions,
    )
    # What is kept is written and read once; what is computed again, as well. The state is read,
    # and written, once.
    moved = unspared if remat == "none" else unspared + kept
    accessed = 2 * moved * batch_size / shards / tensor + 2 * (parameters + optimizer) + gradients
    bound = roofline(
        chip,
        num_devices=mesh.devices.size,
        hardware_flops=hardware,
        hbm_bytes=accessed,
        ici_seconds=sent.ici_seconds,
        dcn_seconds=sent.dcn_seconds,
    )
    return Estimate(
        hbm_bytes={**parts_bytes, "total": sum(parts_bytes.values()), "limit": chip.limit_bytes},
        model_flops=model,
        hardware_flops=hardware,
        sent=sent,
        hbm_accessed=accessed,
        bound=bound,
        implementation=implementation,
    )
