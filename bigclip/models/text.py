"""The text tower: a transformer over tokens."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bigclip.config import choose
from bigclip.models.init import initializers
from bigclip.models.norm import LayerNorm
from bigclip.models.pooling import eot_position, take_position
from bigclip.models.transformer import apply_blocks

POOLS = ("eot", "last")


class TextTower(nn.Module):
    """Embed texts.

    Parameters (V vocabulary, L tokens, E width, D embedding): `token_embedding` [V, E],
    `position` [L, E], `blocks/*` or `block_00/*`, ..., `ln_post`, `projection/*` [E, D].
    """

    embed_dim: int  # D
    vocab_size: int  # V
    context_length: int  # L, tokens
    width: int  # E
    depth: int
    num_heads: int
    mlp_width: int
    causal: bool = True
    pool: str = "eot"  # one of POOLS: the first end-of-text token, or the last position
    activation: str = "quick_gelu"
    ln_eps: float = 1e-5
    projection: bool = True  # else the pooled vector is the embedding, and D = E
    projection_bias: bool = False
    init_scheme: str = "clip"
    dtype: Any = jnp.bfloat16  # of the computation; parameters are float32
    scan: bool = False
    remat: str = "none"
    attention: str = "auto"  # one of attention.ATTENTIONS

    @nn.compact
    def __call__(self, tokens: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Embed tokens.

        Args:
            tokens: int32 [b, L]; rows may be shorter than the tower's context.

        Returns:
            The embeddings, float32 [b, D], not normalised, and intermediates: `tokens`
            [b, L, E] after the last norm, and `pooled` float32 [b, E].

        Raises:
            ValueError: the rows are longer than the context.
        """
        length = tokens.shape[1]
        if length > self.context_length:
            raise ValueError(
                f"texts have {length} tokens, but this tower takes {self.context_length}; change "
                "the tokenizer's or the architecture's context_length"
            )
        inits = initializers(
            self.init_scheme, width=self.width, depth=self.depth, mlp_width=self.mlp_width
        )
        embedding = self.param(
            "token_embedding", inits.token_embedding, (self.vocab_size, self.width), jnp.float32
        )
        position = self.param(
            "position", inits.text_position, (self.context_length, self.width), jnp.float32
        )
        # Look up first and cast after: the gradient of frequent tokens then adds in float32.
        x = (embedding[tokens] + position[:length]).astype(self.dtype)
        x = apply_blocks(
            x,
            depth=self.depth,
            scan=self.scan,
            remat=self.remat,
            width=self.width,
            num_heads=self.num_heads,
            mlp_width=self.mlp_width,
            activation=self.activation,
            ln_eps=self.ln_eps,
            init_scheme=self.init_scheme,
            causal=self.causal,
            attention=self.attention,
            dtype=self.dtype,
        )

        if self.pool == "eot":
            last = take_position(x, eot_position(tokens))
        else:
            choose(self.pool, dict.fromkeys(POOLS), "text.pool")
            last = x[:, -1]
        ln_post = LayerNorm(self.ln_eps, dtype=jnp.float32, name="ln_post")
        pooled = ln_post(last)
        emb = pooled
        if self.projection:
            emb = nn.Dense(
                self.embed_dim,
                use_bias=self.projection_bias,
                kernel_init=inits.projection,
                name="projection",
            )(pooled)
        # Under jit, tokens that nobody asks for cost nothing.
        return emb, {"tokens": ln_post(x).astype(self.dtype), "pooled": pooled}
