"""What a probe is to learn: the classes or labels of every set, as numbers."""

from typing import NamedTuple

import numpy as np

from bigclip.config import ConfigError
from bigclip.evals.labels import class_index, read_labels
from bigclip.evals.probes.labelled import hold_out
from bigclip.evals.probes.linear.folds import rarest_label
from bigclip.evals.records import Records


class Targets(NamedTuple):
    """The labels of several sets.

    Attributes:
        classes: the labels of the training records, sorted; a position is a class's number.
        names: what records call them; the label itself where they do not.
        of: set -> int [I], the class of each record; or bool [I, T], its labels.
        is_multi: whether records may have several labels.
    """

    classes: list[str]
    names: list[str]
    of: dict[str, np.ndarray]
    is_multi: bool


def read_targets(label: str | None, sets: dict[str, Records], learnt: str) -> Targets:
    """Read the labels of all records.

    Args:
        label: the metadata key; see `bigclip.evals.labels.read_labels` for None.
        sets: name -> records.
        learnt: the name of the set whose labels are the classes.

    Raises:
        ConfigError: if a record has no such key, if a label is not among the classes, or if there
            is only one class.
    """
    found = {name: read_labels(records, label) for name, records in sets.items()}
    is_multi = any(labels.is_multi for labels in found.values())
    classes = sorted(found[learnt].distinct)
    if len(classes) < 2:
        raise ConfigError(
            f"{learnt}: all records have the label {classes[0]!r}: there is nothing to tell apart."
        )
    called = {}
    for labels in found.values():
        called = labels.class_names | called
    of = {}
    for name, labels in found.items():
        try:
            index = class_index(labels, classes)
        except ConfigError as error:
            raise ConfigError(
                f"{name}: {error} The classes are those of the set {learnt!r}; leave others out by "
                "`where`."
            ) from error
        if is_multi:
            rows = np.zeros((len(index), len(classes)), bool)
            for row, positions in enumerate(index):
                rows[row, positions] = True
            of[name] = rows
        else:
            of[name] = np.array([position for (position,) in index], np.int64)
    return Targets(classes, [called.get(one, one) for one in classes], of, is_multi)


def held_out_rows(targets: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Choose the rows that choose the strength, where there is no validation set: [I] bool.

    The share of every class, by `bigclip.evals.probes.labelled.hold_out`; of several labels a row
    counts for its rarest one.
    """
    group = rarest_label(targets) if targets.ndim == 2 else targets
    return hold_out(group, share, seed)
