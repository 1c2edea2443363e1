"""The classes of a training set and of the sets that a probe is tried on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bigclip.config import ConfigError, suggest
from bigclip.evals.labels import read_labels
from bigclip.evals.records import Records


class Classes(NamedTuple):
    """The classes of the training records, and the class of every record as its number.

    Attributes:
        names: the labels of the training records, sorted; a position is a class's number.
        test: [I] int.
        train: [N] int.
        val: [V] int, or None without such a set.
    """

    names: list[str]
    test: np.ndarray
    train: np.ndarray
    val: np.ndarray | None


def number_classes(
    label: str | None, test: Records, train: Records, val: Records | None = None
) -> Classes:
    """Read the class of every record.

    Args:
        label: the metadata key that holds it; see `labels.read_labels` for None.
        test, train, val: the sets.

    Raises:
        ConfigError: if a record has no such key or several labels, if a class that is tried has no
            training record, or if two sets share records.
    """
    sets = {"test": test, "train": train} | ({} if val is None else {"val": val})
    check_apart(sets)
    values = {name: _single_labels(records, label, name) for name, records in sets.items()}
    names = sorted(set(values["train"]))
    number = {name: position for position, name in enumerate(names)}
    for which in sets:
        for key, value in zip(sets[which].key, values[which], strict=True):
            if value not in number:
                raise ConfigError(
                    f"{which}: record {key} is of the class {value!r}, of which there is no "
                    "training record. Add some to `train`, or leave the class out by `where`."
                    f"{suggest(value, names)}"
                )
    found = {
        which: np.array([number[value] for value in labels], np.int64)
        for which, labels in values.items()
    }
    return Classes(names, found["test"], found["train"], found.get("val"))


def hold_out(class_of: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Choose rows to hold out of training: the share of every class, at least one of two or more.

    Args:
        class_of: [N] int.
        share: in (0, 1).
        seed: decides which rows.

    Returns:
        [N] bool. A class of one row keeps it for training.
    """
    held = np.zeros(len(class_of), bool)
    for number in np.unique(class_of):
        mine = np.flatnonzero(class_of == number)
        count = min(max(round(share * len(mine)), 1), len(mine) - 1)
        held[np.random.default_rng([seed, int(number)]).permutation(mine)[:count]] = True
    return held


def mean_per_class(right: np.ndarray, class_of: np.ndarray) -> float:
    """Return the mean over the classes that occur of the share of their rows that is right."""
    count = np.bincount(class_of)
    total = np.bincount(class_of, weights=right)
    return float((total[count > 0] / count[count > 0]).mean())


def check_positive(values: float | Sequence[float], option: str, *, whole: bool = False) -> list:
    """Return an option, a positive number or several distinct ones, as a list.

    Raises:
        ConfigError: if it is something else; names the option.
    """
    kinds = int if whole else (int, float)
    found = list(values) if isinstance(values, list | tuple) else [values]
    if (
        not found
        or len(set(found)) < len(found)
        or not all(isinstance(v, kinds) and not isinstance(v, bool) and v > 0 for v in found)
    ):
        what = "whole numbers" if whole else "numbers"
        raise ConfigError(f"{option} = {values!r}: needs positive {what}, each once.")
    return found


def _single_labels(records: Records, label: str | None, which: str) -> list[str]:
    labels = read_labels(records, label)
    if labels.is_multi:
        raise ConfigError(
            f"{which}: records have several labels each; this suite takes sets of one label a "
            "record. Use linear_probe for such a set."
        )
    return [found for (found,) in labels.of]


def check_apart(sets: dict[str, Records]) -> None:
    """Stop if two sets share records.

    Raises:
        ConfigError: names the two.
    """
    names = list(sets)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            same_source = sets[one].source is sets[other].source
            shared = set(sets[one].index) & set(sets[other].index) if same_source else set()
            if shared or sets[one].fingerprint == sets[other].fingerprint:
                raise ConfigError(
                    f"{one} and {other} share records: a probe must not be tried on what it was "
                    "trained on. Separate them by `source` or by `where`."
                )
