"""Training rows on the devices, in coordinates in which logistic regression is well conditioned.

Features of a frozen tower are correlated and far from zero mean. The rows are centred and turned
into the principal axes of their scatter. Neither changes the problem: the bias is not penalised, so
that it takes up a shift, and the penalty on the kernel is the same in all orthonormal axes. But in
these axes the Hessian is nearly diagonal, which is what makes few passes over the data enough.

Rows lie in tiles [tiles, rows of a tile, E]. Every tile is cut over the devices of this process by
rows; padding rows have weight 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# Elements of a tile's logits: what the caches of a CPU hold, what keeps an accelerator busy.
_LOGITS = {"cpu": 1 << 19}
_LOGITS_ELSEWHERE = 1 << 24
_LEAST_ROWS, _MOST_ROWS = 64, 1 << 14
_AXES_ROWS = 8  # the axes come of at most so many rows a feature: they need not be exact

HIGHEST = jax.lax.Precision.HIGHEST


class Axes(NamedTuple):
    """The coordinates that the rows are turned into: (x - mean) @ vectors.

    Attributes:
        mean: [E] float32.
        vectors: [E, E] float32, orthonormal columns.
        variances: [E] float32, of the rows along them.
    """

    mean: np.ndarray
    vectors: np.ndarray
    variances: np.ndarray


class Rows(NamedTuple):
    """Rows on the devices.

    Attributes:
        features: float32 [tiles, rows, E], in the coordinates of some `Axes`.
        targets: int32 [tiles, rows], the class of each row; or int8 [tiles, rows, T], 1 for each
            label that it has.
        weights: float32 [tiles, rows]: 1, or 0 for padding.
    """

    features: jax.Array
    targets: jax.Array
    weights: jax.Array


def row_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Lay out the devices that share the rows; by default all of this process."""
    return Mesh(np.asarray(devices or jax.local_devices()), ("rows",))


def find_axes(features: np.ndarray) -> Axes:
    """Find the principal axes of rows, from as many evenly spaced ones as suffice.

    Args:
        features: float32 [I, E].
    """
    num_rows, width = features.shape
    some = features[:: max(num_rows // (_AXES_ROWS * width), 1)]
    mean = some.mean(axis=0, dtype=np.float64)
    centred = (some - mean).astype(np.float32)
    with jax.default_matmul_precision("float32"):
        scatter = np.asarray(jax.jit(lambda x: x.T @ x)(centred), np.float64)
    variances, vectors = np.linalg.eigh(scatter / len(some))
    return Axes(
        mean.astype(np.float32),
        vectors.astype(np.float32),
        np.maximum(variances, 0).astype(np.float32),
    )


def place_rows(
    features: np.ndarray,
    targets: np.ndarray,
    axes: Axes,
    *,
    num_columns: int,
    mesh: Mesh,
) -> Rows:
    """Put rows on the devices.

    Args:
        features: float32 [I, E].
        targets: int [I] classes, or bool [I, T] labels.
        axes: the coordinates.
        num_columns: logits of a row, over all problems that are solved at once; decides the tiles.
        mesh: of the devices, see `row_mesh`.
    """
    num_rows, width = features.shape
    sharding = NamedSharding(mesh, PartitionSpec(None, "rows"))
    size = _tile_rows(num_rows, max(num_columns, width), mesh.devices)
    tiles = -(-num_rows // size)

    def tiled(array: np.ndarray) -> jax.Array:
        padding = [(0, tiles * size - num_rows)] + [(0, 0)] * (array.ndim - 1)
        array = np.pad(array, padding).reshape(tiles, size, *array.shape[1:])
        return jax.device_put(array, sharding)

    return Rows(
        features=_turn(tiled(np.asarray(features, np.float32)), axes.mean, axes.vectors),
        targets=tiled(targets.astype(np.int32 if targets.ndim == 1 else np.int8)),
        weights=tiled(np.ones(num_rows, np.float32)),
    )


def into_axes(kernel: np.ndarray, bias: np.ndarray, axes: Axes) -> np.ndarray:
    """Write a classifier of plain rows as one of turned rows: [P, E, K], [P, K] -> [P, E + 1, K].

    The bias is the last row.
    """
    kernel64 = np.asarray(kernel, np.float64)
    turned = np.einsum("ej,pek->pjk", axes.vectors.astype(np.float64), kernel64)
    shifted = bias + np.einsum("e,pek->pk", axes.mean.astype(np.float64), kernel64)
    return np.concatenate([turned, shifted[:, None]], axis=1).astype(np.float32)


def from_axes(points: np.ndarray, axes: Axes) -> tuple[np.ndarray, np.ndarray]:
    """Undo `into_axes`: kernel [P, E, K] and bias [P, K], float32."""
    points = np.asarray(points, np.float64)
    kernel = np.einsum("ej,pjk->pek", axes.vectors.astype(np.float64), points[:, :-1])
    bias = points[:, -1] - np.einsum("e,pek->pk", axes.mean.astype(np.float64), kernel)
    return kernel.astype(np.float32), bias.astype(np.float32)


def _tile_rows(num_rows: int, columns: int, devices: np.ndarray) -> int:
    """Rows of a tile over all devices: a power of two of them on each, none needlessly empty."""
    wanted = _LOGITS.get(devices[0].platform, _LOGITS_ELSEWHERE) // columns
    size = 1 << max(wanted, 1).bit_length() - 1
    size = min(max(size, _LEAST_ROWS), _MOST_ROWS)
    here = -(-num_rows // len(devices))
    return min(size, 1 << max(here - 1, 0).bit_length()) * len(devices)


@jax.jit
def _turn(features: jax.Array, mean: jax.Array, vectors: jax.Array) -> jax.Array:
    def one(_, tile):
        return None, jnp.matmul(tile - mean, vectors, precision=HIGHEST)

    return jax.lax.scan(one, None, features)[1]
