"""How a term of all pairs is reduced along its rows or columns, tile by tile.

A term is a [B, B] matrix that is never held whole. What is kept of it is a *statistic*: a few
arrays of one float32 per row (or per column), begun with `empty`, taken of a tile with `of_tile`,
put together with `merge`, and read with `value`:

    sum         (sum,)
    max         (max,)        no gradient flows through it: for metrics
    logsumexp   (max, sum of exp(term - max)), which cannot overflow
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Statistic = tuple[jax.Array, ...]

ROW, COLUMN = "row", "column"
KINDS = ("sum", "max", "logsumexp")


class Reduction(NamedTuple):
    """One reduction of one term.

    Attributes:
        term: its key in what the pair function returns.
        per: "row": one value per row, reduced over the columns; "column": the other way.
        kind: one of `KINDS`.
    """

    term: str
    per: str
    kind: str


def _axis(reduction: Reduction) -> int:
    return 1 if reduction.per == ROW else 0


def _along(reduction: Reduction, x: jax.Array) -> jax.Array:
    """[r] or [c] -> what broadcasts against a tile [r, c]."""
    return jnp.expand_dims(x, _axis(reduction))


def _finite(maximum: jax.Array) -> jax.Array:
    """Where nothing has been seen yet (or all is masked) subtract 0: -inf - -inf is no number."""
    return jnp.where(jnp.isfinite(maximum), maximum, 0.0)


def empty(reduction: Reduction, length: int) -> Statistic:
    """The statistic of no pairs at all."""
    lowest, zeros = jnp.full(length, -jnp.inf, jnp.float32), jnp.zeros(length, jnp.float32)
    return {"sum": (zeros,), "max": (lowest,), "logsumexp": (lowest, zeros)}[reduction.kind]


def of_tile(reduction: Reduction, term: jax.Array) -> Statistic:
    """The statistic of a tile [r, c]."""
    axis = _axis(reduction)
    if reduction.kind == "sum":
        return (term.sum(axis),)
    maximum = term.max(axis)
    if reduction.kind == "max":
        return (maximum,)
    shift = _finite(maximum)
    return maximum, jnp.exp(term - _along(reduction, shift)).sum(axis)


def merge(reduction: Reduction, a: Statistic, b: Statistic) -> Statistic:
    """The statistic of the pairs of both."""
    if reduction.kind == "sum":
        return (a[0] + b[0],)
    maximum = jnp.maximum(a[0], b[0])
    if reduction.kind == "max":
        return (maximum,)
    shift = _finite(maximum)
    return maximum, a[1] * jnp.exp(a[0] - shift) + b[1] * jnp.exp(b[0] - shift)


def merge_devices(reduction: Reduction, statistic: Statistic, axes: tuple[str, ...]) -> Statistic:
    """Merge what each device found for all B columns; each device keeps its own part, [B / N]."""

    def own_part(x: jax.Array) -> jax.Array:
        length = x.shape[0] // lax.axis_size(axes)
        return lax.dynamic_slice_in_dim(x, lax.axis_index(axes) * length, length)

    def scattered_sum(x: jax.Array) -> jax.Array:
        return lax.psum_scatter(x, axes, scatter_dimension=0, tiled=True)

    if reduction.kind == "sum":
        return (scattered_sum(statistic[0]),)
    maximum = lax.pmax(statistic[0], axes)
    if reduction.kind == "max":
        return (own_part(maximum),)
    scaled = statistic[1] * jnp.exp(statistic[0] - _finite(maximum))
    return own_part(maximum), scattered_sum(scaled)


def value(reduction: Reduction, statistic: Statistic) -> jax.Array:
    """Read the statistic: the reduced values."""
    if reduction.kind == "logsumexp":
        return statistic[0] + jnp.log(statistic[1])
    return statistic[0]


def term_cotangent(
    reduction: Reduction, term: jax.Array, statistic: Statistic, cotangent: jax.Array
) -> jax.Array:
    """Pull the cotangent of the reduced values back to a tile of the term.

    Args:
        reduction: "sum" or "logsumexp".
        term: the tile, [r, c].
        statistic: of the whole rows (or columns) that the tile belongs to.
        cotangent: of their reduced values, [r] (or [c]).

    Returns:
        [r, c].
    """
    if reduction.kind == "sum":
        return jnp.broadcast_to(_along(reduction, cotangent), term.shape)
    maximum, total = statistic
    shares = jnp.exp(term - _along(reduction, _finite(maximum)))
    return shares * _along(reduction, cotangent / total)
