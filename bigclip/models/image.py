"""The image tower: a vision transformer."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bigclip.config import choose
from bigclip.models.init import initializers
from bigclip.models.norm import LayerNorm
from bigclip.models.pooling import MapHead
from bigclip.models.stems import ConvStem, PatchStem, check_size
from bigclip.models.transformer import apply_blocks, needs_all_tokens

POOLS = ("class", "mean", "map")
STEMS = ("patch", "conv")


class ImageTower(nn.Module):
    """Embed images.

    Parameters (E width, P patches, D embedding): `stem/*`, `class_token` [1, E], `position`
    [P (+ 1), E] (the class token's row first), `ln_pre`, `blocks/*` or `block_00/*`, ...,
    `ln_post`, `map_head/*`, `projection` [E, D].
    """

    embed_dim: int  # D
    image_size: int  # H = W, pixels
    patch_size: int  # pixels
    width: int  # E
    depth: int
    num_heads: int
    mlp_width: int
    stem: str = "patch"  # one of STEMS
    patch_bias: bool = False
    ln_pre: bool = True
    pool: str = "class"  # one of POOLS
    activation: str = "quick_gelu"
    ln_eps: float = 1e-5
    projection: bool = True  # else the pooled vector is the embedding, and D = E
    projection_bias: bool = False
    init_scheme: str = "clip"
    patch_dropout: float = 0.0  # share of the patches left out where keys are given
    dtype: Any = jnp.bfloat16  # of the computation; parameters are float32
    scan: bool = False
    remat: str = "none"
    attention: str = "auto"  # one of attention.ATTENTIONS

    @nn.compact
    def __call__(
        self, images: jax.Array, *, keys: jax.Array | None = None, with_tokens: bool = False
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Embed normalised images.

        Args:
            images: float [b, H, W, 3].
            keys: PRNG keys [b], one an example, so that what is dropped depends on neither
                micro-batching nor sharding. None: nothing is dropped.
            with_tokens: return the patches, too. Without, where the class token is pooled, the
                last layer computes that token only.

        Returns:
            The embeddings, float32 [b, D], not normalised, and intermediates: `pooled` float32
            [b, E] and, where asked for, `tokens` [b, P, E], the patches after the last norm.

        Raises:
            ValueError: the images are not of the size that the tower was built for.
        """
        check_size(images, self.image_size)
        inits = initializers(
            self.init_scheme, width=self.width, depth=self.depth, mlp_width=self.mlp_width
        )
        num_class = 1 if self.pool == "class" else 0
        num_patches = (self.image_size // self.patch_size) ** 2
        kept = None
        if keys is not None and self.patch_dropout:
            num_kept = kept_patches(num_patches, self.patch_dropout)
            kept = choose_patches(keys, num_patches, num_kept=num_kept)
        x = self._stem(images, kept)  # [b, P, E], or [b, k, E] of the kept patches
        position = self.param(
            "position", inits.image_position, (num_class + num_patches, self.width), jnp.float32
        )
        at_patches = position[num_class:] if kept is None else position[num_class:][kept]
        # Taken first and cast after: the gradient of a position then adds in float32.
        x = x + at_patches.astype(self.dtype)
        if num_class:
            token = self.param("class_token", inits.class_token, (1, self.width), jnp.float32)
            token = (token + position[:1]).astype(self.dtype)
            token = jnp.broadcast_to(token, (x.shape[0], *token.shape))
            x = jnp.concatenate([token, x], axis=1)  # [b, 1 + P, E]
        if self.ln_pre:
            x = LayerNorm(self.ln_eps, dtype=self.dtype, name="ln_pre")(x)

        shared = {
            "width": self.width,
            "num_heads": self.num_heads,
            "mlp_width": self.mlp_width,
            "activation": self.activation,
            "ln_eps": self.ln_eps,
            "init_scheme": self.init_scheme,
            "dtype": self.dtype,
        }
        whole = with_tokens or self.pool != "class" or needs_all_tokens(self)
        x = apply_blocks(
            x,
            at=None if whole else jnp.zeros(x.shape[0], jnp.int32),
            stacked_params=None if whole else self.get_variable("params", "blocks"),
            depth=self.depth,
            scan=self.scan,
            remat=self.remat,
            attention=self.attention,
            **shared,
        )

        ln_post = LayerNorm(self.ln_eps, dtype=jnp.float32, name="ln_post")
        if self.pool == "class":
            pooled = ln_post(x[:, 0])
        elif self.pool == "map":
            patches = ln_post(x).astype(self.dtype)
            pooled = MapHead(**shared, depth=self.depth, name="map_head")(patches)
        else:
            choose(self.pool, dict.fromkeys(POOLS), "image.pool")
            pooled = ln_post(x).mean(axis=1)
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
            inner["tokens"] = ln_post(x[:, num_class:]).astype(self.dtype)
        return emb, inner

    def _stem(self, images: jax.Array, kept: jax.Array | None) -> jax.Array:
        if self.stem == "conv":
            return ConvStem(
                self.width,
                self.patch_size,
                ln_eps=self.ln_eps,
                init_scheme=self.init_scheme,
                dtype=self.dtype,
                name="stem",
            )(images, kept)
        choose(self.stem, dict.fromkeys(STEMS), "image.stem")
        return PatchStem(
            self.width,
            self.patch_size,
            bias=self.patch_bias,
            init_scheme=self.init_scheme,
            dtype=self.dtype,
            name="stem",
        )(images, kept)


def kept_patches(num_patches: int, rate: float) -> int:
    """Return how many of `num_patches` remain when a share `rate` is dropped, at least one."""
    return max(1, round(num_patches * (1 - rate)))


def choose_patches(keys: jax.Array, num_patches: int, *, num_kept: int) -> jax.Array:
    """Choose a random subset of the patches of every example, of static size, in order.

    Source: Li et al. 2023 (FLIP), arXiv 2212.00794.

    Args:
        keys: PRNG keys [b].
        num_patches: P.
        num_kept: number of patches to keep.

    Returns:
        int32 [b, num_kept], rising.
    """
    noise = jax.vmap(lambda key: jax.random.uniform(key, (num_patches,)))(keys)
    _, kept = jax.lax.top_k(noise, num_kept)
    return jnp.sort(kept, axis=1)
