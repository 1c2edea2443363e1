"""Partition rules: which axis of the mesh each dimension of each parameter is sharded over.

A rule is (pattern, spec). The pattern is a regular expression that must match the whole path of a
parameter ("image/blocks/attention/query/kernel"); the first rule that matches wins. The spec
names a mesh axis (or None) per dimension, aligned to the right: leading dimensions that it does
not mention, such as the layer axis of a scanned tower, stay whole.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bigclip.config import ConfigError

Rules = Sequence[tuple[str, Sequence[str | None]]]


def path_name(path: tuple) -> str:
    """Name of a leaf by its path in the tree, joined with slashes."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def match_patterns(patterns: Sequence[str], names: Sequence[str], where: str) -> dict[str, int]:
    """Assign to each name the index of the first pattern that matches the whole of it.

    Names that no pattern matches are left out of the result.

    Raises:
        ConfigError: if a pattern is no regular expression, or matches no name at all (of names
            not only that earlier patterns took: then it is needless and says so, too).
    """
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            raise ConfigError(
                f"{where}: {pattern!r} is not a regular expression: {error}."
            ) from error
    found = {}
    for name in names:
        hits = (i for i, pattern in enumerate(compiled) if pattern.fullmatch(name))
        first = next(hits, None)
        if first is not None:
            found[name] = first
    for index, pattern in enumerate(patterns):
        if index in found.values():
            continue
        taken = sum(bool(compiled[index].fullmatch(name)) for name in names)
        reason = (
            f"all {taken} parameters it matches are taken by earlier patterns"
            if taken
            else "it matches no parameter"
        )
        sample = ", ".join(list(names)[:4])
        raise ConfigError(
            f"{where}: pattern {pattern!r} has no effect: {reason}. Patterns must match a whole "
            f"path, such as: {sample}."
        )
    return found


def _fit(spec: Sequence[str | None], shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Align a spec to the right of `shape`, dropping axes that do not divide their dimension."""
    aligned = [None] * (len(shape) - len(spec)) + list(spec)
    fitted = [
        axis if axis is not None and size % mesh.shape[axis] == 0 else None
        for axis, size in zip(aligned, shape, strict=True)
    ]
    return PartitionSpec(*fitted)


def shard_params(params: Any, rules: Rules, mesh: Mesh, *, where: str = "partition rules") -> Any:
    """Sharding of every parameter.

    Args:
        params: tree of arrays or ShapeDtypeStructs.
        rules: see the module's docstring. A mesh axis that does not divide its dimension leaves
            that dimension whole.
        mesh: the mesh.
        where: what to call the rules in messages.

    Returns:
        A tree of NamedShardings, like `params`.

    Raises:
        ConfigError: if a parameter matches no rule, a rule no parameter, or a rule has more
            dimensions than its parameter or names an axis that the mesh lacks.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
    names = [path_name(path) for path, _ in leaves]
    found = match_patterns([pattern for pattern, _ in rules], names, where)
    shardings = []
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if name not in found:
            raise ConfigError(
                f"{where}: no rule matches the parameter {name!r} of shape {leaf.shape}. "
                "Add one; ('.*', ()) at the end keeps the rest whole on every device."
            )
        pattern, spec = rules[found[name]]
        unknown = [axis for axis in spec if axis is not None and axis not in mesh.axis_names]
        if unknown or len(spec) > len(leaf.shape):
            raise ConfigError(
                f"{where}: rule ({pattern!r}, {spec}) does not fit {name!r} of shape {leaf.shape} "
                f"on a mesh with the axes {mesh.axis_names}."
            )
        shardings.append(NamedSharding(mesh, _fit(spec, leaf.shape, mesh)))
    return jax.tree_util.tree_unflatten(treedef, shardings)
