"""The text tower: a transformer over tokens."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bigclip.config import choose
from bigclip.models.init import initializers
from bigclip.models.norm import LayerNorm
from bigclip.models.pooling import eot_position
from bigclip.models.transformer import apply_blocks, needs_all_tokens, take_position

POOLS = ("eot", "last")


class TextTower(nn.Module):
    """Embed tokens.

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
    def __call__(
        self, tokens: jax.Array, *, with_tokens: bool = False
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Embed tokens.

        Args:
            tokens: int32 [b, L]; rows may be shorter than the tower's context.
            with_tokens: return all tokens, too. Without, the last layer computes the pooled token
                only.

        Returns:
            The embeddings, float32 [b, D], not normalised, and intermediates: `pooled` float32
            [b, E] and, where asked for, `tokens` [b, L, E] after the last norm.

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
        if self.pool == "eot":
            at = eot_position(tokens)
        else:
            choose(self.pool, dict.fromkeys(POOLS), "text.pool")
            at = jnp.full(tokens.shape[0], length - 1, jnp.int32)
        whole = with_tokens or needs_all_tokens(self)
        x = apply_blocks(
            x,
            at=None if whole else at,
            stacked_params=None if whole else self.get_variable("params", "blocks"),
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

        ln_post = LayerNorm(self.ln_eps, dtype=jnp.float32, name="ln_post")
        pooled = ln_post((take_position(x, at) if whole else x)[:, 0])
        emb = pooled
        if self.projection:
            emb = nn.Dense(
                self.embed_dim,
                use_bias=self.projection_bias,
                kernel_init=inits.projection,
                name="projection",
            )(pooled)
        inner = {"pooled": pooled}
        if with_tokens:
            inner["tokens"] = ln_post(x).astype(self.dtype)
        return emb, inner
