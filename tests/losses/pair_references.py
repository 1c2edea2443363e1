"""The contrastive losses and their gradients in float64 NumPy, and the comparison with ours.

Gradients come with their size: of an array its norm, of a scalar the sum of the absolute values of
its B^2 terms, of which most cancel. What float32 loses is a part of that.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bigclip.losses import sigmoid_loss, softmax_loss


class Inputs(NamedTuple):
    image_emb: np.ndarray
    text_emb: np.ndarray
    scale: float
    bias: float
    caption_id: np.ndarray


def unit(rng, shape):
    x = rng.normal(size=shape)
    return np.float32(x / np.linalg.norm(x, axis=-1, keepdims=True))


def draw(batch_size, dim, *, seed=None, num_captions=None):
    """Random inputs, other ones in each run; `num_captions` makes equal captions."""
    rng = np.random.default_rng(seed)
    caption_id = np.arange(batch_size)
    if num_captions:
        caption_id = rng.integers(0, num_captions, batch_size)
    return Inputs(
        unit(rng, (batch_size, dim)),
        unit(rng, (batch_size, dim)),
        float(np.float32(rng.uniform(5, 14.3))),
        float(np.float32(rng.uniform(-10, 0))),
        np.stack([caption_id, caption_id // 2], axis=1).astype(np.int32),
    )


def _relations(caption_id, size, duplicates):
    """Which pairs are true, and which are left out."""
    own = np.eye(size, dtype=bool)
    equal = np.zeros_like(own)
    if caption_id is not None:
        equal = (caption_id[:, None] == caption_id[None]).all(axis=-1) & ~own
    if duplicates == "positive":
        return own | equal, np.zeros_like(own)
    return own, (equal if duplicates == "mask" else np.zeros_like(own))


def _sized(gradient):
    return gradient, np.linalg.norm(gradient)


def _summed(terms):
    return terms.sum(), np.abs(terms).sum()


def softmax_reference(image_emb, text_emb, scale, caption_id=None, duplicates="negative"):
    """The value, and its gradients (with their sizes) for embeddings and scale."""
    image_emb, text_emb = np.float64(image_emb), np.float64(text_emb)
    cosine = image_emb @ text_emb.T
    true, left_out = _relations(caption_id, len(cosine), duplicates)
    logits = np.where(left_out, -np.inf, scale * cosine)
    targets = true / true.sum(axis=1, keepdims=True)  # symmetric, as equality is

    def one_way(z):
        top = z.max(axis=1, keepdims=True)
        log_share = z - top - np.log(np.exp(z - top).sum(axis=1, keepdims=True))
        terms = np.where(targets > 0, targets * np.where(targets > 0, log_share, 0), 0)
        return -terms.sum() / len(z), (np.exp(log_share) - targets) / len(z)

    (forth, forth_grad), (back, back_grad) = one_way(logits), one_way(logits.T)
    grad = (forth_grad + back_grad.T) / 2
    return (forth + back) / 2, (
        _sized(scale * grad @ text_emb),
        _sized(scale * grad.T @ image_emb),
        _summed(grad * cosine),
    )


def sigmoid_reference(image_emb, text_emb, scale, bias, caption_id=None, duplicates="negative"):
    """The value, and its gradients (with their sizes) for embeddings, scale and bias."""
    image_emb, text_emb = np.float64(image_emb), np.float64(text_emb)
    cosine = image_emb @ text_emb.T
    true, left_out = _relations(caption_id, len(cosine), duplicates)
    signed = np.where(true, -1, 1) * (scale * cosine + bias)
    value = np.where(left_out, 0, np.logaddexp(0, signed)).sum() / len(cosine)
    grad = np.where(true, -1, 1) * np.exp(-np.logaddexp(0, -signed)) / len(cosine)
    grad = np.where(left_out, 0, grad)
    return value, (
        _sized(scale * grad @ text_emb),
        _sized(scale * grad.T @ image_emb),
        _summed(grad * cosine),
        _summed(grad),
    )


def compare(loss, inputs, options, *, mesh, tolerance, absolute=0.0):
    """Hold value and gradients against the reference, relative to their sizes."""
    scalars = (inputs.scale,) if loss == "softmax" else (inputs.scale, inputs.bias)
    ours, reference = {
        "softmax": (softmax_loss, softmax_reference),
        "sigmoid": (sigmoid_loss, sigmoid_reference),
    }[loss]
    arguments = (inputs.image_emb, inputs.text_emb, *scalars)
    caption_id = None if options.duplicates == "negative" else jnp.asarray(inputs.caption_id)

    def loss_fn(*arguments):
        return ours(*arguments, pairs=options, caption_id=caption_id)

    with jax.set_mesh(mesh):
        differentiate = jax.value_and_grad(
            loss_fn, argnums=tuple(range(len(arguments))), has_aux=True
        )
        (value, _), grads = jax.jit(differentiate)(*(jnp.float32(x) for x in arguments))
    expected, expected_grads = reference(
        *arguments, caption_id=inputs.caption_id, duplicates=options.duplicates
    )
    assert abs(value - expected) <= tolerance * abs(expected) + absolute
    for grad, (wanted, size) in zip(grads, expected_grads, strict=True):
        error = np.linalg.norm(np.float64(grad) - wanted)
        assert error <= tolerance * size + absolute, (error, size)
