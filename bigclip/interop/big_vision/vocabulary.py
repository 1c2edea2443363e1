"""The tokenizer of a big_vision model, from a file that the user names: a .npz holds none."""

import base64
import json
import os

from sentencepiece import sentencepiece_model_pb2

from bigclip.config import ConfigError
from bigclip.data.tokenizer import (
    Tokenizer,
    huggingface_tokenizer,
    load_tokenizer,
    sentencepiece_tokenizer,
)

_GEMMA = 256_000  # pieces; SigLIP 2's
_PUBLISHED = {
    32_000: "SigLIP's is gs://t5-data/vocabs/cc_en.32000/sentencepiece.model",
    250_000: "SigLIP i18n's is gs://t5-data/vocabs/mc4.250000.100extra/sentencepiece.model",
    _GEMMA: "SigLIP 2's is Gemma's tokenizer.model, gs://big_vision/gemma_tokenizer.model",
}


def read_tokenizer(
    path: str | None, *, vocab_size: int, context_length: int, where: str
) -> tuple[Tokenizer, str]:
    """Read the tokenizer that belongs to a text tower.

    Args:
        path: of a SentencePiece .model, a tokenizer.json or a tokenizer that bigclip saved.
        vocab_size: V of the text tower.
        context_length: L of the text tower.
        where: the file with the weights, for messages.

    Returns:
        The tokenizer, and what the user should know about it.

    Raises:
        ConfigError: without a file, with one that is none, or that has ids which the tower lacks.
    """
    known = _PUBLISHED.get(vocab_size, f"it is the one with {vocab_size} ids")
    if path is None:
        raise ConfigError(
            f"{where}: no .npz holds a tokenizer. Give the file it was trained with by --tokenizer "
            f"FILE (a SentencePiece .model, a tokenizer.json, or one that bigclip saved): {known}. "
            "Or read the image tower alone: --tower image."
        )
    place = os.path.expanduser(path)
    tokenizer, note = _read(place, context_length)
    if tokenizer.vocab_size > vocab_size:
        tokenizer = _without_sentinels(tokenizer, vocab_size) or tokenizer
    if tokenizer.vocab_size > vocab_size:
        raise ConfigError(
            f"{place}: has {tokenizer.vocab_size} ids, and the text tower of {where} only "
            f"{vocab_size}: another model's. {known[0].upper()}{known[1:]}."
        )
    return tokenizer, note


def _read(place: str, context_length: int) -> tuple[Tokenizer, str]:
    beginning = b""
    if os.path.isfile(place):
        with open(place, "rb") as file:
            beginning = file.read(4096).lstrip()
    if os.path.isdir(place) or (beginning.startswith(b"{") and _is_tokenizer_json(place)):
        tokenizer = huggingface_tokenizer(place, context_length=context_length)
        return tokenizer, f"tokenizer: {place}, as it stands there; nothing is cleaned before."
    if beginning.startswith(b"{"):
        return load_tokenizer(place, context_length=context_length), f"tokenizer: {place}."
    model = sentencepiece_tokenizer(place, context_length=context_length)
    if model.vocab_size >= _GEMMA:
        how = {"bos": "none", "clean": "lower"}
        note = "as SigLIP 2's: lower case, no bos"
    else:
        how = {"pad": "</s>", "clean": "canonical"}
        note = "as SigLIP's: lower case without punctuation, filled up with </s>"
    tokenizer = sentencepiece_tokenizer(place, context_length=context_length, **how)
    return tokenizer, f"tokenizer: {place}, used {note}."


def _is_tokenizer_json(place: str) -> bool:
    """Tell a file of the `tokenizers` library from one of ours, both JSON."""
    with open(place, encoding="utf-8") as file:
        try:
            content = json.load(file)
        except ValueError:
            return False
    return isinstance(content, dict) and "model" in content


def _without_sentinels(tokenizer: Tokenizer, vocab_size: int) -> Tokenizer | None:
    """Take the last pieces away if they are T5's "<extra_id_0>" and kin.

    mT5's file has a hundred of them, for which SigLIP i18n has no embeddings.
    """
    content = tokenizer.to_dict()
    if "sentencepiece" not in content["pieces"]:
        return None
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(base64.b64decode(content["pieces"]["sentencepiece"]))
    if not all("<extra_id_" in one.piece for one in model.pieces[vocab_size:]):
        return None
    del model.pieces[vocab_size:]
    kept = base64.b64encode(model.SerializeToString()).decode("ascii")
    return Tokenizer.from_dict({**content, "pieces": {"sentencepiece": kept}})
