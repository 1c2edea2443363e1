"""Reduce the terms of all B x B pairs of a global batch without holding them.

`reduce_pairs` is what every pairwise loss is made of. A loss names the terms of a tile of pairs
(logits, shares, whatever depends on one row and one column) and how each is reduced over its
rows or columns; where the pairs are computed is chosen here:

    dense    all of them at once: XLA gathers the columns and holds [B / N, B] per device
    gather   the columns of all devices gathered on each, the pairs in tiles
    ring     the columns passed around the devices in tiles, the pairs in tiles
    auto     the first of these whose memory is small

Values and gradients are those of the dense form. `gather` and `ring` have a hand-written gradient
that keeps two floats per row and column and computes each tile again.
Source of the ring: Inf-CL (arXiv 2410.17243); of the two directions: SigLIP's reference in
open_clip. Here forward and backward go around once each, for rows and columns together.
"""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from bigclip.config import ConfigError, choose
from bigclip.losses import gathered, ring
from bigclip.losses import reductions as red
from bigclip.losses.reductions import COLUMN, ROW, Reduction
from bigclip.losses.tiles import Final, PairFn, Side, Walk, differentiable
from bigclip.parallel import BATCH_AXES, shard_batch

IMPLEMENTATIONS = ("auto", "dense", "gather", "ring")
DUPLICATES = ("negative", "mask", "positive")
PRECISIONS = {
    "highest": jax.lax.Precision.HIGHEST,
    "high": jax.lax.Precision.HIGH,
    "default": jax.lax.Precision.DEFAULT,
}

_log = logging.getLogger(__name__)

# What `auto` lets a loss take per device. Towers leave more than this on every accelerator.
AUTO_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairOptions:
    """How a pairwise loss is computed: the block `pairs` of a task.

    Attributes:
        implementation: one of `IMPLEMENTATIONS`.
        row_tile: rows of the pairs that are held at once, for gather and ring.
        column_tile: columns of the same; the ring sends this many in each direction at a time.
        duplicates: what a pair of an image with another image's equal text counts as: a
            "negative" like any other, as published; "mask" leaves it out; "positive" shares the
            positive between all of them.
        precision: of the products of embeddings. "highest" is float32; a TPU computes it in six
            passes of bfloat16, "high" in three (an error of about 1e-3 in a logit of 100), and
            "default" in one (about 0.4 in a logit of 100).

    Raises:
        ConfigError: if a value is none of these.
    """

    implementation: str = "auto"
    row_tile: int = 1024
    column_tile: int = 512
    duplicates: str = "negative"
    precision: str = "highest"

    def __post_init__(self) -> None:
        """Check the values."""
        where = "config.task.pairs"
        choose(self.implementation, dict.fromkeys(IMPLEMENTATIONS), f"{where}.implementation")
        choose(self.duplicates, dict.fromkeys(DUPLICATES), f"{where}.duplicates")
        choose(self.precision, PRECISIONS, f"{where}.precision")
        for key in ("row_tile", "column_tile"):
            size = getattr(self, key)
            if not isinstance(size, int) or size < 1:
                raise ConfigError(f"{where}.{key} must be a positive integer, not {size!r}")


DEFAULT_PAIRS = PairOptions()


def pair_flops(batch_size: int, dim: int) -> int:
    """Floating-point operations of the products of a loss and its gradient: 4 x 2 B^2 D.

    One product forward, and backward the same again and one for each gradient. Both directions of
    the loss share them. The dense form keeps the logits instead and saves the second.
    """
    return 8 * batch_size**2 * dim


def pair_bytes(
    implementation: str, *, batch_size: int, dim: int, num_devices: int, options: PairOptions
) -> int:
    """Estimate what a loss and its gradient hold per device, besides inputs and results, in bytes.

    Args:
        implementation: "dense", "gather" or "ring".
        batch_size: B.
        dim: D.
        num_devices: N.
        options: for the sizes of tiles.
    """
    gathered_columns = 2 * 4 * batch_size * dim if num_devices > 1 else 0  # and their gradients
    local = math.ceil(batch_size / num_devices)
    rows, columns = min(options.row_tile, local), min(options.column_tile, batch_size)
    tile = 3 * 4 * rows * columns
    if implementation == "dense":
        # The logits, their exponentials and their gradient.
        return 3 * 4 * local * batch_size + gathered_columns
    if implementation == "gather":
        return tile + gathered_columns
    # A tile's embeddings and gradients, each on the way and arriving, to both sides.
    return 2 * (tile + 4 * 4 * columns * dim)


def choose_implementation(
    *, batch_size: int, dim: int, num_devices: int, options: PairOptions
) -> str:
    """Say which implementation `auto` takes: dense, gather or ring, the first that is small.

    Small means at most `AUTO_BYTES` per device by `pair_bytes`. The first is the fastest where it
    fits: XLA fuses it as it likes, and nothing is computed twice.
    """
    if options.implementation != "auto":
        return options.implementation
    for implementation in ("dense", "gather"):
        needed = pair_bytes(
            implementation,
            batch_size=batch_size,
            dim=dim,
            num_devices=num_devices,
            options=options,
        )
        if needed <= AUTO_BYTES:
            return implementation
    return "ring"


def _mesh_axes(batch_size: int) -> tuple[str, ...]:
    """The mesh axes to spread the pairs over: all of them, if the batch divides.

    Embeddings are the same along `tensor`; spreading over it, too, keeps those devices from
    computing the same pairs.
    """
    mesh = jax.sharding.get_abstract_mesh()
    for axes in (mesh.axis_names, tuple(axis for axis in BATCH_AXES if axis in mesh.axis_names)):
        axes = tuple(axis for axis in axes if mesh.shape[axis] > 1)
        if batch_size % math.prod(mesh.shape[axis] for axis in axes) == 0:
            return axes
    raise ValueError(
        f"a batch of {batch_size} does not divide over the batch axes of the mesh {mesh.shape}"
    )


def num_pair_devices(batch_size: int) -> int:
    """Number of devices of the mesh in force that the pairs of a batch are spread over."""
    mesh = jax.sharding.get_abstract_mesh()
    return math.prod(mesh.shape[axis] for axis in _mesh_axes(batch_size))


def reduce_pairs(
    pair_fn: PairFn,
    rows: Side,
    columns: Side,
    reductions: Mapping[str, Reduction],
    *,
    options: PairOptions = DEFAULT_PAIRS,
) -> dict[str, jax.Array]:
    """Reduce terms of all pairs.

    Args:
        pair_fn: (rows {name: [r, ...]}, columns {name: [c, ...]}) -> {term: [r, c]} float32, the
            terms of a tile. It must be pure and hold no arrays of its own: whatever it needs comes
            with the rows or the columns.
        rows: {name: [B, ...]}. Floats get gradients, integers are labels.
        columns: {name: [B, ...]}, likewise.
        reductions: {result: reduction}.
        options: how.

    Returns:
        {result: [B] float32}, differentiable except for those of kind "max".
    """
    batch_size = jax.tree.leaves(rows)[0].shape[0]
    widest = max(math.prod(x.shape[1:]) for x in (*rows.values(), *columns.values()))
    axes = _mesh_axes(batch_size)
    sizes = {
        "batch_size": batch_size,
        "dim": widest,
        "num_devices": num_pair_devices(batch_size),
        "options": options,
    }
    implementation = choose_implementation(**sizes)
    _log.info(
        "pairs: %s x %s on %d devices by %r, about %.1f MiB each (config.task.pairs)",
        f"{batch_size:,}",
        f"{batch_size:,}",
        sizes["num_devices"],
        implementation,
        pair_bytes(implementation, **sizes) / 2**20,
    )
    if implementation == "dense":
        return _dense(pair_fn, rows, columns, reductions)
    walk = Walk(
        pair_fn,
        tuple(reductions.items()),
        row_tile=options.row_tile,
        column_tile=options.column_tile,
        axes=axes,
    )
    # A ring of one device has nowhere to go.
    how = gathered if implementation == "gather" or not axes else ring

    def labels(side: Side) -> Side:
        return {name: x for name, x in side.items() if name not in differentiable(side)}

    return _tiled(
        walk,
        how,
        differentiable(rows),
        differentiable(columns),
        labels(rows),
        labels(columns),
    )


def _dense(
    pair_fn: PairFn, rows: Side, columns: Side, reductions: Mapping[str, Reduction]
) -> dict[str, jax.Array]:
    """All pairs at once, and JAX's own gradient."""
    terms = {name: shard_batch(term) for name, term in pair_fn(rows, columns).items()}
    reduce = {
        "sum": jnp.sum,
        "max": lambda term, axis: jax.lax.stop_gradient(term).max(axis),
        "logsumexp": jax.nn.logsumexp,
    }
    return {
        name: reduce[one.kind](terms[one.term], axis=1 if one.per == ROW else 0)
        for name, one in reductions.items()
    }


def _spread(walk: Walk, fn: Callable[..., Any]) -> Callable[..., Any]:
    """Run `fn` on every device with its own part of each array."""
    if not walk.axes:
        return fn
    spec = PartitionSpec(walk.axes)
    # The walks begin with constants that become different on each device; the check of what varies
    # would want each of them marked by hand.
    return jax.shard_map(fn, in_specs=spec, out_specs=spec, check_vma=False)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _tiled(
    walk: Walk, how: Any, rows: Side, columns: Side, row_labels: Side, column_labels: Side
) -> dict[str, jax.Array]:
    return _tiled_forward(walk, how, rows, columns, row_labels, column_labels)[0]


def _tiled_forward(
    walk: Walk, how: Any, rows: Side, columns: Side, row_labels: Side, column_labels: Side
) -> tuple[dict[str, jax.Array], Any]:
    inputs = ({**rows, **row_labels}, {**columns, **column_labels})
    row_statistics, column_statistics = _spread(walk, functools.partial(how.forward, walk))(*inputs)
    statistics = row_statistics | column_statistics
    values = {name: red.value(one, statistics[name]) for name, one in walk.reductions}
    return values, (rows, columns, row_labels, column_labels, row_statistics, column_statistics)


def _tiled_backward(walk: Walk, how: Any, residuals: Any, cotangents: Any) -> Any:
    rows, columns, row_labels, column_labels, row_statistics, column_statistics = residuals
    finals = []
    for side, statistics in ((ROW, row_statistics), (COLUMN, column_statistics)):
        own = {name: cotangents[name] for name, _ in walk.per(side)}
        finals.append(Final(statistics, own))
    grads = _spread(walk, functools.partial(how.backward, walk))(
        {**rows, **row_labels}, {**columns, **column_labels}, *finals
    )
    return (*grads, None, None)


_tiled.defvjp(_tiled_forward, _tiled_backward)
