"""Batch normalisation whose running statistics are parameters like any other."""

import functools
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

# How a tower normalises in training: by the batch it sees, or by the running statistics.
BATCH_NORMS = ("batch", "running")
# Leaves of the parameter tree that no gradient changes, by the end of their path.
STATISTICS = ("running_mean", "running_var")
# Flax collection in which a training pass leaves the new values of those leaves.
COLLECTION = "statistics"
_MOMENTUM = 0.1  # part of the batch's statistics in the new ones, as PyTorch counts it
_AXES = (0, 1, 2)  # of a feature map [b, H, W, C]: all but the channels


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalise(
    by_batch: bool,
    x: jax.Array,
    mean: jax.Array,
    inverse: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
) -> jax.Array:
    """Return (x - mean) * inverse * scale + bias, of the type of x.

    The derivative is written out, so that the backward pass keeps of all that is as large as x
    only x itself, in its own type. With `by_batch` it takes `mean` and `inverse` (one over the
    deviation) for those of x; they themselves get none.
    """
    y = (x.astype(jnp.float32) - mean) * (inverse * scale) + bias
    return y.astype(x.dtype)


def _forward(by_batch: bool, *inputs: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _normalise(by_batch, *inputs), inputs[:-1]


def _backward(by_batch: bool, kept: tuple[jax.Array, ...], grad: jax.Array) -> tuple[Any, ...]:
    x, mean, inverse, scale = kept
    grad = grad.astype(jnp.float32)
    normed = (x.astype(jnp.float32) - mean) * inverse
    bias_grad, scale_grad = grad.sum(axis=_AXES), (grad * normed).sum(axis=_AXES)
    if by_batch:  # Ioffe and Szegedy 2015, section 3, put together
        count = x.size // x.shape[-1]
        grad = grad - (bias_grad + normed * scale_grad) / count
    x_grad = (grad * (inverse * scale)).astype(x.dtype)
    return x_grad, None, None, scale_grad, bias_grad


_normalise.defvjp(_forward, _backward)


class BatchNorm(nn.Module):
    """Normalise each channel over all examples and positions, then scale and shift.

    Source: Ioffe and Szegedy 2015, arXiv 1502.03167; momentum and the two variances are those of
    PyTorch's `BatchNorm2d`: a batch is normalised by its biased variance, and the running one
    follows the unbiased.

    Under jit the batch is the global one, on any number of devices: a mean over a sharded axis is
    the mean over all of it.

    Parameters (C channels): `scale`, `bias`, `running_mean`, `running_var`, all [C]. In training
    the new values of the last two are left in the collection "statistics", under the same path.
    """

    epsilon: float
    training: bool  # normalise by the batch, unless the statistics are frozen
    frozen: Collection[str] = frozenset()  # paths in the tower of parameters that stay
    zero_scale: bool = False  # start with a scale of 0 instead of 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [b, H, W, C] to the same shape and type; inside, all is float32."""
        zeros, ones = nn.initializers.zeros, nn.initializers.ones

        def parameter(name: str, start: Any) -> jax.Array:
            return self.param(name, start, x.shape[-1:], jnp.float32)

        scale = parameter("scale", zeros if self.zero_scale else ones)
        bias = parameter("bias", zeros)
        old_mean = jax.lax.stop_gradient(parameter("running_mean", zeros))
        old_var = jax.lax.stop_gradient(parameter("running_var", ones))
        mean, variance, by_batch = old_mean, old_var, self._sees_the_batch()
        if by_batch:
            # One pass over the batch: both means are of values near 0, since the running mean is
            # near the batch's. So their difference keeps its digits.
            shifted = jax.lax.stop_gradient(x).astype(jnp.float32) - old_mean
            shift = shifted.mean(axis=_AXES)
            mean = old_mean + shift
            variance = jnp.square(shifted).mean(axis=_AXES) - jnp.square(shift)
            variance = jnp.maximum(variance, 0.0)
            count = x.size // x.shape[-1]
            unbiased = variance * (count / max(count - 1, 1))
            for name, old, new in (
                ("running_mean", old_mean, mean),
                ("running_var", old_var, unbiased),
            ):
                self.put_variable(COLLECTION, name, old + _MOMENTUM * (new - old))
        inverse = jax.lax.rsqrt(variance + self.epsilon)
        return _normalise(by_batch, x, mean, inverse, scale, bias)

    def _sees_the_batch(self) -> bool:
        here = "/".join(self.path)
        return self.training and not any(f"{here}/{name}" in self.frozen for name in STATISTICS)
