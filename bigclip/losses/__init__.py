"""Losses: pure functions on embeddings, over the global batch."""

from bigclip.losses.caption_mean import mean_over_captions
from bigclip.losses.contrastive import sigmoid_loss, softmax_loss
from bigclip.losses.pairs import (
    PairOptions,
    choose_implementation,
    num_pair_devices,
    pair_bytes,
    pair_flops,
    reduce_pairs,
)
from bigclip.losses.reductions import Reduction

__all__ = [
    "PairOptions",
    "Reduction",
    "choose_implementation",
    "mean_over_captions",
    "num_pair_devices",
    "pair_bytes",
    "pair_flops",
    "reduce_pairs",
    "sigmoid_loss",
    "softmax_loss",
]
