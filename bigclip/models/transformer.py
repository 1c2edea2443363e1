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
    def __call__(
        self, x: jax.Array, _: None = None, at: jax.Array | None = None
    ) -> tuple[jax.Array, None]:
        """Map x [b, L, E] to ([b, L, E], None), the carry and the output of a scan.

        With `at`, int32 [b], only that position of every example is computed: [b, 1, E]. All
        positions are attended to, so keys and values are all that is needed of the others.
        """
        y = LayerNorm(self.ln_eps, dtype=self.dtype, name="ln_attention")(x)
        queries = None
        if at is not None:
            x, queries = shard_batch(take_position(x, at)), take_position(y, at)
        y = Attention(
            self.width,
            self.num_heads,
            init_scheme=self.init_scheme,
            depth=self.depth,
            causal=self.causal,
            attention=self.attention,
            dtype=self.dtype,
            name="attention",
        )(y, queries, at)
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


def take_position(x: jax.Array, at: jax.Array) -> jax.Array:
    """Return x[i, at[i]] for every example, [b, 1, E], of x [b, L, E] and at [b].

    By a mask and not by a gather, whose way back is a scatter: the partitioner would send the
    gradients of whole batches to every device for it.
    """
    chosen = jnp.arange(x.shape[1]) == at[:, None]  # [b, L]
    return jnp.sum(jnp.where(chosen[..., None], x, 0), axis=1, keepdims=True)


def needs_all_tokens(tower: nn.Module) -> bool:
    """Whether a tower being applied has to run whole, though one token is pooled.

    It has while its parameters are made, and where a probe asks for the layers' outputs.
    """
    return tower.is_initializing() or tower.is_mutable_collection("intermediates")


def apply_blocks(
    x: jax.Array,
    *,
    depth: int,
    scan: bool,
    remat: str,
    at: jax.Array | None = None,
    stacked_params: Any = None,
    **fields,
) -> jax.Array:
    """Run x [b, L, E] through `depth` blocks of the module being built.

    To be called inside an `nn.compact` method. The parameters are children of the calling module:
    `blocks` with a leading layer axis when scanned, else `block_00`, `block_01`, ...

    Args:
        x: [b, L, E].
        depth: number of blocks.
        scan: compile one block and loop over it, or lay all of them out.
        remat: a key of `remat.POLICIES`.
        at: int32 [b], the one position of each example that is wanted; None: all. Of the others the
            last block needs keys and values alone, a sixth of its usual weights.
        stacked_params: with `scan` and `at`, the parameters `blocks` of the calling module.
        **fields: the remaining fields of `Block`.

    Returns:
        [b, L, E], or [b, 1, E] with `at`.
    """
    x = shard_batch(x)
    if scan and at is not None:
        return _scan_all_but_the_last(x, at, stacked_params, remat, {"depth": depth, **fields})
    block = remat_block(Block, remat, scan=scan)
    if scan:
        blocks = nn.scan(
            block,
            length=depth,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True},
        )
        return blocks(depth=depth, **fields, name="blocks")(x, None)[0]
    for index in range(depth):
        wanted = at if index == depth - 1 else None
        x, _ = block(depth=depth, **fields, name=f"block_{index:02d}")(x, None, wanted)
    return x


def _scan_all_but_the_last(
    x: jax.Array, at: jax.Array, params: Any, remat: str, fields: dict[str, Any]
) -> jax.Array:
    """Run the blocks whose stacked parameters are `params`, the last of them `at` one position.

    Flax cannot let two modules share one entry of the parameters, so both are called as functions.
    """
    looped, last = (
        remat_block(Block, remat, scan=inside)(**fields, parent=None, name="blocks")
        for inside in (True, False)
    )
    # To cut the stack copies it in every step: little beside five sixths of a layer's products.
    before = jax.tree.map(lambda leaf: leaf[:-1], params)
    behind = jax.tree.map(lambda leaf: leaf[-1], params)
    x, _ = jax.lax.scan(lambda x, own: looped.apply({"params": own}, x), x, before)
    return last.apply({"params": behind}, x, None, at)[0]
