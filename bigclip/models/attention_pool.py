"""The pooling of CLIP's ResNets: the mean of the feature map attends to all of it."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bigclip.models.attention import attend
from bigclip.models.init import initializers


class AttentionPool(nn.Module):
    """One layer of multi-head attention whose only query is the mean of the tokens.

    Source: Radford et al. 2021, arXiv 2103.00020, section 2.4; openai/CLIP `clip/model.py`.

    Parameters (E width, P positions, D outputs): `position` [P + 1, E], the mean's row first;
    `query`, `key`, `value` [E, E] and `out` [E, D], all with bias.
    """

    embed_dim: int  # D
    num_heads: int
    init_scheme: str  # a key of init.SCHEMES
    dtype: Any = jnp.bfloat16

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x [b, P, E] to float32 [b, D]."""
        batch_size, length, width = x.shape
        inits = initializers(self.init_scheme, width=width, depth=1, mlp_width=width)
        mean = x.astype(jnp.float32).mean(axis=1, keepdims=True).astype(self.dtype)
        x = jnp.concatenate([mean, x.astype(self.dtype)], axis=1)  # [b, 1 + P, E]
        position = self.param("position", inits.image_position, (length + 1, width), jnp.float32)
        x = x + position.astype(self.dtype)

        def project(inputs: jax.Array, name: str) -> jax.Array:
            # The release draws these matrices anew, and leaves the biases at PyTorch's default.
            y = nn.Dense(
                width,
                dtype=self.dtype,
                kernel_init=inits.attention_in,
                bias_init=inits.mlp_up_bias,
                name=name,
            )(inputs)
            return y.reshape(batch_size, -1, self.num_heads, width // self.num_heads)

        y = attend(project(x[:, :1], "query"), project(x, "key"), project(x, "value"))
        return nn.Dense(
            self.embed_dim,
            kernel_init=inits.projection,
            bias_init=inits.mlp_up_bias,
            name="out",
        )(y.reshape(batch_size, width).astype(jnp.float32))
