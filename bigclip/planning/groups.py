"""Which devices a collective joins: the notations that HLO text has for it."""

import math
import re

import numpy as np

_IOTA = re.compile(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_IDS = re.compile(r"device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\)")
_MESH = re.compile(
    r"mesh\[([^\]]*)\](?:,\s*device_ids=\([^)]*(?:\([^)]*\))?[^)]*\))?\s*\{([^}]*)\}"
)
_AXIS = re.compile(r"'([^']+)'(?::\((\d+)\)(\d+))?")
_PAIR = re.compile(r"\{(\d+),(\d+)\}")


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(","))


def _iota(sizes: tuple[int, ...], order: str | None) -> np.ndarray:
    ids = np.arange(math.prod(sizes)).reshape(sizes)
    return (ids.transpose(_sizes(order)) if order else ids).reshape(-1)


def _mesh_groups(text: str) -> np.ndarray | None:
    """Groups along named axes: mesh['a'=4,'b'=4], device_ids=([4,4]T(1,0)) {'a'}.

    Part of an axis is written 'a':(m)k: the k in the middle of an axis split into m, k and the
    rest.
    """
    match = _MESH.search(text)
    if not match:
        return None
    axes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", match[1])}
    listed = _IDS.search(match[0])
    ids = _iota(_sizes(listed[1]), listed[2]) if listed else np.arange(math.prod(axes.values()))
    parts = {name: [(size, False)] for name, size in axes.items()}
    for name, before, size in _AXIS.findall(match[2]):
        if not before:
            parts[name] = [(axes[name], True)]
            continue
        before, size = int(before), int(size)
        parts[name] = [(before, False), (size, True), (axes[name] // (before * size), False)]
    flat = [part for split in parts.values() for part in split]
    grid = ids.reshape([size for size, _ in flat])
    joined = [index for index, (_, member) in enumerate(flat) if member]
    others = [index for index, (_, member) in enumerate(flat) if not member]
    size = math.prod(flat[index][0] for index in joined)
    return grid.transpose(others + joined).reshape(-1, size)


def replica_groups(rest: str, num_devices: int) -> np.ndarray | None:
    """Read the groups of a collective.

    Args:
        rest: what follows the operands of the instruction.
        num_devices: of the program; all of them are one group where none is named.

    Returns:
        Device numbers [groups, size], or None if the notation is not known.
    """
    at = rest.find("replica_groups=")
    if at < 0:
        return None
    text = rest[at + len("replica_groups=") :]
    if text.startswith("mesh["):
        return _mesh_groups(text)
    iota = _IOTA.match(text)
    if iota:
        return _iota(_sizes(iota[2]), iota[3]).reshape(_sizes(iota[1]))
    if not text.startswith("{"):
        return None
    if text.startswith("{}"):
        return np.arange(num_devices)[None]
    listed = re.match(r"\{(\{[\d,]+\}(?:,\{[\d,]+\})*)\}", text)
    if not listed:
        return None
    rows = [_sizes(row) for row in re.findall(r"\{([\d,]+)\}", listed[1])]
    return np.asarray(rows) if len({len(row) for row in rows}) == 1 else None


def source_target_pairs(rest: str) -> np.ndarray:
    """Read who sends to whom in a permutation, [pairs, 2]."""
    at = rest.find("source_target_pairs=")
    listed = re.match(r"\{(?:\{\d+,\d+\},?)*\}", rest[at + len("source_target_pairs=") :])
    pairs = _PAIR.findall(listed[0]) if at >= 0 and listed else []
    return np.asarray(pairs, int).reshape(-1, 2)
