"""The mean of a contrastive loss over the captions of an example, with the memory of one of them.

Where an example has C captions, everyone's c-th captions make a batch of pairs, for each c. To
differentiate the mean of C losses as usual runs all forward passes first, and keeps of each what
its backward pass needs: in the dense form C matrices of logits. But the gradient of a scalar is
known up to a factor before the backward pass comes. It is taken here right after each value, in a
scan over the captions, so that nothing is computed twice, and what is kept are the gradients of the
embeddings, which the backward pass would make anyway.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bigclip.parallel import shard_batch

LossFn = Callable[
    [Any, jax.Array, jax.Array | None], tuple[jax.Array, dict[str, jax.Array]]
]  # (shared, text_emb [B, D], caption_id [B, ...]) -> (loss, metrics)


def mean_over_captions(
    loss_fn: LossFn, shared: Any, text_emb: jax.Array, caption_id: jax.Array | None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Average a loss over the captions.

    DataCompDR (MobileCLIP, arXiv 2311.17049) sums over the captions; this is the sum divided by C.

    Args:
        loss_fn: (shared, text_emb [B, D], caption_id [B, ...] or None) -> (loss, metrics), scalars.
            It must hold no traced arrays of its own: what it needs comes with `shared`.
        shared: a tree of floats that all captions have in common: image embeddings, logit scale.
        text_emb: [B, C, D].
        caption_id: [B, C, ...] integers, or None.

    Returns:
        The mean of the losses, differentiable by `shared` and `text_emb`, and the means of the
        metrics, which are constants to differentiation.
    """
    loss, metrics = _mean(loss_fn, shared, text_emb, caption_id)
    return loss, jax.lax.stop_gradient(metrics)


def _by_caption(tree: Any) -> Any:
    """[B, C, ...] -> [C, B, ...], and back."""
    return jax.tree.map(lambda x: x.swapaxes(0, 1), tree)


def _means(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.mean(axis=0), tree)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mean(loss_fn: LossFn, shared: Any, text_emb: jax.Array, caption_id: jax.Array | None) -> Any:
    def one(caption: Any) -> Any:
        return loss_fn(shared, *jax.tree.map(shard_batch, caption))

    return _means(jax.lax.map(one, _by_caption((text_emb, caption_id))))


def _forward(
    loss_fn: LossFn, shared: Any, text_emb: jax.Array, caption_id: jax.Array | None
) -> tuple[Any, Any]:
    differentiate = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)

    def one(total: Any, caption: Any) -> tuple[Any, Any]:
        # A loop hides from the partitioner how its slices lie.
        values, (grad, text_grad) = differentiate(shared, *jax.tree.map(shard_batch, caption))
        return jax.tree.map(jnp.add, total, grad), (values, shard_batch(text_grad))

    begin = jax.tree.map(jnp.zeros_like, shared)
    grad, (values, text_grad) = jax.lax.scan(one, begin, _by_caption((text_emb, caption_id)))
    return _means(values), (grad, text_grad)


def _backward(loss_fn: LossFn, residuals: Any, cotangents: Any) -> Any:
    del loss_fn
    grad, text_grad = residuals
    factor = cotangents[0] / text_grad.shape[0]
    grad, text_grad = jax.tree.map(lambda x: factor * x, (grad, text_grad))
    return grad, _by_caption(text_grad), None


_mean.defvjp(_forward, _backward)
