"""Coarser classes: each class has a parent, and a prediction counts if its parent is right."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bigclip.config import ConfigError, suggest
from bigclip.evals.zero_shot.classes import Class
from bigclip.evals.zero_shot.prompts import read_file


def read_hierarchies(
    value: Mapping[str, Any] | None, classes: Sequence[Class]
) -> dict[str, np.ndarray]:
    """Read the parents of classes.

    Args:
        value: name of a hierarchy -> a dict from a class's label to its parent's, or the path of a
            .json file with one. Labels beyond the classes are passed over.
        classes: the C classes.

    Returns:
        Name -> [C] int; classes with equal numbers have one parent.

    Raises:
        ConfigError: if it is of another form, or a class has no parent.
    """
    found = {}
    for name, parents in (value or {}).items():
        option = f"hierarchy.{name}"
        if isinstance(parents, str):
            parents = read_file(parents, option)
        if not hasattr(parents, "items"):
            raise ConfigError(f"{option} must be a dict label -> parent, or a .json file with one.")
        parents = {str(label): str(parent) for label, parent in parents.items()}
        for cls in classes:
            if cls.label not in parents:
                raise ConfigError(
                    f"{option}: the class {cls.label!r} has no parent.{suggest(cls.label, parents)}"
                )
        numbers = {parent: i for i, parent in enumerate(sorted(set(parents.values())))}
        found[name] = np.array([numbers[parents[cls.label]] for cls in classes])
    return found


def chance_in(parent: np.ndarray, class_of: np.ndarray) -> float:
    """Return how often a class drawn by lot has the right parent.

    Args:
        parent: [C] int, of each class.
        class_of: [I] int, the class of each image.
    """
    share = np.bincount(parent) / len(parent)
    return float(share[parent[class_of]].mean())
