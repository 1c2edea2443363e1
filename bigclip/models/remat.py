"""Rematerialisation policies by name: what a block keeps for the backward pass."""

from typing import Any

import jax
from flax import linen as nn

from bigclip.config import choose


def _products_with_weights(primitive: Any, *arguments: Any, **params: Any) -> bool:
    """Tell whether an operation is a product with weights: a dense layer or a convolution."""
    dense = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return primitive.name == "conv_general_dilated" or dense(primitive, *arguments, **params)


# name -> the policy of jax.checkpoint; a policy of None keeps a block's inputs only.
POLICIES = {
    "none": None,  # no rematerialisation: keep every activation
    "full": None,  # keep the inputs of each block, recompute the rest
    "dots": jax.checkpoint_policies.dots_saveable,  # keep all products, with attention logits
    # Keep the products with weights, recompute attention logits, norms, everything elementwise.
    "dots_no_batch": _products_with_weights,
}


def remat_block(block: type[nn.Module], policy: str, *, scan: bool) -> type[nn.Module]:
    """Return `block` wrapped in the policy of that name.

    Args:
        block: module class.
        policy: a key of `POLICIES`.
        scan: whether the block is the body of a scan, which itself keeps the compiler from
            merging the recomputation with the forward pass (and needs no barrier for that).

    Raises:
        ConfigError: unknown policy; lists the valid ones.
    """
    rule = choose(policy, POLICIES, "remat policy")
    if policy == "none":
        return block
    return nn.remat(block, policy=rule, prevent_cse=not scan)
