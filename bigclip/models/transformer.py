"""The pre-LN transformer that both towers are made of."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bigclip.config import choose
from bigclip.models.attention import Attention
from bigclip.models.init import initializers
from bigclip.models.norm import LayerNorm
from bigclip.models.remat import remat_block
from bigclip.parallel.activations import shard_batch


def quick_gelu(x: jax.Array) -> jax.Array:
    """Return x * sigmoid(1.702 x), the activation of the released CLIP weights."""
    return x * jax.nn.sigmoid(1.702 * x)


def gelu_exact(x: jax.Array) -> jax.Array:
    """Return x * Phi(x), by the error function."""
    return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x: jax.Array) -> jax.Array:
    """Return the tanh approximation of `gelu_exact`."""
    return jax.nn.gelu(x, approximate=True)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu_exact, "gelu_tanh": gelu_tanh}


class Mlp(nn.Module):
    """Two dense layers with a nonlinearity between."""

    width: int
    mlp_width: int
    activation: str
    init_scheme: str  # a key of init.SCHEMES
    depth: int  # of the tower, for the initialisation
    dtype: Any = jnp.bfloat16

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [..., E] to [..., E]."""
        inits = initializers(
            self.init_scheme, width=self.width, depth=self.depth, mlp_width=self.mlp_width
        )
        x = nn.Dense(
            self.mlp_width,
            dtype=self.dtype,
            kernel_init=inits.mlp_up,
            bias_init=inits.mlp_up_bias,
            name="up",
        )(x)
        x = choose(self.activation, ACTIVATIONS, "activation")(x)
        return nn.Dense(
            self.width,
            dtype=self.dtype,
            kernel_init=inits.mlp_down,
            bias_init=inits.mlp_down_bias,
            name="down",
        )(x)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    width: int
    num_heads: int
    mlp_width: int
    activation: str
    ln_eps: float
    init_scheme: str  # a key of init.SCHEMES
    depth: int  # of the tower, for the initialisation
    causal: bool = False
    attention: str = "auto"  # one of attention.ATTENTIONS
    dtype: Any = jnp.bfloat16

    @nn.compact
    def __call__(self, x: jax.Array, _: None = None) -> tuple[jax.Array, None]:
        """Map x [b, L, E] to ([b, L, E], None), the carry and the output of a scan."""
        y = LayerNorm(self.ln_eps, dtype=self.dtype, name="ln_attention")(x)
        y = Attention(
            self.width,
            self.num_heads,
            init_scheme=self.init_scheme,
            depth=self.depth,
            causal=self.causal,
            attention=self.attention,
            dtype=self.dtype,
            name="attention",
        )(y)
        x = shard_batch(x + y)
        y = LayerNorm(self.ln_eps, dtype=self.dtype, name="ln_mlp")(x)
        y = Mlp(
            self.width,
            self.mlp_width,
            self.activation,
            init_scheme=self.init_scheme,
            depth=self.depth,
            dtype=self.dtype,
            name="mlp",
        )(y)
        x = shard_batch(x + y)
        if self.is_mutable_collection("intermediates"):  # a probe asks, see `models.features`
            self.sow("intermediates", "output", x.astype(jnp.float32).mean(axis=1))
        return x, None


def apply_blocks(x: jax.Array, *, depth: int, scan: bool, remat: str, **fields) -> jax.Array:
    """Run x [b, L, E] through `depth` blocks of the module being built.

    To be called inside an `nn.compact` method. The parameters become children of the calling
    module: `blocks` with a leading layer axis when scanned, else `block_00`, `block_01`, ...

    Args:
        x: [b, L, E].
        depth: number of blocks.
        scan: compile one block and loop over it, or lay all of them out.
        remat: a key of `remat.POLICIES`.
        **fields: the remaining fields of `Block`.
    """
    x = shard_batch(x)
    block = remat_block(Block, remat, scan=scan)
    if scan:
        blocks = nn.scan(
            block,
            length=depth,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True},
        )
        x, _ = blocks(depth=depth, **fields, name="blocks")(x, None)
        return x
    for index in range(depth):
        x, _ = block(depth=depth, **fields, name=f"block_{index:02d}")(x, None)
    return x
