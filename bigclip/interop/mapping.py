"""Tables that say where our parameters lie in another format, read in both directions.

A table is a tuple of `Row`s, plain data. Paths are ours with layers unrolled
("image/block_07/mlp/up/kernel"), names are theirs; "{}" in both stands for the number of a layer,
and in ours alone for all layers, which theirs stacks along a leading axis. Several of ours in one
row are equal parts of one of theirs, such as PyTorch's packed query, key and value.

Nothing is guessed and nothing left over: every parameter of ours has exactly one place, and every
array of theirs has a row, or a pattern that says why it holds no parameter.
"""

import collections
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bigclip.config import ConfigError

Shape = tuple[int, ...]
_LISTED = 8  # names in one message


class Row(NamedTuple):
    """One array of theirs, or one for each layer.

    Attributes:
        ours: our path, or the paths of its equal parts.
        theirs: their name.
        change: a key of `CHANGES`: what becomes of each part.
        axis: several of ours: the axis of theirs along which the parts follow each other.
    """

    ours: str | tuple[str, ...]
    theirs: str
    change: str = "same"
    axis: int = 0


class Change(NamedTuple):
    """Two functions (array, number of heads) -> array, each the inverse of the other."""

    to_ours: Callable[[np.ndarray, int], np.ndarray]
    to_theirs: Callable[[np.ndarray, int], np.ndarray]


CHANGES = {
    "same": Change(lambda x, _: x, lambda x, _: x),
    # [out, in] <-> [in, out]: a dense layer's matrix in PyTorch and in Flax
    "transpose": Change(lambda x, _: x.T, lambda x, _: x.T),
    # [out, in, height, width] <-> [height, width, in, out]: a convolution's kernel
    "conv": Change(lambda x, _: x.transpose(2, 3, 1, 0), lambda x, _: x.transpose(3, 2, 0, 1)),
    "row": Change(lambda x, _: x.reshape(1, *x.shape), lambda x, _: _squeezed(x)),
    "lead": Change(lambda x, _: _squeezed(x), lambda x, _: x.reshape(1, *x.shape)),
    "scalar": Change(lambda x, _: _squeezed(x), lambda x, _: x.reshape(1)),
    # [E, heads, E / heads] <-> [E, E], of query, key and value in Flax's own attention
    "heads_in": Change(
        lambda x, _: x.reshape(x.shape[0], -1), lambda x, heads: x.reshape(x.shape[0], heads, -1)
    ),
    # [heads, E / heads, E] <-> [E, E], of what follows the attention
    "heads_out": Change(
        lambda x, _: x.reshape(-1, x.shape[-1]), lambda x, heads: x.reshape(heads, -1, x.shape[-1])
    ),
    # [heads, E / heads] <-> [E]
    "heads_bias": Change(lambda x, _: x.reshape(-1), lambda x, heads: x.reshape(heads, -1)),
}


def _squeezed(x: np.ndarray) -> np.ndarray:
    return x.reshape(x.shape[1:]) if x.shape[:1] == (1,) else _refuse(x)


def _refuse(x: np.ndarray) -> np.ndarray:
    raise ValueError(f"the leading axis of {list(x.shape)} is not of length 1")


class Link(NamedTuple):
    """A row with all numbers filled in.

    Attributes:
        ours: our paths.
        theirs: their name.
        change: of `CHANGES`.
        heads: number of heads of the tower.
        stacked: whether our arrays are layers along a new leading axis of theirs.
        axis: else the axis of theirs along which they are joined.
    """

    ours: tuple[str, ...]
    theirs: str
    change: Change
    heads: int
    stacked: bool
    axis: int

    def to_ours(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """Cut one of theirs into ours: views where that can be."""
        count = len(self.ours)
        if self.stacked:
            if array.shape[:1] != (count,):
                raise ValueError(f"{count} layers, but the leading axis of {list(array.shape)}")
            parts = list(array)
        else:
            parts = np.split(array, count, axis=self.axis) if count > 1 else [array]
        changed = (self.change.to_ours(part, self.heads) for part in parts)
        return dict(zip(self.ours, changed, strict=True))

    def to_theirs(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Join ours, in the order of `ours`, to one of theirs."""
        parts = [self.change.to_theirs(array, self.heads) for array in arrays]
        if self.stacked:
            return np.stack(parts)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=self.axis)

    def our_shapes(self, shape: Shape) -> dict[str, Shape]:
        """Shapes of ours, from that of theirs; ValueError where it cannot be."""
        return {name: part.shape for name, part in self.to_ours(_hollow(shape)).items()}

    def their_shape(self, shapes: Mapping[str, Shape]) -> Shape:
        """Shape of theirs, from those of ours."""
        parts = [
            self.change.to_theirs(_hollow(shapes[name]), self.heads).shape for name in self.ours
        ]
        if self.stacked:
            return (len(parts), *parts[0])
        shape = list(parts[0])
        if len(parts) > 1:
            shape[self.axis] = sum(part[self.axis] for part in parts)
        return tuple(shape)


def _hollow(shape: Shape) -> np.ndarray:
    """An array of any shape that takes no memory."""
    return np.broadcast_to(np.zeros((), np.float32), shape)


def links(rows: Iterable[Row], arch: Mapping[str, Any]) -> list[Link]:
    """Fill in the numbers of the layers.

    Args:
        rows: the table.
        arch: an architecture; its depths and heads are needed.
    """
    found = []
    for row in rows:
        ours = (row.ours,) if isinstance(row.ours, str) else tuple(row.ours)
        tower = arch.get(ours[0].split("/")[0])
        tower = tower if isinstance(tower, Mapping) else {}
        shared = {"change": CHANGES[row.change], "heads": tower.get("num_heads", 1)}
        shared["axis"] = row.axis
        if "{}" not in ours[0]:
            found.append(Link(ours, row.theirs, stacked=False, **shared))
            continue
        layers = range(tower["depth"])
        filled = [tuple(path.replace("{}", f"{i:02d}") for path in ours) for i in layers]
        if "{}" in row.theirs:
            found += [
                Link(paths, row.theirs.replace("{}", str(i)), stacked=False, **shared)
                for i, paths in enumerate(filled)
            ]
        else:
            found.append(Link(sum(filled, ()), row.theirs, stacked=True, **shared))
    return found


def match(
    rows: Iterable[Row],
    arch: Mapping[str, Any],
    *,
    ours: Mapping[str, Shape],
    theirs: Mapping[str, Shape],
    computed: Iterable[str] = (),
    ignored: Iterable[str] = (),
    where: str,
) -> list[Link]:
    """Find which links bring a foreign file into our tree.

    Args:
        rows: the table.
        arch: the architecture that the file holds.
        ours: our paths that are wanted, with their shapes.
        theirs: the file's names, with their shapes.
        computed: paths of ours that no row gives, since they are computed.
        ignored: regular expressions of names that hold no parameter.
        where: the file, for messages.

    Raises:
        ConfigError: lists what of ours is missing, what of theirs is left over, and shapes that
            differ.
    """
    known = links(rows, arch)
    found = [link for link in known if link.theirs in theirs and set(link.ours) <= ours.keys()]
    given = [name for link in found for name in link.ours]
    given += [name for name in computed if name in ours]
    _check_once(given, f"{where}: two arrays for the same parameter")
    faults = []
    wanted_by = {name: link.theirs for link in known for name in link.ours}
    absent = sorted(ours.keys() - set(given))
    missing = [f"{wanted_by[name]} (our {name})" if name in wanted_by else name for name in absent]
    if missing:
        faults.append(f"it lacks {len(missing)} arrays: {_some(missing)}")
    # A name is known, though not wanted, where it belongs to a tower that is left out.
    branches = {name.split("/")[0] for name in ours}
    unwanted = {
        link.theirs for link in known if not {name.split("/")[0] for name in link.ours} & branches
    }
    patterns = [re.compile(pattern) for pattern in ignored]
    used = {link.theirs for link in found} | unwanted
    left = [
        name
        for name in theirs
        if name not in used and not any(pattern.fullmatch(name) for pattern in patterns)
    ]
    if left:
        faults.append(f"{len(left)} of its arrays have no place here: {_some(left)}")
    for link in found:
        faults += _shape_faults(link, ours, theirs[link.theirs])
    if faults:
        raise ConfigError(
            f"{where} does not hold this architecture:\n"
            + "\n".join(f"  {fault}" for fault in faults[:_LISTED])
            + (f"\n  ... and {len(faults) - _LISTED} more" if len(faults) > _LISTED else "")
        )
    return found


def _shape_faults(link: Link, ours: Mapping[str, Shape], shape: Shape) -> list[str]:
    try:
        shapes = link.our_shapes(shape)
    except (ValueError, IndexError) as error:
        return [f"{link.theirs} {list(shape)} cannot be {', '.join(link.ours[:3])}: {error}"]
    return [
        f"{link.theirs} {list(shape)} gives {name} {list(found)}, but {list(ours[name])} is needed"
        for name, found in shapes.items()
        if found != ours[name]
    ]


def cover(
    rows: Iterable[Row],
    arch: Mapping[str, Any],
    *,
    ours: Mapping[str, Shape],
    without: Iterable[str] = (),
    where: str,
) -> list[Link]:
    """Find which links take our whole tree out.

    Args:
        rows: the table.
        arch: our architecture.
        ours: our paths, with their shapes.
        without: paths that need no row, since what is computed from them goes out instead.
        where: the format, for messages.

    Raises:
        ConfigError: lists what has no place in the format.
    """
    rest = ours.keys() - set(without)
    found = [link for link in links(rows, arch) if set(link.ours) <= rest]
    given = [name for link in found for name in link.ours]
    left = sorted(rest - set(given))
    if left:
        raise ConfigError(
            f"{where} has no place for {len(left)} parameters of this model: {_some(left)}. Choose "
            "another --format (safetensors takes every model)."
        )
    _check_once(given, f"{where}: two places for the same parameter")
    return found


def _check_once(names: Sequence[str], what: str) -> None:
    doubled = [name for name, count in collections.Counter(names).items() if count > 1]
    if doubled:
        raise ConfigError(f"{what}: {_some(doubled)}")


def _some(names: Sequence[str]) -> str:
    more = f", ... and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
