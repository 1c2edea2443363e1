"""The tokenizer of a run, by its configuration block."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bigclip.config import ConfigError, call, check, choose
from bigclip.data.sources import Source
from bigclip.data.tokenizer import (
    Tokenizer,
    clip_bpe,
    huggingface_tokenizer,
    load_tokenizer,
    sentencepiece_tokenizer,
    train_tokenizer,
)
from bigclip.data.tokenizer.corpus import captions_of_source


def _trained_tokenizer(
    source: Source,
    *,
    vocab_size: int,
    context_length: int,
    min_frequency: int = 2,
    clean: str = "clip",
    unknown_words: str = "split",
    caption_sources: Sequence[str] | None = None,
    max_records: int = 500_000,
) -> Tokenizer:
    """One trained on the captions of the training source (deterministic).

    Args:
        source: the training source.
        vocab_size: largest number of tokens.
        context_length: L.
        min_frequency: see `train_tokenizer`.
        clean: see `train_tokenizer`.
        unknown_words: see `train_tokenizer`; the captions are those that are read here.
        caption_sources: which captions to read; all by default.
        max_records: read at most so many, spread evenly over the source.
    """
    return train_tokenizer(
        captions_of_source(source, caption_sources=caption_sources, max_records=max_records),
        vocab_size=vocab_size,
        context_length=context_length,
        min_frequency=min_frequency,
        clean=clean,
        unknown_words=unknown_words,
    )


# By kind; all but "trained" are files, or ship with bigclip.
_FIXED = {
    "clip_bpe": clip_bpe,
    "sentencepiece": sentencepiece_tokenizer,
    "huggingface": huggingface_tokenizer,
    "saved": load_tokenizer,
}
TOKENIZERS = {**_FIXED, "trained": _trained_tokenizer}


def read_tokenizer(block: Mapping[str, Any]) -> Callable[[Source], Tokenizer]:
    """Check the block before any data or file is opened.

    Args:
        block: `kind`, one of `TOKENIZERS`, and its arguments.

    Returns:
        (training source) -> tokenizer.

    Raises:
        ConfigError: for an unknown kind or key.
    """
    arguments = dict(block.items())
    if "kind" not in arguments:
        raise ConfigError(f"config.tokenizer.kind is missing. Valid: {', '.join(TOKENIZERS)}.")
    kind = arguments.pop("kind")
    make = choose(kind, TOKENIZERS, "config.tokenizer.kind")
    if kind in _FIXED:
        check(make, arguments, "tokenizer")
        return lambda source: call(make, arguments, "tokenizer")
    check(make, arguments, "tokenizer", given=("source",))
    return lambda source: call(make, arguments, "tokenizer", source)
