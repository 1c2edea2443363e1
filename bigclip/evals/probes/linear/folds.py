"""Several splits of one set: official folds, or stratified ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bigclip.config import ConfigError, suggest
from bigclip.evals.probes.held_out import rarest_label
from bigclip.evals.records import Records


class Fold(NamedTuple):
    """Positions of one split.

    Attributes:
        name: its number, as records tell it.
        train: rows of the training set.
        test: rows of the test set.
    """

    name: str
    train: np.ndarray
    test: np.ndarray


def official_folds(key: str, test: Records, train: Records | None) -> list[Fold]:
    """Read the folds that records bear in their metadata: a number, or a list of numbers.

    With a training set, a fold is what is trained on, and the whole test set is classified (STL-10:
    ten subsets of its training pictures, which overlap). Without one, a fold is what is classified,
    and the rest of the set is trained on (UCF101); records without a fold are always trained on.

    Args:
        key: of the metadata.
        test, train: the sets.

    Raises:
        ConfigError: if fewer than two folds are told, or a training record has none.
    """
    records = test if train is None else train
    of = [_folds_of(metadata, key) for metadata in records.metadata]
    names = sorted({name for found in of for name in found}, key=lambda name: (len(name), name))
    if len(names) < 2:
        raise ConfigError(
            f"folds = {key!r}: the {'test' if train is None else 'train'} records tell "
            f"{len(names)} fold(s) by this metadata key.{suggest(key, records.metadata[0])}"
        )
    member = {name: np.array([name in found for found in of]) for name in names}
    if train is not None:
        every = np.arange(len(test.index))
        return [Fold(name, np.flatnonzero(member[name]), every) for name in names]
    return [
        Fold(name, np.flatnonzero(~member[name]), np.flatnonzero(member[name])) for name in names
    ]


def stratified_folds(targets: np.ndarray, num_folds: int, seed: int) -> list[Fold]:
    """Cut one set into folds that each have their share of every class.

    Each row is tested in one fold and trained on in the others. Of several labels a row counts for
    its rarest one.

    Args:
        targets: int [I] classes, or bool [I, T] labels.
        num_folds: at least 2.
        seed: decides which rows.

    Raises:
        ConfigError: if a class has fewer rows than there are folds.
    """
    group = rarest_label(targets) if targets.ndim == 2 else targets
    count = np.bincount(group)
    if count[count > 0].min() < num_folds and targets.ndim == 1:
        raise ConfigError(
            f"folds = {num_folds}: a class has only {count[count > 0].min()} record(s), and some "
            "fold would have none of them. Take fewer folds, or leave the class out by `where`."
        )
    rng = np.random.default_rng([seed, num_folds])
    order = rng.permutation(len(group))
    order = order[np.argsort(group[order], kind="stable")]
    fold = np.empty(len(group), int)
    fold[order] = np.arange(len(group)) % num_folds  # class by class, so that sizes are even, too
    return [
        Fold(str(k + 1), np.flatnonzero(fold != k), np.flatnonzero(fold == k))
        for k in range(num_folds)
    ]


def _folds_of(metadata: dict, key: str) -> Sequence[str]:
    value = metadata.get(key)
    if value is None:
        return ()
    return [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
