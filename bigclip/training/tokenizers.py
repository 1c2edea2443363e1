"""The tokenizer of a run, by its configuration block."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bigclip.config import ConfigError, call, check, choose
from bigclip.data.records import BadRecord
from bigclip.data.sources import Source
from bigclip.data.tokenizer import Tokenizer, clip_bpe, train_tokenizer


def _clip_tokenizer(source: Source, *, context_length: int = 77) -> Tokenizer:
    """CLIP's byte-pair encoding of 49,408 tokens."""
    return clip_bpe(context_length=context_length)


def _trained_tokenizer(
    source: Source,
    *,
    vocab_size: int,
    context_length: int,
    min_frequency: int = 2,
    clean: str = "clip",
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
        caption_sources: which captions to read; all by default.
        max_records: read at most so many, spread evenly over the source.
    """
    texts = []
    stride = max(-(-len(source) // max_records), 1)
    for index in range(0, len(source), stride):
        try:
            captions = source[index].captions
        except BadRecord:
            continue  # counted, named and judged when the batches are opened
        for name in sorted(captions) if caption_sources is None else caption_sources:
            texts += captions.get(name, [])
    return train_tokenizer(
        texts,
        vocab_size=vocab_size,
        context_length=context_length,
        min_frequency=min_frequency,
        clean=clean,
    )


TOKENIZERS = {"clip_bpe": _clip_tokenizer, "trained": _trained_tokenizer}


def read_tokenizer(block: Mapping[str, Any]) -> Callable[[Source], Tokenizer]:
    """Check the block before any data is opened.

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
    make = choose(arguments.pop("kind"), TOKENIZERS, "config.tokenizer.kind")
    check(make, arguments, "tokenizer", given=("source",))
    return lambda source: call(make, arguments, "tokenizer", source)
