"""The JSON files of a model's folder, read with care."""

import json
from pathlib import Path
from typing import Any

from bigclip.config import ConfigError

_MAX_BYTES = 1 << 28  # Gemma's tokenizer.json has 35 MB


def read_json(path: Path) -> dict[str, Any]:
    """Read an object.

    Raises:
        ConfigError: if the file cannot be read or holds no JSON object.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path} has more than {_MAX_BYTES:,} bytes: that is no such file.")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}.") from None
    except ConfigError:
        raise
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested without end
        raise ConfigError(f"{path} is no JSON: {error}.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no JSON object, but a {type(content).__name__}.")
    return content


def read_json_if_there(path: Path) -> dict[str, Any]:
    """Read an object; {} where there is no file."""
    return read_json(path) if path.exists() else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object, indented."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
