"""CLIP's tokenizer, of which files say nothing but that it is theirs."""

from collections.abc import Mapping
from typing import Any

from bigclip.config import ConfigError
from bigclip.data.tokenizer import Tokenizer, clip_bpe
from bigclip.data.tokenizer.shared_pieces import difference
from bigclip.interop.given_tokenizer import fit_tokenizer, open_tokenizer

VOCABULARY = 49408


def given_or_clips(
    given: str | None, context_length: int, vocab_size: int, where: str, *, clean: str = "clip"
) -> Tokenizer:
    """Return the tokenizer that the user names, or else CLIP's.

    Args:
        given: path of the user's.
        context_length: L, of the text tower.
        vocab_size: V, rows of its table.
        where: the file, for messages.
        clean: how texts are cleaned.

    Raises:
        ConfigError: if the user names none and the vocabulary is not CLIP's, or one that gives
            ids beyond the table.
    """
    if given is not None:
        family = "clip" if vocab_size == VOCABULARY else "siglip"
        tokenizer = open_tokenizer(given, context_length=context_length, family=family, clean=clean)
        return fit_tokenizer(tokenizer, vocab_size, where)
    if vocab_size != VOCABULARY:
        raise ConfigError(
            f"{where}: a vocabulary of {vocab_size} tokens is not CLIP's of {VOCABULARY}. Name its "
            "tokenizer: --tokenizer PATH."
        )
    return with_clean(clip_bpe(context_length=context_length), clean)


def with_clean(tokenizer: Tokenizer, clean: str) -> Tokenizer:
    """Return the tokenizer with another rule of cleaning."""
    if tokenizer.clean == clean:
        return tokenizer
    return Tokenizer.from_dict({**tokenizer.to_dict(), "clean": clean})


def difference_from_clips(tokenizer: Tokenizer, text: Mapping[str, Any], *, clean: str) -> str:
    """Tell how a tokenizer differs from CLIP's, so far as the text tower sees it.

    Args:
        tokenizer: of a model.
        text: the text tower's dict of the architecture.
        clean: the rule by which CLIP's cleans.

    Returns:
        The first difference, "" if there is none.
    """
    if tokenizer.vocab_size != VOCABULARY:
        return f"it has {tokenizer.vocab_size} tokens and CLIP's {VOCABULARY}"
    clips = with_clean(clip_bpe(context_length=tokenizer.context_length), clean)
    if text["causal"] and text["pool"] == "eot":  # nothing behind the end of a text is seen
        tokenizer = Tokenizer.from_dict({**tokenizer.to_dict(), "pad": clips.pad})
    return difference(clips, tokenizer)[0]


def padding_notes(tokenizer: Tokenizer, where: str) -> tuple[str, ...]:
    """Tell that texts are filled up otherwise there, where that is all that differs."""
    theirs = clip_bpe(context_length=tokenizer.context_length).pad
    if tokenizer.pad == theirs:
        return ()
    return (
        f"{where} fills short texts up with the id {theirs}, and the model's tokenizer with "
        f"{tokenizer.pad}. Nothing behind the end of a text counts in this tower, so embeddings "
        "are the same.",
    )
