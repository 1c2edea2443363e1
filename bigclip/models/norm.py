"""LayerNorm, computed in float32 whatever the dtype of its input."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


class LayerNorm(nn.Module):
    """Normalise the last axis, then scale and shift.

    The variance is that of the centred values: mean(x^2) - mean(x)^2 loses digits where the mean
    is large beside the spread.
    """

    epsilon: float
    dtype: Any = jnp.bfloat16  # of the result

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [..., E] to [..., E]."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        x = x.astype(jnp.float32)
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = jnp.square(centred).mean(axis=-1, keepdims=True)
        y = centred * jax.lax.rsqrt(variance + self.epsilon) * scale + bias
        return y.astype(self.dtype)
