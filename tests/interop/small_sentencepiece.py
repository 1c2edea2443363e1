"""Small SentencePiece models with the special pieces of published ones."""

import functools
import io

import sentencepiece
from random_models import WORDS
from sentencepiece import sentencepiece_model_pb2

# Ids as published: of T5's models, which SigLIP took, and of Gemma's, which SigLIP 2 took.
T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
GEMMA = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3}
GEMMA |= {"pad_piece": "<pad>", "eos_piece": "<eos>", "bos_piece": "<bos>"}


@functools.cache
def _trained(special):
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*WORDS, *(word.lower() for word in WORDS)] * 4),
        model_writer=written,
        vocab_size=70,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **dict(special),
    )
    return written.getvalue()


def sentencepiece_file(path, special, *, sentinels=0):
    """Write a model, with so many of T5's sentinels behind; return the number of other pieces."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(_trained(tuple(special.items())))
    count = len(proto.pieces)
    for number in range(sentinels):
        piece = proto.pieces.add()
        piece.piece, piece.score, piece.type = f"▁<extra_id_{number}>", 0.0, 4  # user-defined
    path.write_bytes(proto.SerializeToString())
    return count


def library(path):
    """Open a model with the library itself."""
    return sentencepiece.SentencePieceProcessor(model_file=str(path))
