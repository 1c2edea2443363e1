"""Walk over the pairs of some rows and some columns, tile by tile.

Forward, a tile's terms are computed, reduced and forgotten. Backward, they are computed again from
the embeddings, and the statistics of the whole rows and columns tell every pair's share of the
gradient; nothing of the size of a tile outlives it. One visit costs 2 r c D floating-point
operations forward and 6 r c D backward (the terms again, and the products of both gradients), so
that all pairs of a batch cost 4 x 2 B^2 D in all, for both directions of the loss together.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from bigclip.losses import reductions as red
from bigclip.losses.reductions import COLUMN, ROW, Reduction

Side = dict[str, jax.Array]  # {name: [n, ...]}: what the pairs need of their rows, or columns
PairFn = Callable[[Side, Side], Mapping[str, jax.Array]]  # rows [r], columns [c] -> terms [r, c]
Statistics = dict[str, red.Statistic]


class Walk(NamedTuple):
    """What is computed on the way, and how.

    Attributes:
        pair_fn: the terms of a tile.
        reductions: (name, reduction) of each result.
        row_tile: rows of a tile.
        column_tile: columns of a tile.
        axes: mesh axes over which rows and columns are sharded; none on one device.
    """

    pair_fn: PairFn
    reductions: tuple[tuple[str, Reduction], ...]
    row_tile: int
    column_tile: int
    axes: tuple[str, ...]

    def per(self, side: str) -> list[tuple[str, Reduction]]:
        """The reductions that give one value per row, or per column."""
        return [(name, reduction) for name, reduction in self.reductions if reduction.per == side]

    def empty(self, side: str, length: int) -> Statistics:
        """The statistics of no pairs."""
        return {name: red.empty(reduction, length) for name, reduction in self.per(side)}

    def merge(self, side: str, a: Statistics, b: Statistics) -> Statistics:
        """The statistics of the pairs of both."""
        return {name: red.merge(reduction, a[name], b[name]) for name, reduction in self.per(side)}

    def of_tile(self, side: str, terms: Mapping[str, jax.Array]) -> Statistics:
        """The statistics of one tile."""
        return {name: red.of_tile(one, terms[one.term]) for name, one in self.per(side)}


class Final(NamedTuple):
    """What the backward walk needs of one side, besides the side itself.

    Attributes:
        statistics: of the whole batch.
        cotangents: {name: [n]} of the reduced values.
    """

    statistics: Statistics
    cotangents: dict[str, jax.Array]


def length(side: Any) -> int:
    """Number of rows (or columns) of a tree of arrays [n, ...]."""
    return jax.tree.leaves(side)[0].shape[0]


def take(tree: Any, start: jax.Array | int, width: int) -> Any:
    """Slice [start, start + width) of every array."""
    return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, width), tree)


def put(tree: Any, part: Any, start: jax.Array | int) -> Any:
    """Write what `take` took; XLA does it in place where the tree is a loop's carry."""
    return jax.tree.map(lambda x, y: lax.dynamic_update_slice_in_dim(x, y, start, 0), tree, part)


def fold_tiles(
    total: int, size: int, body: Callable[[jax.Array | int, int, Any], Any], carry: Any
) -> Any:
    """Fold `body(start, width, carry)` over tiles of `size`, and over one of what is left."""
    size = min(size, total)
    count, rest = divmod(total, size)
    if count == 1:
        carry = body(0, size, carry)
    else:
        carry = lax.fori_loop(0, count, lambda i, carry: body(i * size, size, carry), carry)
    return body(count * size, rest, carry) if rest else carry


def visit(
    walk: Walk, rows: Side, columns: Side, row_statistics: Statistics
) -> tuple[Statistics, Statistics]:
    """Reduce the pairs of all rows with one tile of columns.

    Args:
        walk: what to compute.
        rows: {name: [n, ...]}.
        columns: {name: [c, ...]}.
        row_statistics: of the rows so far.

    Returns:
        The row statistics with these columns merged in, and the columns' statistics of these rows.
    """

    def tile(start: jax.Array | int, width: int, carry: Any) -> Any:
        row_statistics, column_statistics = carry
        terms = walk.pair_fn(take(rows, start, width), columns)
        before = take(row_statistics, start, width)
        after = walk.merge(ROW, before, walk.of_tile(ROW, terms))
        columns_here = walk.of_tile(COLUMN, terms)
        return (
            put(row_statistics, after, start),
            walk.merge(COLUMN, column_statistics, columns_here),
        )

    begin = (row_statistics, walk.empty(COLUMN, length(columns)))
    return fold_tiles(length(rows), walk.row_tile, tile, begin)


def differentiable(side: Side) -> Side:
    """The part of a side that has gradients; the rest (integers) are labels."""
    return {name: x for name, x in side.items() if jnp.issubdtype(x.dtype, jnp.inexact)}


def _pull_back(
    walk: Walk, rows: Side, columns: Side, row_final: Final, column_final: Final
) -> tuple[Side, Side]:
    """Gradients of one tile with respect to its rows [r, ...] and columns [c, ...]."""
    row_labels = {name: x for name, x in rows.items() if name not in differentiable(rows)}
    column_labels = {name: x for name, x in columns.items() if name not in differentiable(columns)}

    def terms_fn(rows: Side, columns: Side) -> dict[str, jax.Array]:
        return dict(walk.pair_fn({**rows, **row_labels}, {**columns, **column_labels}))

    terms, pull = jax.vjp(terms_fn, differentiable(rows), differentiable(columns))
    cotangents = {name: jnp.zeros_like(term) for name, term in terms.items()}
    for side, final in ((ROW, row_final), (COLUMN, column_final)):
        for name, reduction in walk.per(side):
            if reduction.kind != "max":
                cotangents[reduction.term] += red.term_cotangent(
                    reduction, terms[reduction.term], final.statistics[name], final.cotangents[name]
                )
    return pull(cotangents)


def visit_back(
    walk: Walk,
    rows: Side,
    columns: Side,
    row_final: Final,
    column_final: Final,
    row_grads: Side,
) -> tuple[Side, Side]:
    """Gradients of the pairs of all rows with one tile of columns.

    Args:
        walk: what was computed.
        rows: {name: [n, ...]}.
        columns: {name: [c, ...]}.
        row_final: of the rows.
        column_final: of the columns.
        row_grads: the rows' gradients so far.

    Returns:
        The rows' gradients with these columns' part added, and the columns' gradients of these
        rows.
    """

    def tile(start: jax.Array | int, width: int, carry: Any) -> Any:
        row_grads, column_grads = carry
        of_rows, of_columns = _pull_back(
            walk, take(rows, start, width), columns, take(row_final, start, width), column_final
        )
        before = take(row_grads, start, width)
        after = jax.tree.map(jnp.add, before, of_rows)
        return put(row_grads, after, start), jax.tree.map(jnp.add, column_grads, of_columns)

    begin = (row_grads, jax.tree.map(jnp.zeros_like, differentiable(columns)))
    return fold_tiles(length(rows), walk.row_tile, tile, begin)
