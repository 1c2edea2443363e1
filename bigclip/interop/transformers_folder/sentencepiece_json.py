"""A SentencePiece model as a `tokenizer.json`, for classes of transformers that read no other.

The `tokenizers` library cuts by the same pieces and scores, and normalises with the same table. Of
2,488 captions and awkward texts, one got other ids than `sentencepiece` gives: letters with stacks
of combining marks, which the two compose in another order.
"""

import json
from typing import Any

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from bigclip.config import ConfigError

_UNIGRAM, _BPE = 1, 2  # TrainerSpec.ModelType
_UNKNOWN, _CONTROL, _USER, _UNUSED = 2, 3, 4, 5  # ModelProto.SentencePiece.Type
_BLANK = "▁"


def to_json(model: bytes) -> dict[str, Any]:
    """Lay out a model as the content of a tokenizer.json, without special tokens.

    Args:
        model: the bytes of a .model file.

    Raises:
        ConfigError: if it is of a kind that `tokenizers` does not have.
    """
    from sentencepiece import sentencepiece_model_pb2  # slow to import, and seldom needed

    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    kind = proto.trainer_spec.model_type
    if kind not in (_UNIGRAM, _BPE) or proto.trainer_spec.treat_whitespace_as_suffix:
        raise ConfigError(
            "transformers: this SentencePiece model is neither unigram nor BPE, or marks blanks "
            "behind words; such a tokenizer cannot be exported."
        )
    # Ids that no text gets: no text holds the empty piece.
    hidden = {
        number
        for number, piece in enumerate(proto.pieces)
        if piece.type in (_UNKNOWN, _CONTROL, _UNUSED)
    }
    cut = tokenizers.Tokenizer(_unigram(proto, hidden) if kind == _UNIGRAM else _bpe(proto, hidden))
    cut.normalizer, cut.pre_tokenizer = _normalizer(proto), _blanks(proto)
    content = json.loads(cut.to_str())
    content["added_tokens"] = [
        {"id": number, "content": piece.piece, "special": False, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for number, piece in enumerate(proto.pieces)
        if piece.type == _USER
    ]
    return content


def _unigram(proto: Any, hidden: set[int]) -> models.Unigram:
    return models.Unigram(
        [
            ("" if number in hidden else piece.piece, piece.score)
            for number, piece in enumerate(proto.pieces)
        ],
        unk_id=proto.trainer_spec.unk_id,
        byte_fallback=proto.trainer_spec.byte_fallback,
    )


def _bpe(proto: Any, hidden: set[int]) -> models.BPE:
    unknown = proto.trainer_spec.unk_id
    kept = {
        piece.piece: number
        for number, piece in enumerate(proto.pieces)
        if number not in hidden or number == unknown
    }
    # SentencePiece joins the neighbours that make the piece of the highest score; `tokenizers`
    # goes by a list of pairs.
    pairs = []
    for number, piece in enumerate(proto.pieces):
        word = piece.piece
        if number in hidden or piece.type == _USER:
            continue
        for place in range(1, len(word)):
            left, right = kept.get(word[:place]), kept.get(word[place:])
            if left is not None and right is not None and unknown not in (left, right):
                pairs.append((-piece.score, number, left, right, word[:place], word[place:]))
    pairs.sort()
    return models.BPE(
        vocab=kept,
        merges=[pair[-2:] for pair in pairs],
        unk_token=proto.pieces[unknown].piece,
        fuse_unk=True,
        byte_fallback=proto.trainer_spec.byte_fallback,
    )


def _normalizer(proto: Any) -> normalizers.Normalizer:
    spec = proto.normalizer_spec
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps.append(normalizers.Replace(tokenizers.Regex(" +$|^ +"), ""))
        steps.append(normalizers.Replace(tokenizers.Regex(" {2,}"), " "))
    return normalizers.Sequence(steps)


def _blanks(proto: Any) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Metaspace(
        replacement=_BLANK,
        prepend_scheme="always" if proto.normalizer_spec.add_dummy_prefix else "never",
        split=proto.trainer_spec.split_by_whitespace,
    )
