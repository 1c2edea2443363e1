"""Contrastive losses over all pairs of a global batch.

Both take L2-normalised float32 embeddings; image i belongs to text i:

             text 0  text 1  text 2
    image 0    +       -       -
    image 1    -       +       -
    image 2    -       -       +

How the pairs are computed, and what equal texts count as, is `bigclip.losses.pairs`' business.
"""

import jax
import jax.numpy as jnp

from bigclip.losses.pairs import DEFAULT_PAIRS, PRECISIONS, PairOptions, reduce_pairs
from bigclip.losses.reductions import COLUMN, ROW, Reduction
from bigclip.losses.tiles import Side

Metrics = dict[str, jax.Array]


def _sides(
    image_emb: jax.Array, text_emb: jax.Array, logit_scale: jax.Array, caption_id: jax.Array | None
) -> tuple[Side, Side, jax.Array]:
    """What the pairs need of images and texts, and the logits of the true pairs, [B]."""
    # The scale goes with the images, so that a tile's product gives logits at once.
    scaled = image_emb * logit_scale
    positive = (scaled * text_emb).sum(axis=1)
    both: Side = {
        "positive": positive,
        "index": jnp.arange(image_emb.shape[0], dtype=jnp.int32),
    }
    if caption_id is not None:
        both["caption_id"] = caption_id
    return {"emb": scaled, **both}, {"emb": text_emb, **both}, positive


def _logits(rows: Side, columns: Side, options: PairOptions) -> jax.Array:
    return jnp.matmul(rows["emb"], columns["emb"].T, precision=PRECISIONS[options.precision])


def _relations(rows: Side, columns: Side) -> tuple[jax.Array, jax.Array]:
    """Which pairs of a tile are true pairs, and which only have an equal text."""
    own = rows["index"][:, None] == columns["index"][None]
    if "caption_id" not in rows:
        return own, jnp.zeros_like(own)
    equal = (rows["caption_id"][:, None] == columns["caption_id"][None]).all(axis=-1)
    return own, equal & ~own


def _check(options: PairOptions, caption_id: jax.Array | None) -> jax.Array | None:
    if options.duplicates == "negative":
        return None
    if caption_id is None:
        raise ValueError(f'duplicates = "{options.duplicates}" needs a caption_id per example')
    return caption_id


def _metrics(
    rows: Side, columns: Side, positive: jax.Array, best_margin: jax.Array, bias: jax.Array | float
) -> Metrics:
    """Describe the logits: means over true and false pairs, accuracy in the batch.

    `batch_accuracy` is the fraction of images whose own text has the highest logit of the batch.
    The mean over all pairs costs two sums, since it is that of the mean embeddings.
    """
    batch_size = positive.shape[0]
    total = rows["emb"].sum(axis=0) @ columns["emb"].sum(axis=0)
    num_false = float(max(batch_size * (batch_size - 1), 1))  # as an integer it would overflow
    return {
        "positive_logit": positive.mean() + bias,
        "negative_logit": (total - positive.sum()) / num_false + bias,
        "batch_accuracy": (best_margin < 0).mean(),
    }


def softmax_loss(
    image_emb: jax.Array,
    text_emb: jax.Array,
    logit_scale: jax.Array,
    *,
    pairs: PairOptions = DEFAULT_PAIRS,
    caption_id: jax.Array | None = None,
) -> tuple[jax.Array, Metrics]:
    """Symmetric cross-entropy of CLIP, also called InfoNCE.

    Mean over the batch of -log softmax over the texts of each image's own text, and the same the
    other way; the mean of the two. Where equal texts count as positives, the mean of -log softmax
    over all of an image's positives. Source: CLIP (arXiv 2103.00020), figure 3; for several
    positives, SupCon (arXiv 2004.11362), equation 2, and UniCL (arXiv 2204.03610).

    Args:
        image_emb: [B, D] float32, L2-normalised.
        text_emb: [B, D] float32, L2-normalised; row i belongs to image i.
        logit_scale: scalar, already exponentiated.
        pairs: how the pairs are computed, and what equal texts count as.
        caption_id: [B, ...] integers, equal where texts are; unless duplicates are negatives.

    Returns:
        The loss, and the metrics `positive_logit`, `negative_logit` and `batch_accuracy`.
    """
    caption_id = _check(pairs, caption_id)
    rows, columns, positive = _sides(image_emb, text_emb, logit_scale, caption_id)

    def terms(rows: Side, columns: Side) -> dict[str, jax.Array]:
        logits = _logits(rows, columns, pairs)
        own, equal = _relations(rows, columns)
        # Relative to the true pair's logit: the log-sum-exp of these is the example's loss itself,
        # with no large numbers left to cancel.
        margins = {
            "image_to_text": logits - rows["positive"][:, None],
            "text_to_image": logits - columns["positive"][None],
        }
        found = dict(margins)
        found["other"] = jnp.where(own | equal, -jnp.inf, margins["image_to_text"])
        if pairs.duplicates == "mask":
            for name, margin in margins.items():
                found[name] = jnp.where(equal, -jnp.inf, margin)
        elif pairs.duplicates == "positive":
            for name, margin in margins.items():
                found[f"{name}_equal"] = jnp.where(equal, margin, 0.0)
            found["num_equal"] = equal.astype(jnp.float32)
        return found

    reductions = {
        "image_to_text": Reduction("image_to_text", ROW, "logsumexp"),
        "text_to_image": Reduction("text_to_image", COLUMN, "logsumexp"),
        "best_margin": Reduction("other", ROW, "max"),
    }
    if pairs.duplicates == "positive":
        reductions["image_to_text_equal"] = Reduction("image_to_text_equal", ROW, "sum")
        reductions["text_to_image_equal"] = Reduction("text_to_image_equal", COLUMN, "sum")
        reductions["num_equal"] = Reduction("num_equal", ROW, "sum")
    found = reduce_pairs(terms, rows, columns, reductions, options=pairs)
    loss = 0.5 * (found["image_to_text"] + found["text_to_image"])
    if pairs.duplicates == "positive":
        equal = found["image_to_text_equal"] + found["text_to_image_equal"]
        loss -= 0.5 * equal / (1.0 + found["num_equal"])
    return loss.mean(), _metrics(rows, columns, positive, found["best_margin"], 0.0)


def sigmoid_loss(
    image_emb: jax.Array,
    text_emb: jax.Array,
    logit_scale: jax.Array,
    logit_bias: jax.Array,
    *,
    pairs: PairOptions = DEFAULT_PAIRS,
    caption_id: jax.Array | None = None,
) -> tuple[jax.Array, Metrics]:
    """Binary cross-entropy over all pairs of SigLIP.

    Summed over the texts, mean over the images (the sum is divided by B, not by B x B). Equal
    texts may count as true pairs, or not at all. Source: SigLIP (arXiv 2303.15343), section 3.2.

    Args:
        image_emb: [B, D] float32, L2-normalised.
        text_emb: [B, D] float32, L2-normalised; row i belongs to image i.
        logit_scale: scalar, already exponentiated.
        logit_bias: scalar, added to every logit.
        pairs: how the pairs are computed, and what equal texts count as.
        caption_id: [B, ...] integers, equal where texts are; unless duplicates are negatives.

    Returns:
        The loss, and the metrics `positive_logit`, `negative_logit` and `batch_accuracy`.
    """
    caption_id = _check(pairs, caption_id)
    rows, columns, positive = _sides(image_emb, text_emb, logit_scale, caption_id)
    rows["bias"] = jnp.broadcast_to(logit_bias, positive.shape)

    def terms(rows: Side, columns: Side) -> dict[str, jax.Array]:
        logits = _logits(rows, columns, pairs)
        own, equal = _relations(rows, columns)
        margin = jax.lax.stop_gradient(logits - rows["positive"][:, None])
        logits = logits + rows["bias"][:, None]
        is_true = own | equal if pairs.duplicates == "positive" else own
        # -log sigmoid(z) = softplus(-z) for a true pair, softplus(z) for a false one.
        losses = jax.nn.softplus(jnp.where(is_true, -logits, logits))
        if pairs.duplicates == "mask":
            losses = jnp.where(equal, 0.0, losses)
        return {"loss": losses, "other": jnp.where(own | equal, -jnp.inf, margin)}

    reductions = {
        "loss": Reduction("loss", ROW, "sum"),
        "best_margin": Reduction("other", ROW, "max"),
    }
    found = reduce_pairs(terms, rows, columns, reductions, options=pairs)
    return found["loss"].mean(), _metrics(rows, columns, positive, found["best_margin"], logit_bias)
