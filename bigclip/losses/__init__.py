"""Losses: pure functions on embeddings, over the global batch."""

from bigclip.losses.contrastive import pair_metrics, sigmoid_loss, softmax_loss

__all__ = ["pair_metrics", "sigmoid_loss", "softmax_loss"]
