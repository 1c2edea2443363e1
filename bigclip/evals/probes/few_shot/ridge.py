"""Ridge regression of classes on features, in closed form, for several strengths at once.

The classifier of big_vision's few-shot evaluator (`evaluators/fewshot_lsr.py`): features are
standardised by the mean and deviation of the training rows, a class is +1 and every other class
-1, a constant feature of 100 serves as an almost unregularised bias, and with the rows X (the
constant among them) and the targets Y

    W = (X'X + strength I)^-1 X'Y.

Standardised columns sum to zero, so that the constant is orthogonal to them and the system falls
apart: the bias has a formula of its own, and what is left to solve has no column that is a hundred
times larger than the others, which float32 would pay for. With fewer rows than features,
X'(XX' + strength I)^-1 Y gives the same from a smaller system.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BIAS_FEATURE = 100.0
MIN_STD = 1e-5  # added to every deviation, as in the source

_HIGHEST = jax.lax.Precision.HIGHEST  # a TPU would round the factors to bfloat16


class Ridge(NamedTuple):
    """A fitted classifier for each of R strengths.

    Attributes:
        mean: [E] of the training rows.
        std: [E] of the training rows, `MIN_STD` added.
        weight: [R, E, C], for standardised features.
        bias: [R, C].
    """

    mean: jax.Array
    std: jax.Array
    weight: jax.Array
    bias: jax.Array


def fit(
    features: jax.Array,
    class_of: jax.Array,
    is_row: jax.Array,
    strengths: jax.Array,
    *,
    num_classes: int,
) -> Ridge:
    """Fit one classifier per strength; traceable.

    Args:
        features: [N, E] float.
        class_of: [N] int.
        is_row: [N] bool; False marks padding, which changes nothing.
        strengths: [R] float, positive.
        num_classes: C.
    """
    mask = is_row.astype(jnp.float32)[:, None]
    count = mask.sum()
    x = features.astype(jnp.float32)
    mean = (mask * x).sum(axis=0) / count
    std = jnp.sqrt((mask * (x - mean) ** 2).sum(axis=0) / count) + MIN_STD
    x = mask * (x - mean) / std
    y = mask * (2.0 * jax.nn.one_hot(class_of, num_classes) - 1.0)

    few_rows = x.shape[0] < x.shape[1]
    left, right = (x, x.T) if few_rows else (x.T, x)
    gram = jnp.matmul(left, right, precision=_HIGHEST)
    target = y if few_rows else jnp.matmul(x.T, y, precision=_HIGHEST)

    def solve(strength: jax.Array) -> tuple[jax.Array, jax.Array]:
        system = gram + strength * jnp.eye(len(gram))
        solution = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(system), target)
        weight = jnp.matmul(x.T, solution, precision=_HIGHEST) if few_rows else solution
        bias = BIAS_FEATURE**2 * y.sum(axis=0) / (BIAS_FEATURE**2 * count + strength)
        return weight, bias

    weight, bias = jax.vmap(solve)(strengths)
    return Ridge(mean, std, weight, bias)


@functools.partial(jax.jit, static_argnames="num_classes")
def fit_draws(
    features: jax.Array,
    class_of: jax.Array,
    is_row: jax.Array,
    strengths: jax.Array,
    *,
    num_classes: int,
) -> Ridge:
    """Fit S draws at once: `fit` with a leading axis S on all but `strengths`."""
    one = functools.partial(fit, num_classes=num_classes)
    return jax.vmap(one, in_axes=(0, 0, 0, None))(features, class_of, is_row, strengths)


def scores(ridge: Ridge, features: jax.Array) -> jax.Array:
    """Return the class scores [R, t, C] of features [t, E]."""
    x = (features - ridge.mean) / ridge.std
    return jnp.einsum("te,rec->rtc", x, ridge.weight, precision=_HIGHEST) + ridge.bias[:, None]


def predict(ridges: Ridge, features: jax.Array) -> jax.Array:
    """Return the predicted classes, int32 [t, S, R], of S stacked fits (each leaf [S, ...]).

    The first of equal scores wins. Where a score is no number, the prediction is -1, which is
    no class: a model that has diverged is never right.
    """
    found = jax.vmap(scores, in_axes=(0, None))(ridges, features)  # [S, R, t, C]
    best = jnp.where(jnp.isnan(found).any(axis=-1), -1, jnp.argmax(found, axis=-1))
    return jnp.moveaxis(best, 2, 0).astype(jnp.int32)


def draw_shots(
    class_of: np.ndarray, num_classes: int, most: int, seed: int, *, draw: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw up to `most` rows of every class.

    The draws nest: the first k columns are the draw of k shots. A class's draw depends on its own
    rows, its number, the seed and the number of the draw only.

    Args:
        class_of: [N] int.
        num_classes: C.
        most: the largest number of shots.
        seed: decides the draws.
        draw: which of them.

    Returns:
        rows [C, most] int, and is_row [C, most] bool: False where a class has no more rows (there
        `rows` repeats one, or is 0).
    """
    rows = np.zeros((num_classes, most), np.int64)
    is_row = np.zeros((num_classes, most), bool)
    members = np.split(
        np.argsort(class_of, kind="stable"),
        np.cumsum(np.bincount(class_of, minlength=num_classes))[:-1],
    )
    for number, mine in enumerate(members):
        drawn = np.random.default_rng([seed, draw, number]).permutation(mine)[:most]
        rows[number, : len(drawn)] = drawn
        rows[number, len(drawn) :] = drawn[:1] if len(drawn) else 0
        is_row[number, : len(drawn)] = True
    return rows, is_row
