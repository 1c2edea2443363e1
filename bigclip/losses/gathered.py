"""All pairs with the columns of all devices gathered on each: one collective, tiled products.

Each device holds its B / N rows and all B columns, 4 B D bytes, and as much again for the columns'
gradients. Without axes this is the walk of a single device.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from bigclip.losses import reductions as red
from bigclip.losses.reductions import COLUMN, ROW
from bigclip.losses.tiles import (
    Final,
    Side,
    Statistics,
    Walk,
    differentiable,
    fold_tiles,
    length,
    put,
    take,
    visit,
    visit_back,
)


def _gather(tree: Any, axes: tuple[str, ...]) -> Any:
    if not axes:
        return tree
    return jax.tree.map(lambda x: lax.all_gather(x, axes, tiled=True), tree)


def forward(walk: Walk, rows: Side, columns: Side) -> tuple[Statistics, Statistics]:
    """Statistics of the device's own rows and own columns over all pairs.

    Args:
        walk: what to compute.
        rows: of this device, {name: [b, ...]}.
        columns: of this device, likewise.
    """
    everyones = _gather(columns, walk.axes)

    def tile(start: jax.Array | int, width: int, carry: Any) -> Any:
        row_statistics, column_statistics = carry
        row_statistics, here = visit(walk, rows, take(everyones, start, width), row_statistics)
        return row_statistics, put(column_statistics, here, start)

    total = length(everyones)
    begin = (walk.empty(ROW, length(rows)), walk.empty(COLUMN, total))
    row_statistics, column_statistics = fold_tiles(total, walk.column_tile, tile, begin)
    if walk.axes:
        column_statistics = {
            name: red.merge_devices(reduction, column_statistics[name], walk.axes)
            for name, reduction in walk.per(COLUMN)
        }
    return row_statistics, column_statistics


def backward(
    walk: Walk, rows: Side, columns: Side, row_final: Final, column_final: Final
) -> tuple[Side, Side]:
    """Gradients of the device's own rows and own columns."""
    everyones, everyones_final = _gather((columns, column_final), walk.axes)

    def tile(start: jax.Array | int, width: int, carry: Any) -> Any:
        row_grads, column_grads = carry
        row_grads, here = visit_back(
            walk,
            rows,
            take(everyones, start, width),
            row_final,
            take(everyones_final, start, width),
            row_grads,
        )
        return row_grads, put(column_grads, here, start)

    begin = jax.tree.map(jnp.zeros_like, (differentiable(rows), differentiable(everyones)))
    total = length(everyones)
    row_grads, column_grads = fold_tiles(total, walk.column_tile, tile, begin)
    if walk.axes:
        column_grads = jax.tree.map(
            lambda x: lax.psum_scatter(x, walk.axes, scatter_dimension=0, tiled=True), column_grads
        )
    return row_grads, column_grads
