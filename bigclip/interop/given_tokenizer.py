"""The tokenizer that a user names beside weights: what its file is, and how its family uses it.

Files are told by their content. What a file leaves open (how texts are cleaned, what is put around
them and what fills them up) is a rule of the models' family:

    SigLIP (arXiv 2303.15343): C4's or mC4's SentencePiece model, whose "</s>" ends the texts and
        fills them up, too. The text tower sees its padding, so another one is another embedding.
    SigLIP 2 (arXiv 2502.14786): Gemma's model, with "<eos>" behind, "<pad>" and lower case.
    CLIP (arXiv 2103.00020): "<|startoftext|>" and "<|endoftext|>", which may fill up.
"""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bigclip.config import ConfigError, choose
from bigclip.data.tokenizer import (
    Tokenizer,
    huggingface_tokenizer,
    load_tokenizer,
    sentencepiece_tokenizer,
)
from bigclip.data.tokenizer.sentencepiece_file import control_pieces
from bigclip.interop.json_files import read_json

# In a folder, in this order: SigLIP's class cuts by the first, and its tokenizer.json is not it.
_IN_FOLDER = {
    "spiece.model": "sentencepiece",
    "tokenizer.json": "huggingface",
    "tokenizer.model": "sentencepiece",
}
_SENTINEL = "<extra_id_"  # T5's pieces for what is masked in pre-training


class _Rule(NamedTuple):
    """How a family uses a vocabulary: in front of texts, filling them up, and before cutting."""

    clean: str
    bos: str = "model"
    pad: str = "model"


# By family, and by the special piece that ends the texts; "" is any other vocabulary.
FAMILIES: Mapping[str, Mapping[str, _Rule]] = {
    "clip": {"<|endoftext|>": _Rule("clip", pad="<|endoftext|>"), "": _Rule("clip")},
    "siglip": {
        "</s>": _Rule("canonical", bos="none", pad="</s>"),
        "<eos>": _Rule("lower", bos="none", pad="<pad>"),
        "": _Rule("canonical"),
    },
    "none": {"": _Rule("none")},
}


def locate_tokenizer(path: str) -> tuple[str, str]:
    """Tell what kind of tokenizer lies at a path.

    Args:
        path: of a SentencePiece model; of a file of the `tokenizers` library, whatever its name; of
            a folder with either; of what bigclip saved (a tokenizer, a checkpoint, a run).

    Returns:
        The kind, as in a configuration's `tokenizer.kind`: "sentencepiece", "huggingface" or
        "saved"; and the path of the file, for the last as it was given.

    Raises:
        ConfigError: if it is JSON that cannot be read.
    """
    place = os.path.expanduser(path)
    if "://" in path:  # a bucket: only our own files are read from there
        return "saved", path
    if os.path.isdir(place):
        for name, kind in _IN_FOLDER.items():
            if os.path.isfile(os.path.join(place, name)):
                return kind, os.path.join(place, name)
        return "saved", path
    if os.path.isfile(place) and _looks_like_json(place):
        model = read_json(Path(place)).get("model")
        return ("huggingface", place) if isinstance(model, Mapping) else ("saved", path)
    return "sentencepiece", place


def _looks_like_json(place: str) -> bool:
    try:
        with open(place, "rb") as file:
            return file.read(4096).lstrip().startswith(b"{")
    except OSError as error:
        raise ConfigError(f"--tokenizer: cannot read {place}: {error.strerror}.") from None


def open_tokenizer(
    path: str, *, context_length: int, family: str = "none", clean: str | None = None
) -> Tokenizer:
    """Open a tokenizer by what its file is, and use it as a family of models does.

    Args:
        path: see `locate_tokenizer`.
        context_length: L, of the text tower.
        family: a key of `FAMILIES`: "clip"; "siglip", which is SigLIP and SigLIP 2, told apart by
            the vocabulary; "none" takes the file as it stands.
        clean: of texts, a name from `CLEANERS`, if another one than the family's. What bigclip
            saved knows by itself how texts are cleaned, and keeps to that.

    Raises:
        ConfigError: if it cannot be read.
    """
    rules = choose(family, FAMILIES, "family")
    kind, place = locate_tokenizer(path)
    if kind == "saved":
        return load_tokenizer(place, context_length=context_length)
    if kind == "sentencepiece":
        end, rule = _rule(rules, control_pieces(place))
        # Whether a model has a bos of its own does not tell that texts get it.
        return sentencepiece_tokenizer(
            place,
            context_length=context_length,
            bos="none",
            eos=end or "model",
            pad=rule.pad,
            clean=clean or rule.clean,
        )
    special = _special_tokens(read_json(Path(place)))
    end, rule = _rule(rules, special)
    return huggingface_tokenizer(
        place,
        context_length=context_length,
        bos=rule.bos,
        # Of CLIP's, the file says itself what it puts around texts.
        eos=end if rule.bos == "none" else "model",
        pad=rule.pad if rule.pad in special else "model",
        clean=clean or rule.clean,
    )


def _rule(rules: Mapping[str, _Rule], special: Mapping[str, int]) -> tuple[str, _Rule]:
    end = next((piece for piece in rules if piece in special), "")
    return end, rules[end]


def _special_tokens(content: Mapping[str, Any]) -> dict[str, int]:
    added = content.get("added_tokens")
    return {
        token["content"]: token.get("id")
        for token in (added if isinstance(added, list) else [])
        if isinstance(token, Mapping) and isinstance(token.get("content"), str)
    }


def fit_tokenizer(tokenizer: Tokenizer, vocab_size: int, where: str, mend: str = "") -> Tokenizer:
    """Hold a tokenizer against the table of tokens of the text tower that it is for.

    Sentinels at its end that have no embeddings are cut off: T5's files have a hundred, and SigLIP
    was trained without them (32,100 pieces and 32,000 rows; mC4's 250,100 and 250,000).

    Args:
        tokenizer: of the model, or one that the user names.
        vocab_size: V, rows of the table.
        where: the file or folder of the model, for the message.
        mend: what to do, for the end of the message.

    Returns:
        The tokenizer, all of whose ids are below V.

    Raises:
        ConfigError: if it gives ids that have no embedding.
    """
    if tokenizer.vocab_size > vocab_size:
        tokenizer = _without_sentinels(tokenizer, vocab_size)
    if tokenizer.vocab_size > vocab_size:
        mend = mend or "Name the tokenizer that the model was trained with: --tokenizer PATH."
        raise ConfigError(
            f"{where}: the tokenizer gives ids up to {tokenizer.vocab_size - 1}, and the text "
            f"tower has embeddings of {vocab_size} tokens: it is another model's. {mend}"
        )
    return tokenizer


def _without_sentinels(tokenizer: Tokenizer, vocab_size: int) -> Tokenizer:
    """Take the pieces from `vocab_size` on away, if all are sentinels."""
    content = tokenizer.to_dict()
    special = (tokenizer.sot, tokenizer.eot, tokenizer.pad)
    if any(number is not None and number >= vocab_size for number in special):
        return tokenizer
    cut = _cut_model if "sentencepiece" in content["pieces"] else _cut_json
    pieces = cut(content["pieces"], vocab_size)
    return tokenizer if pieces is None else Tokenizer.from_dict({**content, "pieces": pieces})


def _cut_model(pieces: dict[str, Any], vocab_size: int) -> dict[str, Any] | None:
    from sentencepiece import sentencepiece_model_pb2  # slow to import, and seldom needed

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(base64.b64decode(pieces["sentencepiece"]))
    if not all(_SENTINEL in one.piece for one in model.pieces[vocab_size:]):
        return None
    del model.pieces[vocab_size:]
    return {"sentencepiece": base64.b64encode(model.SerializeToString()).decode("ascii")}


def _cut_json(pieces: dict[str, Any], vocab_size: int) -> dict[str, Any] | None:
    model, added = pieces["model"], pieces.get("added_tokens") or []
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        beyond = [word for word, number in vocabulary.items() if number >= vocab_size]
        vocabulary = {word: number for word, number in vocabulary.items() if number < vocab_size}
    else:
        beyond = [word for word, _ in vocabulary[vocab_size:]]
        vocabulary = vocabulary[:vocab_size]
    beyond += [token["content"] for token in added if token["id"] >= vocab_size]
    # The empty piece stands where a special token was: see `huggingface_tokenizer`.
    if not all(_SENTINEL in word or not word for word in beyond):
        return None
    return {
        **pieces,
        "added_tokens": [token for token in added if token["id"] < vocab_size],
        "model": {**model, "vocab": vocabulary},
    }
