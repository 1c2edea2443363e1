"""L-BFGS for many smooth convex problems at once, one line search for each.

The problems share nothing but the pass over the data that gives all their values and gradients.
Each round evaluates one trial point of every problem; `advance` then decides, problem by problem,
whether the point ends its line search (then the next direction is made) or what step to try next.
So no problem waits for another's line search, and a round costs one evaluation.

A problem brings a *metric*: the diagonal of its Hessian, or a guess at it, in the coordinates of
its points. It is the Hessian that the quasi-Newton pairs correct (H_0 of Nocedal and Wright,
Numerical Optimization, 2nd edition, algorithm 7.4, there a multiple of the identity).

The line search looks at slopes, not at values: near the optimum, values differ by less than
float32 can tell, slopes by far more. A step is right if its slope lies between `_CURVATURE` and
2 `_DECREASE` - 1 times the slope at its start (the approximate Wolfe conditions of Hager and
Zhang, SIAM J. Optim. 16(1), 2005, equation 4.1); slopes grow along a line of a convex function, so
that every step that is not right says on which side the right ones lie.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

_DECREASE, _CURVATURE = 0.1, 0.9
_NOISE = 1e-6  # relative: values of float32 sums that differ by less are equal
_MAX_TRIALS = 20
_GROWTH = 4.0

RUNNING, CONVERGED, STALLED, OUT_OF_STEPS = range(4)


class Search(NamedTuple):
    """Where the solution of a problem stands; with a leading axis, of many problems.

    Attributes:
        point, value, gradient: the best point, and the function there.
        metric: positive, of the shape of a point.
        direction: from `point`, downhill.
        slope: of the function along the direction, negative.
        step: the trial step; the function is to be evaluated at point + step direction.
        low, low_slope: the longest step that is known to be too short, and the slope there.
        high, high_slope: the shortest that is known to be too long; infinite at first.
        trials: evaluations of this line search.
        steps, changes: [M, ...], the last M differences of points and of gradients, oldest first.
        curvatures: [M], their inner products; 0 where there is no pair.
        iterations: directions that were followed to the end.
        status: RUNNING, CONVERGED, STALLED (float32 tells no better point) or OUT_OF_STEPS.
    """

    point: jax.Array
    value: jax.Array
    gradient: jax.Array
    metric: jax.Array
    direction: jax.Array
    slope: jax.Array
    step: jax.Array
    low: jax.Array
    low_slope: jax.Array
    high: jax.Array
    high_slope: jax.Array
    trials: jax.Array
    steps: jax.Array
    changes: jax.Array
    curvatures: jax.Array
    iterations: jax.Array
    status: jax.Array


def start(
    point: jax.Array, value: jax.Array, gradient: jax.Array, metric: jax.Array, *, memory: int
) -> Search:
    """Begin at a point, of one problem.

    Args:
        point: any shape.
        value, gradient: of the function there.
        metric: positive, of the same shape.
        memory: M, the pairs that are kept.
    """
    zero, infinite = jnp.zeros(()), jnp.full((), jnp.inf)
    none = jnp.zeros((memory, *point.shape), point.dtype)
    direction = -gradient / metric
    slope = _dot(direction, gradient)
    return Search(
        point=point,
        value=value,
        gradient=gradient,
        metric=metric,
        direction=direction,
        slope=slope,
        step=jnp.ones(()),
        low=zero,
        low_slope=slope,
        high=infinite,
        high_slope=infinite,
        trials=jnp.zeros((), jnp.int32),
        steps=none,
        changes=none,
        curvatures=jnp.zeros(memory),
        iterations=jnp.zeros((), jnp.int32),
        status=jnp.full((), RUNNING, jnp.int32),
    )


def trial_point(search: Search) -> jax.Array:
    """Where the function is to be evaluated next, of one problem."""
    return search.point + search.step * search.direction


def advance(
    search: Search,
    value: jax.Array,
    gradient: jax.Array,
    *,
    tolerance: float,
    slack: float,
    max_iter: int,
) -> Search:
    """Take in the function at the trial point, of one problem.

    Args:
        search: the problem; unchanged if it does not run any more.
        value, gradient: at `trial_point(search)`.
        tolerance: a problem has converged when the model promises a fall of no more than this
            share of the value ...
        slack: ... and of no more than this.
        max_iter: the most directions.
    """
    slope = _dot(gradient, search.direction)
    sane = jnp.isfinite(value) & jnp.isfinite(slope)
    no_rise = value <= search.value + _NOISE * jnp.abs(search.value)
    too_long = ~sane | ~no_rise | (slope > (2 * _DECREASE - 1) * search.slope)
    too_short = ~too_long & (slope < _CURVATURE * search.slope)
    last_trial = search.trials + 1 >= _MAX_TRIALS
    # A step that is too short is better than its start; when trials run out, it is taken.
    right = ~too_long & (~too_short | last_trial)
    stepped = _next_direction(search, value, gradient, tolerance, slack, max_iter)
    narrowed = _next_trial(search, slope, sane, too_long)
    failed = narrowed._replace(status=jnp.where(last_trial, STALLED, RUNNING).astype(jnp.int32))
    running = search.status == RUNNING
    return jax.tree.map(
        lambda old, new, retry: jnp.where(running, jnp.where(right, new, retry), old),
        search,
        stepped,
        failed,
    )


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a * b)


def _next_trial(search: Search, slope: jax.Array, sane: jax.Array, too_long: jax.Array) -> Search:
    """Cut or stretch the step: to where the slope would vanish if it grew evenly."""
    low = jnp.where(too_long, search.low, search.step)
    low_slope = jnp.where(too_long, search.low_slope, slope)
    high = jnp.where(too_long, search.step, search.high)
    usable = sane & (slope > 0)
    high_slope = jnp.where(too_long, jnp.where(usable, slope, jnp.inf), search.high_slope)
    width = high - low
    share = low_slope / (low_slope - high_slope)  # 0 where the upper slope is not known
    inside = low + width * jnp.where(jnp.isfinite(high_slope), jnp.clip(share, 0.1, 0.9), 0.2)
    return search._replace(
        step=jnp.where(jnp.isfinite(high), inside, _GROWTH * low),
        low=low,
        low_slope=low_slope,
        high=high,
        high_slope=high_slope,
        trials=search.trials + 1,
    )


def _next_direction(search, value, gradient, tolerance, slack, max_iter) -> Search:
    step = search.step * search.direction
    change = gradient - search.gradient
    curvature = _dot(step, change)
    kept = curvature > 1e-12 * jnp.sqrt(_dot(step, step) * _dot(change, change))
    steps, changes, curvatures = (
        jnp.where(kept, jnp.concatenate([old[1:], new[None]]), old)
        for old, new in (
            (search.steps, step),
            (search.changes, change),
            (search.curvatures, curvature),
        )
    )
    direction = -_two_loops(gradient, search.metric, steps, changes, curvatures)
    slope = _dot(direction, gradient)
    point = search.point + step
    iterations = search.iterations + 1
    converged = -slope / 2 <= jnp.minimum(tolerance * jnp.abs(value), slack)
    status = jnp.where(iterations >= max_iter, OUT_OF_STEPS, RUNNING)
    infinite = jnp.full((), jnp.inf)
    return search._replace(
        point=point,
        value=value,
        gradient=gradient,
        direction=direction,
        slope=slope,
        step=jnp.ones(()),
        low=jnp.zeros(()),
        low_slope=slope,
        high=infinite,
        high_slope=infinite,
        trials=jnp.zeros((), jnp.int32),
        steps=steps,
        changes=changes,
        curvatures=curvatures,
        iterations=iterations,
        status=jnp.where(converged, CONVERGED, status).astype(jnp.int32),
    )


def _two_loops(gradient, metric, steps, changes, curvatures) -> jax.Array:
    """Apply the inverse Hessian of the model to a gradient."""
    inverse = jnp.where(curvatures > 0, 1 / jnp.where(curvatures > 0, curvatures, 1), 0)

    def down(rest, pair):
        step, change, inverse = pair
        share = inverse * _dot(step, rest)
        return rest - share * change, share

    pairs = (steps, changes, inverse)
    rest, shares = jax.lax.scan(down, gradient, pairs, reverse=True)
    # The newest pair says by how much the metric is off on the whole.
    last = changes[-1]
    scale = curvatures[-1] / jnp.where(curvatures[-1] > 0, _dot(last, last / metric), 1)
    rest = rest / metric * jnp.where(curvatures[-1] > 0, scale, 1)

    def up(found, pair):
        step, change, inverse, share = pair
        return found + step * (share - inverse * _dot(change, found)), None

    return jax.lax.scan(up, rest, (*pairs, shares))[0]
