"""The objective of logistic regression for many problems at once.

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

from bigclip.evals.probes.linear.rows import HIGHEST, Rows


class Problems(NamedTuple):
    """What tells the problems apart.

    Attributes:
        penalty: [..] float32, strength / number of rows.
        column: [..] int32, the label of a binary problem; unused for classes.
    """

    penalty: jax.Array
    column: jax.Array


@functools.partial(jax.jit, static_argnames=("mesh", "with_curvature"))
def evaluate(
    rows: Rows,
    problems: Problems,
    points: jax.Array,
    blocks: jax.Array,
    count: jax.Array,
    *,
    mesh: Mesh,
    with_curvature: bool,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Sum the losses of rows, their gradient and the diagonal of their Hessian.

    The problems come in N blocks of C: a block shares its products with the rows, a block that is
    not asked for costs nothing.

    Args:
        rows: on the devices.
        problems: leaves [N, C].
        points: [N, C, E + 1, k], the bias last.
        blocks: [N] int, the first `count` of them are the blocks to evaluate.
        count: how many.
        mesh: the devices that hold the rows.
        with_curvature: whether the diagonal is wanted; it costs half as much as the rest.

    Returns:
        Losses [N, C]; gradients [N, C, E + 1, k]; diagonals, or None. 0 for blocks that were not
        evaluated. The penalty is not in them.
    """
    by_rows, whole = PartitionSpec(None, "rows"), PartitionSpec()
    sum_block = jax.shard_map(
        functools.partial(_sum_block, with_curvature=with_curvature),
        mesh=mesh,
        in_specs=(by_rows, whole, whole),
        out_specs=whole,
        check_vma=False,
    )

    def add_block(number, found):
        block = blocks[number]
        sums = sum_block(rows, problems.column[block], points[block])
        return jax.tree.map(lambda all_, one: all_.at[block].set(one), found, sums)

    moment = jnp.zeros_like(points)
    nothing = (jnp.zeros(points.shape[:2]), moment, moment if with_curvature else None)
    return jax.lax.fori_loop(0, count, add_block, nothing)


@jax.jit
def add_penalty(
    sums: tuple[jax.Array, jax.Array, jax.Array | None],
    num_rows: jax.Array,
    problems: Problems,
    points: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Turn the sums of `evaluate` into the objective, its gradient and its diagonal.

    Args:
        sums: over all rows.
        num_rows: I.
        problems, points: as for `evaluate`.
    """
    losses, gradient, curvature = sums
    is_bias = jnp.arange(points.shape[2]) == points.shape[2] - 1
    penalty = jnp.where(is_bias[:, None], 0.0, problems.penalty[..., None, None])
    values = losses / num_rows + jnp.sum(penalty * points * points, axis=(2, 3)) / 2
    if curvature is not None:
        # A feature without variance and without penalty has none; it must not divide by 0.
        curvature = jnp.maximum(curvature / num_rows + penalty, 1e-12)
    return values, gradient / num_rows + penalty * points, curvature


def _sum_block(rows: Rows, column: jax.Array, points: jax.Array, *, with_curvature: bool):
    """Go through the tiles of this device with the C problems of a block, and add the devices."""
    num_problems, width, k = points.shape
    columns = num_problems * k
    kernel = jnp.moveaxis(points[:, :-1], 1, 0).reshape(width - 1, columns)
    bias = points[:, -1].reshape(-1)

    def add_tile(sums, tile):
        features, targets, weights = tile
        logits = jnp.matmul(features, kernel, precision=HIGHEST) + bias
        logits = logits.reshape(-1, num_problems, k)
        if targets.ndim == 1:
            losses, residuals, slopes = softmax_loss(logits, targets)
        else:
            losses, residuals, slopes = sigmoid_loss(logits, targets[:, column, None] > 0)
        moments = [(features, residuals)]
        if with_curvature:
            moments.append((features * features, slopes))
        added = [jnp.einsum("i,ip->p", weights, losses)]
        for inputs, outputs in moments:
            outputs = (outputs * weights[:, None, None]).reshape(-1, columns)
            product = jnp.matmul(inputs.T, outputs, precision=HIGHEST)
            added.append(jnp.concatenate([product, outputs.sum(0)[None]]))
        return jax.tree.map(jnp.add, sums, added), None

    zeros = jnp.zeros((width, columns))
    sums = [jnp.zeros(num_problems)] + [zeros] * (2 if with_curvature else 1)
    sums, _ = jax.lax.scan(add_tile, sums, tuple(rows))
    losses, *moments = jax.lax.psum(sums, "rows")
    moments = [jnp.moveaxis(one.reshape(width, num_problems, k), 1, 0) for one in moments]
    return losses, moments[0], moments[1] if with_curvature else None


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
