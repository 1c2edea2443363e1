"""A user's SentencePiece model: a `.model` file, unigram or BPE.

The published ones, with the options that give their models' ids:

    SigLIP (arXiv 2303.15343): the C4 model of 32,000 pieces, T5's. No bos; eos, id 1, is behind
        every text and fills up, too.
        context_length=64 (so400m14 at 224: 16), pad="</s>"
        clean="canonical" as in transformers and open_clip, without punctuation; "lower" as in
        big_vision, where only the prompts of zero-shot classification have lost theirs
    SigLIP 2 (arXiv 2502.14786): Gemma's model of 256,000 pieces, pad 0, eos 1, bos 2. Lower case.
        context_length=64, bos="none", clean="lower"
    mT5: 250,100 pieces, pad 0, eos 1.
        bos="none"
"""

import os

from bigclip.config import ConfigError
from bigclip.data.tokenizer.cutters import SentencePieceCutter
from bigclip.data.tokenizer.tokenizer import Tokenizer


def sentencepiece_tokenizer(
    path: str,
    *,
    context_length: int = 64,
    bos: str | int = "none",
    eos: str | int = "model",
    pad: str | int = "model",
    clean: str = "none",
) -> Tokenizer:
    """Make the tokenizer of a SentencePiece model; the ids are the `sentencepiece` library's.

    The whole model goes into the manifest. The library splits a text that spells a control piece
    ("</s>") like any other; user-defined pieces (Gemma's "<start_of_turn>") it does take out of
    texts, and so they cannot serve as bos, eos or pad.

    Args:
        path: of the .model file.
        context_length: L, ids of a text, special ones included.
        bos: in front of every text: "none", "model" (the model's own), a piece or its id.
        eos: behind every text, likewise.
        pad: fills up to `context_length`: "model", a piece or its id.
        clean: what happens before the model's own normalization, a name from `CLEANERS`.

    Raises:
        ConfigError: if the file is missing or no SentencePiece model, or lacks a special piece.
    """
    cutter = _open(path)
    processor = cutter.processor
    return Tokenizer(
        pieces=cutter.to_dict(),
        context_length=context_length,
        sot=_special(processor, "bos", bos),
        eot=_special(processor, "eos", eos),
        pad=_special(processor, "pad", pad),
        clean=clean,
    )


def control_pieces(path: str) -> dict[str, int]:
    """List the control pieces of a SentencePiece model, and their ids.

    Raises:
        ConfigError: if the file is missing or no SentencePiece model.
    """
    processor = _open(path).processor
    found = range(processor.vocab_size())
    return {processor.id_to_piece(i): i for i in found if processor.is_control(i)}


def _open(path: str) -> SentencePieceCutter:
    place = os.path.expanduser(path)
    try:
        with open(place, "rb") as file:
            model = file.read()
    except OSError as error:
        raise ConfigError(f"config.tokenizer.path: cannot read {place}: {error.strerror}") from None
    try:
        return SentencePieceCutter(model)
    except ValueError:
        raise ConfigError(
            f"config.tokenizer.path: {place} is no SentencePiece model (a .model file); a "
            'tokenizer.json is read by kind "huggingface"'
        ) from None


def _special(processor, role: str, wanted: str | int) -> int | None:
    """Find the id of bos, eos or pad."""
    if wanted == "none" and role != "pad":
        return None
    if wanted == "model":
        number = getattr(processor, f"{role}_id")()
        if number >= 0:
            return number
        raise ConfigError(
            f"config.tokenizer.{role}: the model has none of its own; name a control piece of it: "
            f"{_controls(processor)}"
        )
    if isinstance(wanted, str):
        number = processor.piece_to_id(wanted)
        known = processor.id_to_piece(number) == wanted
    else:
        number, known = wanted, 0 <= wanted < processor.vocab_size()
    # Any other piece could come out of a text.
    if not known or not processor.is_control(number):
        raise ConfigError(
            f"config.tokenizer.{role}: {wanted!r} is no control piece of the model; it has "
            f"{_controls(processor)}"
        )
    return number


def _controls(processor) -> str:
    found = [i for i in range(processor.vocab_size()) if processor.is_control(i)]
    names = [f'"{processor.id_to_piece(i)}" ({i})' for i in found[:8]]
    return ", ".join(names) + (" ..." if len(found) > 8 else "") if names else "no control piece"
