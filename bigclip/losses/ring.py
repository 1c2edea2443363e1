"""All pairs with the columns passed around a ring of devices, in both directions at once.

A device keeps its rows. Its columns leave in small tiles: one tile of the first half travels to
the right while one of the second half travels to the left, each visits the rows of all N devices,
and after N hops it is home again with its statistics, or its gradients, complete. Then the next
two tiles leave. What is on the way is therefore never more than a few tiles, whatever the batch:
the memory beside inputs and results is O(tile x D), and each hop moves one tile in each direction
while the products of a tile with all rows are computed, which takes far longer.

What accumulates on the way (statistics, gradients) travels one hop behind its columns: at each hop
it arrives from the device that the columns visited before, while this device's part is being
computed. So no transfer waits for a product.

                     hop 0     hop 1     hop 2     hop 3
    columns of 0 at  device 0  device 1  device 2  device 3   (N = 4, to the right)
    their sums at    -         0 -> 1    1 -> 2    2 -> 3     and home: 3 -> 0
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from bigclip.losses.reductions import COLUMN, ROW
from bigclip.losses.tiles import (
    Final,
    Side,
    Statistics,
    Walk,
    differentiable,
    length,
    put,
    take,
    visit,
    visit_back,
)

RIGHT, LEFT = 1, -1
Lane = tuple[int, Any, int]  # direction, first column, number of columns


def _shift(tree: Any, direction: int, axes: tuple[str, ...]) -> Any:
    """Send to the next device of the ring, and receive from the one before.

    Vectors travel together: a message of a few KiB costs the time of its start, not of its length.
    """
    size = lax.axis_size(axes)
    pairs = [(i, (i + direction) % size) for i in range(size)]
    leaves, treedef = jax.tree.flatten(tree)
    vectors = [i for i, x in enumerate(leaves) if x.ndim == 1]
    if vectors:
        bits = [lax.bitcast_convert_type(leaves[i], jnp.int32) for i in vectors]
        received = lax.ppermute(jnp.stack(bits), axes, pairs)
        for i, x in zip(vectors, received, strict=True):
            leaves[i] = lax.bitcast_convert_type(x, leaves[i].dtype)
    for i, x in enumerate(leaves):
        if i not in vectors:
            leaves[i] = lax.ppermute(x, axes, pairs)
    return treedef.unflatten(leaves)


def _fold_trips(total: int, size: int, trip: Callable[[Any, Any], Any], carry: Any) -> Any:
    """Fold `trip(lanes, carry)` over the columns of a device, two tiles at a time.

    `lanes` is a list of one or two. With an odd number of columns the right lane
    has one more, and with a single one the left lane has none.
    """
    left_total = total // 2
    right_total = total - left_total
    size = min(size, left_total)
    count = left_total // size if size else 0

    def full(i: jax.Array | int, carry: Any) -> Any:
        start = i * size
        return trip([(RIGHT, start, size), (LEFT, right_total + start, size)], carry)

    if count == 1:
        carry = full(0, carry)
    elif count:
        carry = lax.fori_loop(0, count, full, carry)
    done = count * size
    rest = [(RIGHT, done, right_total - done), (LEFT, right_total + done, left_total - done)]
    rest = [lane for lane in rest if lane[2]]
    return trip(rest, carry) if rest else carry


def _go_round(
    axes: tuple[str, ...],
    lanes: Sequence[Lane],
    tiles: Sequence[Any],
    sums: Sequence[Any],
    kept: Any,
    visit_fn: Callable[[Any, Any], tuple[Any, Any]],
    merge: Callable[[Any, Any], Any],
) -> tuple[Any, list[Any]]:
    """Send tiles through all devices, and what they collect one hop behind them.

    Args:
        axes: of the ring.
        lanes: one for each tile.
        tiles: what visits.
        sums: what each tile begins with.
        kept: what stays on the device and grows with each visit.
        visit_fn: (tile, kept) -> (kept, what this device adds to the tile's sums).
        merge: (sums, addition) -> sums.

    Returns:
        `kept`, and the sums of this device's own tiles, complete.
    """

    def hop(_: jax.Array, carry: Any) -> Any:
        kept, travelling = carry
        sent = []
        for (direction, _, _), (tile, found) in zip(lanes, travelling, strict=True):
            arrived, onward = _shift((found, tile), direction, axes)
            kept, here = visit_fn(tile, kept)
            sent.append((onward, merge(arrived, here)))
        return kept, sent

    begin = (kept, list(zip(tiles, sums, strict=True)))
    kept, travelling = lax.fori_loop(0, lax.axis_size(axes), hop, begin)
    home = [
        _shift(found, direction, axes)
        for (direction, _, _), (_, found) in zip(lanes, travelling, strict=True)
    ]
    return kept, home


def forward(walk: Walk, rows: Side, columns: Side) -> tuple[Statistics, Statistics]:
    """Statistics of the device's own rows and own columns over all pairs.

    Args:
        walk: what to compute.
        rows: of this device, {name: [b, ...]}.
        columns: of this device, likewise.
    """

    def trip(lanes: list[Lane], carry: Any) -> Any:
        row_statistics, column_statistics = carry
        row_statistics, home = _go_round(
            walk.axes,
            lanes,
            [take(columns, start, width) for _, start, width in lanes],
            [walk.empty(COLUMN, width) for _, _, width in lanes],
            row_statistics,
            lambda tile, kept: visit(walk, rows, tile, kept),
            lambda sums, addition: walk.merge(COLUMN, sums, addition),
        )
        for (_, start, _), found in zip(lanes, home, strict=True):
            column_statistics = put(column_statistics, found, start)
        return row_statistics, column_statistics

    begin = (walk.empty(ROW, length(rows)), walk.empty(COLUMN, length(columns)))
    return _fold_trips(length(columns), walk.column_tile, trip, begin)


def backward(
    walk: Walk, rows: Side, columns: Side, row_final: Final, column_final: Final
) -> tuple[Side, Side]:
    """Gradients of the device's own rows and own columns."""

    def trip(lanes: list[Lane], carry: Any) -> Any:
        row_grads, column_grads = carry
        tiles = [take((columns, column_final), start, width) for _, start, width in lanes]
        row_grads, home = _go_round(
            walk.axes,
            lanes,
            tiles,
            [jax.tree.map(jnp.zeros_like, differentiable(side)) for side, _ in tiles],
            row_grads,
            lambda tile, kept: visit_back(walk, rows, tile[0], row_final, tile[1], kept),
            functools.partial(jax.tree.map, jnp.add),
        )
        for (_, start, _), grads in zip(lanes, home, strict=True):
            column_grads = put(column_grads, grads, start)
        return row_grads, column_grads

    begin = jax.tree.map(jnp.zeros_like, (differentiable(rows), differentiable(columns)))
    return _fold_trips(length(columns), walk.column_tile, trip, begin)
