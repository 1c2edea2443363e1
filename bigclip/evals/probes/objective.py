"""The objective of logistic regression for many problems in one pass over the rows.

A problem is one strength of the penalty, with all classes (multinomial: k = K columns), or one
strength and one label (binary relevance, or two classes: k = 1 column). Of problem p with the
points W [E, k] and b [k],

    f_p = 1/I sum_i loss_i(x_i W + b) + penalty_p / 2 ||W||^2,    penalty = strength / I

with the cross-entropy of softmax or sigmoid as loss: scikit-learn's objective at C = 1 / strength,
divided by C I. The bias is not penalised.

Near separability losses and residuals are tiny. Both are computed from the probability of what is
*wrong*, whose float32 is exact to a relative 1e-6, and never as 1 minus something close to it.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from bigclip.evals.probes.rows import HIGHEST, Rows


class Problems(NamedTuple):
    """What tells the problems apart.

    Attributes:
        penalty: [P] float32, strength / number of rows.
        column: [P] int32, the label of a binary problem; unused for classes.
    """

    penalty: jax.Array
    column: jax.Array


@functools.partial(jax.jit, static_argnames=("mesh", "with_curvature"))
def evaluate(
    parts: tuple[Rows, ...],
    problems: Problems,
    points: jax.Array,
    *,
    mesh: Mesh,
    with_curvature: bool,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Value, gradient and diagonal of the Hessian of every problem at its point.

    Args:
        parts: the rows; all of them count.
        problems: P of them.
        points: [P, E + 1, k], the bias last.
        mesh: the devices that hold the rows.
        with_curvature: whether the diagonal is wanted; it costs half as much as the rest.

    Returns:
        Values [P]; gradients [P, E + 1, k]; diagonals [P, E + 1, k], or None.
    """
    num_problems, width, k = points.shape
    kernel = jnp.moveaxis(points[:, :-1], 1, 0).reshape(width - 1, num_problems * k)
    bias = points[:, -1].reshape(-1)
    columns = num_problems * k

    def add_tile(sums, tile):
        features, targets, weights = tile
        logits = jnp.matmul(features, kernel, precision=HIGHEST) + bias
        logits = logits.reshape(-1, num_problems, k)
        if targets.ndim == 1:
            losses, residuals, slopes = softmax_loss(logits, targets)
        else:
            right = targets[:, problems.column, None] > 0
            losses, residuals, slopes = sigmoid_loss(logits, right)
        moments = [(features, residuals)]
        if with_curvature:
            moments.append((features * features, slopes))
        added = [jnp.einsum("i,ip->p", weights, losses)]
        for inputs, outputs in moments:
            outputs = (outputs * weights[:, None, None]).reshape(-1, columns)
            product = jnp.matmul(inputs.T, outputs, precision=HIGHEST)
            added.append(jnp.concatenate([product, outputs.sum(0)[None]]))
        return jax.tree.map(jnp.add, sums, added), None

    def local_sums(rows):
        zeros = jnp.zeros((width, columns))
        sums = [jnp.zeros(num_problems)] + [zeros] * (2 if with_curvature else 1)
        sums, _ = jax.lax.scan(add_tile, sums, tuple(rows))
        return jax.lax.psum((sums, rows.weights.sum()), "rows")

    by_rows, whole = PartitionSpec(None, "rows"), PartitionSpec()
    over_devices = jax.shard_map(
        local_sums, mesh=mesh, in_specs=(by_rows,), out_specs=whole, check_vma=False
    )
    found = [over_devices(part) for part in parts]
    sums, count = jax.tree.map(lambda *one: sum(one), *found)
    values, *moments = [one / count for one in sums]
    gradient, *curvature = [
        jnp.moveaxis(one.reshape(width, num_problems, k), 1, 0) for one in moments
    ]
    penalty = jnp.broadcast_to(problems.penalty[:, None, None], points.shape).at[:, -1].set(0.0)
    values = values + 0.5 * jnp.sum(penalty * points * points, axis=(1, 2))
    # A feature without variance and without penalty has no curvature; it must not divide by 0.
    diagonal = jnp.maximum(curvature[0] + penalty, 1e-12) if curvature else None
    return values, gradient + penalty * points, diagonal


def softmax_loss(logits: jax.Array, classes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cross-entropy of softmax with its derivatives.

    Args:
        logits: [i, P, K].
        classes: [i] int.

    Returns:
        Losses [i, P]; their gradient in the logits [i, P, K]; the diagonal of their Hessian.
    """
    is_right = jnp.arange(logits.shape[-1]) == classes[:, None, None]
    logits = logits - logits.max(axis=-1, keepdims=True)
    powers = jnp.exp(logits)
    wrong = jnp.where(is_right, 0, powers).sum(axis=-1)
    total = wrong + jnp.where(is_right, powers, 0).sum(axis=-1)
    right_logit = jnp.where(is_right, logits, 0).sum(axis=-1)
    losses = jnp.where(right_logit == 0, jnp.log1p(wrong), jnp.log(total) - right_logit)
    wrong_share = (wrong / total)[..., None]
    shares = powers / total[..., None]
    residuals = jnp.where(is_right, -wrong_share, shares)
    slopes = shares * jnp.where(is_right, wrong_share, 1 - shares)
    return losses, residuals, slopes


def sigmoid_loss(logits: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cross-entropy of the sigmoid with its derivatives.

    Args:
        logits: [i, P, 1].
        right: [i, P, 1] bool.

    Returns:
        As `softmax_loss`.
    """
    sign = jnp.where(right, 1.0, -1.0)
    wrong = jax.nn.sigmoid(-sign * logits)  # the probability of the other answer
    losses = jax.nn.softplus(-sign * logits)[..., 0]
    return losses, -sign * wrong, wrong * jax.nn.sigmoid(sign * logits)
