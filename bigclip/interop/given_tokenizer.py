"""The tokenizer that a user names beside weights that bring none."""

import os

from bigclip.data.tokenizer import (
    Tokenizer,
    huggingface_tokenizer,
    load_tokenizer,
    sentencepiece_tokenizer,
)


def open_tokenizer(
    path: str, *, context_length: int, clean: str = "none", pad: str = "model"
) -> Tokenizer:
    """Open a tokenizer by what its file is.

    Args:
        path: a SentencePiece .model; a tokenizer.json or the folder that holds one; or what
            bigclip saved, which knows how texts are cleaned by itself.
        context_length: L, of the text tower.
        clean: of texts, for the first two.
        pad: piece that fills up, of a SentencePiece model.

    Raises:
        ConfigError: if it cannot be read.
    """
    if path.endswith(".model"):
        return sentencepiece_tokenizer(path, context_length=context_length, clean=clean, pad=pad)
    if os.path.isdir(os.path.expanduser(path)) or os.path.basename(path) == "tokenizer.json":
        return huggingface_tokenizer(path, context_length=context_length, clean=clean)
    return load_tokenizer(path, context_length=context_length)
