"""A tokenizer as a file: the JSON that `to_dict` gives, alone or in a checkpoint's manifest."""

import json
import os

from bigclip.config import ConfigError
from bigclip.data.tokenizer.tokenizer import Tokenizer


def save_tokenizer(tokenizer: Tokenizer, path: str) -> None:
    """Write a tokenizer, whole, as one JSON file."""
    with open(os.path.expanduser(path), "w", encoding="utf-8") as file:
        json.dump(tokenizer.to_dict(), file, ensure_ascii=False)
        file.write("\n")


def load_tokenizer(path: str, *, context_length: int | None = None) -> Tokenizer:
    """Read a tokenizer that bigclip wrote.

    Args:
        path: of a file of `save_tokenizer` (or `python -m bigclip.data.tokenizer train`), or of
            a checkpoint's manifest.
        context_length: L, if another one than was saved is wanted.

    Raises:
        ConfigError: if the file is missing or something else.
    """
    place = os.path.expanduser(path)
    try:
        with open(place, encoding="utf-8") as file:
            content = json.load(file)
        content = content.get("tokenizer", content)
        if context_length is not None:
            content["context_length"] = context_length
        return Tokenizer.from_dict(content)
    except OSError as error:
        raise ConfigError(f"config.tokenizer.path: cannot read {place}: {error.strerror}") from None
    except ConfigError:
        raise
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(
            f"config.tokenizer.path: {place} is no tokenizer that bigclip saved (those come from "
            "`python -m bigclip.data.tokenizer train` or a checkpoint's manifest); a "
            'tokenizer.json is read by kind "huggingface"'
        ) from None
