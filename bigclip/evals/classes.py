"""The classes of a zero-shot suite: from the records, from the configuration, or from a file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bigclip.config import ConfigError, suggest
from bigclip.evals.records import unique


class Class(NamedTuple):
    """One class: the label that records bear, and one or more names for the prompts."""

    label: str
    names: list[str]


def read_classes(
    labels: Sequence[str],
    classes: str | Sequence[str] | Mapping[str, Any] | None,
    captions: Sequence[Mapping[str, Sequence[str]]],
    names: str,
) -> tuple[list[Class], np.ndarray]:
    """Return the classes, and the class of each record, [I] int.

    Args:
        labels: label of each record.
        classes: as in `bigclip.evals.zero_shot.ZeroShot`.
        captions: captions of each record, for the names of classes that come from the records.
        names: the caption source with the names.

    Raises:
        ConfigError: for a label without a class, a class without a name, a file of another form.
    """
    if classes is None:
        found = _from_records(labels, captions, names)
    elif isinstance(classes, str):
        found = _from_value(_read_file(Path(classes)), labels)
    else:
        found = _from_value(classes, labels)
    position = {cls.label: i for i, cls in enumerate(found)}
    for label in labels:
        if label not in position:
            raise ConfigError(
                f"classes: no class for the label {label!r}.{suggest(label, position)}"
            )
    return found, np.array([position[label] for label in labels])


def _from_records(labels, captions, names) -> list[Class]:
    found: dict[str, list[str]] = {}
    for label, texts in zip(labels, captions, strict=True):
        if label not in found and texts.get(names):
            found[label] = [texts[names][0]]
    unnamed = [label for label in unique(labels) if label not in found]
    if unnamed:
        raise ConfigError(
            f"names = {names!r}: no record of the class {unnamed[0]!r} has a text of this caption "
            f"source.{suggest(names, {name for texts in captions for name in texts})}"
        )
    return [Class(label, found[label]) for label in sorted(found)]


def _from_value(value: Any, labels: Sequence[str]) -> list[Class]:
    if isinstance(value, Mapping) or hasattr(value, "items"):
        found = [
            Class(str(label), [names] if isinstance(names, str) else list(names))
            for label, names in value.items()
        ]
    elif isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        by_name = set(labels) <= set(value)
        found = [Class(name if by_name else str(i), [name]) for i, name in enumerate(value)]
    else:
        raise ConfigError(f"classes must be names, or a dict label -> names, not {value!r}.")
    if len({cls.label for cls in found}) < len(found) or not all(cls.names for cls in found):
        raise ConfigError("classes: every class needs a label of its own and at least one name.")
    return found


def _read_file(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"classes: cannot read {path}: {error}.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
