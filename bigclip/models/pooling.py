"""From a sequence of tokens to one vector.

Everything after the last layer is one vector per example, so it costs next to nothing and runs in
float32 (which TPUs multiply at bfloat16 speed anyway, with float32 results).
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bigclip.models.attention import Attention
from bigclip.models.init import initializers
from bigclip.models.norm import LayerNorm
from bigclip.models.transformer import Mlp


class MapHead(nn.Module):
    """Multi-head attention pooling: one learned probe attends to all tokens, then an MLP.

    Source: Zhai et al. 2022, arXiv 2106.04560; big_vision `models/vit.py`.
    """

    width: int
    num_heads: int
    mlp_width: int
    activation: str
    ln_eps: float
    init_scheme: str  # a key of init.SCHEMES
    depth: int  # of the tower, for the initialisation
    dtype: Any = jnp.bfloat16

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x [b, P, E] to float32 [b, E]."""
        inits = initializers(
            self.init_scheme, width=self.width, depth=self.depth, mlp_width=self.mlp_width
        )
        probe = self.param("probe", inits.probe, (1, self.width), jnp.float32)
        queries = jnp.broadcast_to(probe, (x.shape[0], 1, self.width))
        y = Attention(
            self.width,
            self.num_heads,
            init_scheme=self.init_scheme,
            depth=self.depth,
            dtype=self.dtype,
            name="attention",
        )(x, queries)
        y = y[:, 0].astype(jnp.float32)  # [b, E]
        z = LayerNorm(self.ln_eps, dtype=jnp.float32, name="ln_mlp")(y)
        z = Mlp(
            self.width,
            self.mlp_width,
            self.activation,
            init_scheme=self.init_scheme,
            depth=self.depth,
            dtype=jnp.float32,
            name="mlp",
        )(z)
        return y + z


def eot_position(tokens: jax.Array) -> jax.Array:
    """Return the position of the first end-of-text token, [b], of tokens [b, L].

    The end-of-text id is the largest of the vocabulary, and argmax returns the first maximum.
    """
    return jnp.argmax(tokens, axis=-1)
