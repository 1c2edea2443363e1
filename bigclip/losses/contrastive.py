"""Contrastive losses over all pairs of a global batch, in their dense form.

Both take L2-normalised float32 embeddings. Under `jax.jit` the rows of the B x B matrix stay
sharded like the image embeddings, and the text embeddings are gathered: each device holds
[B / N, B] logits. Image i belongs to text i:

             text 0  text 1  text 2
    image 0    +       -       -
    image 1    -       +       -
    image 2    -       -       +
"""

import jax
import jax.numpy as jnp

from bigclip.parallel import shard_batch

# The matrix unit of a TPU rounds float32 factors to bfloat16 unless told otherwise; at a logit
# scale of 100 that is an error of about 0.4 in a logit.
_PRECISION = jax.lax.Precision.HIGHEST


def pair_logits(image_emb: jax.Array, text_emb: jax.Array, logit_scale: jax.Array) -> jax.Array:
    """Return logit_scale x <image i, text j> for all pairs, [B, B] float32, rows sharded."""
    logits = jnp.matmul(image_emb, text_emb.T, precision=_PRECISION) * logit_scale
    return shard_batch(logits)


def pair_metrics(logits: jax.Array) -> dict[str, jax.Array]:
    """Describe a matrix of logits [B, B]: means over true and false pairs, accuracy in the batch.

    `batch_accuracy` is the fraction of images whose own text has the highest logit of the batch.
    """
    batch_size = logits.shape[0]
    positive = jnp.diagonal(logits)
    num_negatives = max(batch_size * (batch_size - 1), 1)
    return {
        "positive_logit": positive.mean(),
        "negative_logit": (logits.sum() - positive.sum()) / num_negatives,
        "batch_accuracy": (logits.argmax(axis=1) == jnp.arange(batch_size)).mean(),
    }


def softmax_loss(
    image_emb: jax.Array, text_emb: jax.Array, logit_scale: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Symmetric cross-entropy of CLIP, also called InfoNCE.

    Mean over the batch of -log softmax over the texts of each image's own text, and the same the
    other way; the mean of the two. Source: CLIP (arXiv 2103.00020), figure 3.

    Args:
        image_emb: [B, D] float32, L2-normalised.
        text_emb: [B, D] float32, L2-normalised; row i belongs to image i.
        logit_scale: scalar, already exponentiated.

    Returns:
        The loss, and the metrics of `pair_metrics`.
    """
    logits = pair_logits(image_emb, text_emb, logit_scale)
    positive = jnp.diagonal(logits)
    image_to_text = jax.nn.logsumexp(logits, axis=1) - positive
    text_to_image = jax.nn.logsumexp(logits, axis=0) - positive
    loss = 0.5 * (image_to_text.mean() + text_to_image.mean())
    return loss, pair_metrics(logits)


def sigmoid_loss(
    image_emb: jax.Array, text_emb: jax.Array, logit_scale: jax.Array, logit_bias: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Binary cross-entropy over all pairs of SigLIP.

    Summed over the texts, mean over the images (the sum is divided by B, not by B x B).
    Source: SigLIP (arXiv 2303.15343), section 3.2.

    Args:
        image_emb: [B, D] float32, L2-normalised.
        text_emb: [B, D] float32, L2-normalised; row i belongs to image i.
        logit_scale: scalar, already exponentiated.
        logit_bias: scalar, added to every logit.

    Returns:
        The loss, and the metrics of `pair_metrics`.
    """
    logits = pair_logits(image_emb, text_emb, logit_scale) + logit_bias
    # -log sigmoid(z) = softplus(z) - z for a true pair, softplus(z) for a false one.
    per_image = jax.nn.softplus(logits).sum(axis=1) - jnp.diagonal(logits)
    return per_image.mean(), pair_metrics(logits)
