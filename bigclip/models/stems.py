"""From pixels to tokens."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bigclip.models.init import initializers
from bigclip.models.norm import LayerNorm


def check_size(images: jax.Array, size: int) -> None:
    """Refuse images [b, H, W, 3] whose sides are not `size` pixels.

    Raises:
        ValueError: says which size the tower takes.
    """
    if images.shape[1:] != (size, size, 3):
        raise ValueError(
            f"images have shape {images.shape}, but this tower takes [b, {size}, {size}, 3]; "
            "change the preprocessing's size or image_size of the architecture"
        )


def take_patches(x: jax.Array, kept: jax.Array) -> jax.Array:
    """Take of [b, P, E] the patches `kept`, int32 [b, k], of every example: [b, k, E]."""
    return jnp.take_along_axis(x, kept[..., None], axis=1)


class PatchStem(nn.Module):
    """Cut the image into patches and map each linearly, as every published ViT does.

    The kernel is kept as a convolution's, [p, p, 3, E]; the product is computed as a matrix
    product over flattened patches, which equals the convolution of stride p.
    """

    width: int
    patch_size: int
    bias: bool
    init_scheme: str  # a key of init.SCHEMES
    dtype: Any = jnp.bfloat16

    @nn.compact
    def __call__(self, images: jax.Array, kept: jax.Array | None = None) -> jax.Array:
        """Map [b, H, W, 3] to [b, P, E]; pixels beyond the last whole patch are left out.

        With `kept`, int32 [b, k], only those patches are mapped, to [b, k, E].
        """
        size = self.patch_size
        inits = initializers(self.init_scheme, width=self.width, depth=1, mlp_width=self.width)
        kernel = self.param("kernel", inits.patch_kernel, (size, size, 3, self.width), jnp.float32)
        rows, columns = images.shape[1] // size, images.shape[2] // size
        x = images[:, : rows * size, : columns * size].astype(self.dtype)
        x = x.reshape(-1, rows, size, columns, size * 3).swapaxes(2, 3)
        x = x.reshape(-1, rows * columns, size * size * 3)
        if kept is not None:
            # Before the product, which is then of these alone. Pixels need no gradient, so that
            # taking them costs nothing on the way back.
            x = take_patches(x, kept)
        x = x @ kernel.reshape(-1, self.width).astype(self.dtype)
        if self.bias:
            bias = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
            x = x + bias.astype(self.dtype)
        return x


class ConvStem(nn.Module):
    """Halve the image by 3 x 3 convolutions until a pixel is a patch, then map linearly.

    Source: Xiao et al. 2021, arXiv 2106.14881. Small data sets gain from the locality. LayerNorm
    over the channels stands in for their batch normalisation, so that no example sees another.
    """

    width: int
    patch_size: int  # a power of two
    ln_eps: float
    init_scheme: str  # a key of init.SCHEMES
    dtype: Any = jnp.bfloat16

    @nn.compact
    def __call__(self, images: jax.Array, kept: jax.Array | None = None) -> jax.Array:
        """Map [b, H, W, 3] to [b, P, E], or to [b, k, E] of the patches `kept`, int32 [b, k]."""
        inits = initializers(self.init_scheme, width=self.width, depth=1, mlp_width=self.width)
        x = images.astype(self.dtype)
        num_halvings = int(math.log2(self.patch_size))
        for index in range(num_halvings):
            x = nn.Conv(
                self.width >> (num_halvings - 1 - index),
                (3, 3),
                strides=2,
                padding=1,
                use_bias=False,
                dtype=self.dtype,
                kernel_init=nn.initializers.he_normal(),
                name=f"conv_{index}",
            )(x)
            x = LayerNorm(
                epsilon=self.ln_eps,
                dtype=self.dtype,
                name=f"ln_{index}",
            )(x)
            x = nn.relu(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        if kept is not None:
            x = take_patches(x, kept)
        return nn.Dense(
            self.width, dtype=self.dtype, kernel_init=inits.patch_kernel, name="projection"
        )(x)
