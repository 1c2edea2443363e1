"""JSON of models' files, which may be anyone's: read with care."""

import json
import math
from pathlib import Path
from typing import Any

from bigclip.config import ConfigError

_MAX_BYTES = 1 << 28  # Gemma's tokenizer.json has 35 MB


def parse_json(content: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object: every name once, every number finite.

    Args:
        content: in UTF-8.
        where: what it is, for messages.

    Raises:
        ConfigError: if it is none, or nested too deeply.
    """
    try:
        found = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_number,
            parse_float=_number,
        )
    # ValueError: all mistakes of JSON, of UTF-8, and numbers of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} cannot be read as JSON: {str(error)[:200]}.") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{where} holds no JSON object, but a {type(found).__name__}.")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _number(text: str) -> float:
    """Read a number; Python's reader takes NaN, Infinity and 1e999, too."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read an object; see `parse_json`.

    Raises:
        ConfigError: if the file cannot be read or holds no JSON object.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path} has more than {_MAX_BYTES:,} bytes: that is no such file.")
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}.") from None
    return parse_json(content, str(path))


def read_json_if_there(path: Path) -> dict[str, Any]:
    """Read an object; {} where there is no file."""
    return read_json(path) if path.exists() else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object, indented."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
