"""A tokenizer as a file: the JSON that `to_dict` gives, alone or in a checkpoint's manifest."""

import json
import os

from etils import epath

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
        path: of a file of `save_tokenizer` (or `python -m bigclip.data.tokenizer train`); or of a
            run, a checkpoint or a folder of `Model.save`, whose manifest holds one, also `gs://`.
        context_length: L, if another one than was saved is wanted.

    Raises:
        ConfigError: if the file is missing or something else.
    """
    place = _find_manifest(epath.Path(os.path.expanduser(path)))
    try:
        content = json.loads(place.read_text())
        content = content.get("tokenizer", content)
        if context_length is not None:
            content["context_length"] = context_length
        return Tokenizer.from_dict(content)
    except OSError as error:
        raise ConfigError(
            f"config.tokenizer.path: cannot read {place}: {error.strerror or error}"
        ) from None
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(
            f"config.tokenizer.path: {place} is no tokenizer that bigclip saved (those come from "
            "`python -m bigclip.data.tokenizer train` or a checkpoint's manifest); a "
            'tokenizer.json is read by kind "huggingface"'
        ) from None


def _find_manifest(path: epath.Path) -> epath.Path:
    """Find the manifest in a folder of checkpoints: of the newest, though all of a run have one."""
    if not path.is_dir():
        return path
    for parent in (path / "checkpoints", path):
        steps = parent.iterdir() if parent.is_dir() else ()
        numbers = sorted(int(step.name) for step in steps if step.name.isdecimal())
        for number in reversed(numbers):
            if (found := parent / str(number) / "manifest" / "metadata").exists():
                return found
    return path / "manifest" / "metadata"
