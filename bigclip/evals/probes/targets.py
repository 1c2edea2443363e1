"""What a probe is to learn: the classes or labels of every set, as numbers."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from absl import logging

from bigclip.config import ConfigError, suggest
from bigclip.evals.labels import Labels, read_labels
from bigclip.evals.records import Records

# Published sets hold a few pictures twice, in their training and their test part.
_MOST_SHARED = 0.02


class Targets(NamedTuple):
    """The labels of several sets.

    Attributes:
        classes: the labels of the training records, sorted, numbers by their size; a position is a
            class's number.
        names: what records call them; the label itself where they do not.
        of: set -> int [I], the class of each record; or bool [I, T], its labels.
        is_multi: whether records may have several labels.
    """

    classes: list[str]
    names: list[str]
    of: dict[str, np.ndarray]
    is_multi: bool


def read_targets(
    label: str | None, sets: Mapping[str, Records], learnt: str = "train", *, single: bool = False
) -> Targets:
    """Read the labels of all records.

    Args:
        label: the metadata key; see `bigclip.evals.labels.read_labels` for None.
        sets: name -> records.
        learnt: the name of the set whose labels are the classes.
        single: whether every record must have one label.

    Raises:
        ConfigError: if a record has no such key, if a label is not among the classes, if there is
            only one class, if records have several labels and may not, or if two sets share
            records.
    """
    check_apart(sets)
    found = {name: read_labels(records, label) for name, records in sets.items()}
    if contradiction := _other_numbering(found):
        # Folders number their classes as they find them: one that is missing shifts the others.
        if label is not None:
            raise ConfigError(f"label = {label!r}: {contradiction} Take label = 'class_name'.")
        found = {name: read_labels(records, "class_name") for name, records in sets.items()}
    is_multi = any(labels.is_multi for labels in found.values())
    if is_multi and single:
        which = next(name for name, labels in found.items() if labels.is_multi)
        raise ConfigError(
            f"{which}: records have several labels each; this suite takes sets of one label a "
            "record. Use linear_probe for such a set."
        )
    classes = sorted(found[learnt].distinct, key=_by_size)
    if len(classes) < 2:
        raise ConfigError(
            f"{learnt}: all records have the label {classes[0]!r}: there is nothing to tell apart."
        )
    number = {one: position for position, one in enumerate(classes)}
    called: dict[str, str] = {}
    of = {}
    for name, labels in found.items():
        called = labels.class_names | called
        _check_known(name, sets[name], labels, number, learnt)
        if is_multi:
            of[name] = np.zeros((len(labels.of), len(classes)), bool)
            for row, mine in enumerate(labels.of):
                of[name][row, [number[one] for one in mine]] = True
        else:
            of[name] = np.array([number[one] for (one,) in labels.of], np.int64)
    return Targets(classes, [called.get(one, one) for one in classes], of, is_multi)


def check_apart(sets: Mapping[str, Records]) -> None:
    """Stop if two sets share records; of a few equal pictures, which other sources may hold, warn.

    Raises:
        ConfigError: names the two, and a record of each.
    """
    names = list(sets)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            _check_pair(one, sets[one], other, sets[other])


def class_shares(targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the share of the rows that bear each class, [K].

    Args:
        targets: int [I], or bool [I, K] labels.
        num_classes: K.
    """
    if targets.ndim == 2:
        return targets.mean(axis=0, dtype=np.float64)
    return np.bincount(targets, minlength=num_classes) / len(targets)


def _by_size(label: str) -> tuple[bool, int, str]:
    is_number = label.isdecimal()
    return not is_number, int(label) if is_number else 0, label


def _other_numbering(found: Mapping[str, Labels]) -> str:
    """Say where one label has different names in two sets; "" if nowhere."""
    said: dict[str, tuple[str, str]] = {}
    for which, labels in found.items():
        for label, name in labels.class_names.items():
            other, before = said.setdefault(label, (which, name))
            if before != name:
                return f"the class {label} is {before!r} in {other} and {name!r} in {which}."
    return ""


def _check_pair(one: str, first: Records, other: str, second: Records) -> None:
    message = (
        f"{one} and {other} share records: a probe must not be tried on what it was trained on."
    )
    same = first.source is second.source and set(first.index) & set(second.index)
    if same or first.fingerprint == second.fingerprint:
        raise ConfigError(f"{message} Separate them by `source` or by `where`.")
    place = {digest: row for row, digest in enumerate(second.digests)}
    shared = [row for row, digest in enumerate(first.digests) if digest in place]
    if not shared:
        return
    twin = second.key[place[first.digests[shared[0]]]]
    told = (
        f"{len(shared):,} of the {len(first.digests):,} pictures of {one} are also in {other}; "
        f"the first is {first.key[shared[0]]}, there {twin}."
    )
    if len(shared) > _MOST_SHARED * min(len(first.digests), len(second.digests)):
        raise ConfigError(f"{message} {told} Separate them by `source` or by `where`.")
    logging.warning("%s", told)


def _check_known(
    which: str, records: Records, labels: Labels, number: Mapping[str, int], learnt: str
) -> None:
    for key, mine in zip(records.key, labels.of, strict=True):
        for one in mine:
            if one not in number:
                # A thousand classes would be a screen full: the nearest is enough then.
                near = suggest(one, number).partition(" Valid:")[0] if len(number) > 20 else None
                raise ConfigError(
                    f"{which}: record {key} has the label {one!r}, of which there is no record in "
                    f"{learnt}. Add some there, or leave the class out by `where`."
                    f"{suggest(one, number) if near is None else near}"
                )
