"""Losses: pure functions on embeddings, over the global batch."""

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
    "num_pair_devices",
    "pair_bytes",
    "pair_flops",
    "reduce_pairs",
    "sigmoid_loss",
    "softmax_loss",
]
