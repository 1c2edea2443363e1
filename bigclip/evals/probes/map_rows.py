"""Apply a compiled function to many rows, tile by tile, on all devices of this process."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def map_rows(
    fn: Callable[..., Any],
    params: Any,
    rows: Any,
    *,
    tile: int = 1024,
    devices: Sequence[jax.Device] | None = None,
) -> Any:
    """Return `fn(params, rows)`, computed in tiles of one shape.

    Every tile is cut over the devices by rows, `params` is whole on each. The last tile is padded
    with zeros and the padding's results are dropped, so that a function of single rows gives the
    same for any tile and any number of devices.

    Args:
        fn: (params, rows of a tile) -> array or tree with leading axis t; traceable. It is
            compiled once for as long as it is the same object.
        params: array or tree.
        rows: array or tree with leading axis N, at least 1, on the host.
        tile: rows of a tile, at most; less where there are fewer rows.
        devices: by default all of this process.

    Returns:
        Array or tree with leading axis N, on the host.

    Raises:
        ValueError: if the leading axes differ, or there is no row.
    """
    lengths = {len(leaf) for leaf in jax.tree.leaves(rows)}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"rows need one leading axis of at least 1, not {sorted(lengths)}.")
    (num_rows,) = lengths
    devices = list(devices or jax.local_devices())
    # Powers of two: sets of similar size share one compiled function.
    size = min(tile, max(64, 1 << (num_rows - 1).bit_length()))
    size = -(-size // len(devices)) * len(devices)
    mesh = Mesh(np.asarray(devices), ("rows",))
    by_rows, whole = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in (("rows",), ()))
    params = jax.device_put(params, whole)
    compiled = _compiled(fn)
    parts = []
    for start in range(0, num_rows, size):
        part = jax.tree.map(lambda leaf, a=start: _padded(leaf[a : a + size], size), rows)
        parts.append(compiled(params, jax.device_put(part, by_rows)))
    return jax.tree.map(
        lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves])[:num_rows], *parts
    )


@functools.lru_cache(maxsize=32)
def _compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(fn)


def _padded(rows: Any, size: int) -> np.ndarray:
    rows = np.asarray(rows)
    return np.pad(rows, [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1))
