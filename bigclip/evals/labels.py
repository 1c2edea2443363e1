"""The labels that records bear: one class each, or a list of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bigclip.config import ConfigError, suggest
from bigclip.evals.records import Records

_USUAL = ("label", "concept")


class Labels(NamedTuple):
    """The labels of I records, as text.

    Attributes:
        of: for each record its labels: exactly one, unless `is_multi`.
        is_multi: whether a record may have several, or none.
        class_names: label -> the name that records give with it, where they do; labels that are
            read from "class_name" are their own.
        are_names: whether the labels can name their classes: they are texts, and not just numbers
            written as texts.
    """

    of: list[list[str]]
    is_multi: bool
    class_names: dict[str, str]
    are_names: bool = False

    @property
    def distinct(self) -> list[str]:
        """All labels, in the order of their first appearance."""
        return list(dict.fromkeys(label for labels in self.of for label in labels))


def read_labels(records: Records, label: str | None) -> Labels:
    """Read the labels of records from their metadata.

    A label is a number or a text; a list of these makes the set multi-label. "class_name" beside
    it, a name or a list as long, is what TFDS and folders of classes tell.

    Args:
        records: the set.
        label: the metadata key; None takes "label", or "concept" where there is no such key.

    Raises:
        ConfigError: if a record lacks the key, or its label is of another form.
    """
    if label is None:
        there = {name for metadata in records.metadata[:1] for name in metadata}
        label = next((name for name in _USUAL if name in there), _USUAL[0])
    values = []
    for key, metadata in zip(records.key, records.metadata, strict=True):
        value = metadata.get(label)
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        if value is None:
            why = getattr(records.source, "no_classes", "")  # of a folder
            raise ConfigError(
                f"label = {label!r}: record {key} has no such metadata key."
                f"{suggest(label, metadata)}{f' ({why}.)' if why else ''}"
            )
        single = value if isinstance(value, list | tuple) else [value]
        if not all(isinstance(one, str | int) for one in single):
            raise ConfigError(
                f"label = {label!r}: record {key} has {value!r}; a label is a whole number, a "
                "text, or a list of these."
            )
        values.append(value)
    is_multi = any(isinstance(value, list | tuple) for value in values)
    of = [
        list(dict.fromkeys(map(str, value if isinstance(value, list | tuple) else [value])))
        for value in values
    ]
    if not any(of):
        raise ConfigError(f"label = {label!r}: no record has any label.")
    class_names = _class_names(records, values, label)
    return Labels(of, is_multi, class_names, _are_names(values))


def _are_names(values: Sequence[Any]) -> bool:
    found = [one for v in values for one in (v if isinstance(v, list | tuple) else [v])]
    return all(isinstance(one, str) for one in found) and not all(one.isdecimal() for one in found)


def _class_names(records: Records, values: Sequence[Any], label: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for value, metadata in zip(values, records.metadata, strict=True):
        names = value if label == "class_name" else metadata.get("class_name")
        if isinstance(names, str) and not isinstance(value, list | tuple):
            found.setdefault(str(value), names)
        elif isinstance(names, list) and isinstance(value, list | tuple):
            for one, name in zip(value, names, strict=False):
                found.setdefault(str(one), str(name))
    return found


def class_index(labels: Labels, classes: Sequence[str]) -> list[list[int]]:
    """Return for each record the positions of its labels among the labels of the classes.

    Raises:
        ConfigError: for a label without a class; names the nearest one.
    """
    position = {label: i for i, label in enumerate(classes)}
    for label in labels.distinct:
        if label not in position:
            raise ConfigError(
                f"classes: no class for the label {label!r}.{suggest(label, position)}"
            )
    return [[position[label] for label in found] for found in labels.of]
