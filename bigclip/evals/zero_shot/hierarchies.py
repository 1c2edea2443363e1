"""Coarser classes: each class has a parent, and a prediction counts if its parent is right."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bigclip.config import ConfigError, suggest
from bigclip.evals.zero_shot.classes import Class
from bigclip.evals.zero_shot.prompts import read_file


def read_hierarchies(
    value: Mapping[str, Any] | str | None, classes: Sequence[Class]
) -> dict[str, np.ndarray]:
    """Read the parents of classes.

    Args:
        value: name of a hierarchy -> a dict from a class's label to its parent's, or the path of a
            .json file with one; or the path of a .json file with all of this. Labels beyond the
            classes are passed over.
        classes: the C classes.

    Returns:
        Name -> [C] int; classes with equal numbers have one parent.

    Raises:
        ConfigError: if it is of another form, or a class has no parent.
    """
    found = {}
    if isinstance(value, str):
        path, value = value, read_file(value, "hierarchy")
        # Of {label: parent} alone, each parent would be taken for a file's name.
        if not _is_dict(value) or not all(map(_is_dict, value.values())):
            raise ConfigError(
                f"hierarchy: {path} must be a .json file with a dict name -> dict label -> parent. "
                f"For a dict label -> parent give the hierarchy a name: {{NAME: {path!r}}}."
            )
    if value is not None and not _is_dict(value):
        raise ConfigError(
            f"hierarchy = {value!r}: needs a dict name -> dict label -> parent, or a .json file."
        )
    for name, parents in (value or {}).items():
        option = f"hierarchy.{name}"
        if isinstance(parents, str):
            if not parents.endswith(".json"):
                raise ConfigError(
                    f"{option} = {parents!r}: needs a dict label -> parent, or a .json file."
                )
            parents = read_file(parents, option)
        if not _is_dict(parents):
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


def _is_dict(value: Any) -> bool:
    return hasattr(value, "items")  # a configuration's own dicts, too
