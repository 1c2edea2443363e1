"""The tiles of an I x T matrix of scores that is never built."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

KEPT_BYTES = 1 << 30  # of each side's embeddings, on each device


class Grid:
    """Embeddings cut into tiles on the devices, and the pairs of each tile.

    Attributes:
        num_images, num_texts: I and T, without padding.
        pairs: [M, 2] int, distinct, sorted.
        tile_rows, tile_columns: size of every tile; powers of two (rows: a multiple of the number
            of devices), so that sets of similar size share one compiled function.
        image_tiles, text_tiles: the embeddings as `Tiles`; images sharded over the devices by
            rows, texts whole on each.
        pairs_in_tile: (i, j) -> pairs within the tile, for tiles that hold any.

    Raises:
        ValueError: if a pair names an image or a text that does not exist.
    """

    def __init__(self, image_emb, text_emb, pairs, *, tile, devices):
        self.num_images = _leading_axis(image_emb, "image")
        self.num_texts = _leading_axis(text_emb, "text")
        self.pairs = np.unique(np.asarray(pairs, np.int64).reshape(-1, 2), axis=0)
        limits = np.array([self.num_images, self.num_texts])
        if self.pairs.size and (self.pairs.min() < 0 or (self.pairs >= limits).any()):
            raise ValueError(
                f"a pair (image, text) is outside of {self.num_images} images and "
                f"{self.num_texts} texts: {self.pairs.max(axis=0).tolist()}."
            )
        mesh = Mesh(np.asarray(devices), ("rows",))
        self._rows, self._whole = (
            NamedSharding(mesh, spec) for spec in (PartitionSpec("rows"), PartitionSpec())
        )
        self.tile_rows = _tile_size(self.num_images, tile, len(devices))
        self.tile_columns = _tile_size(self.num_texts, tile, 1)
        self.image_tiles = Tiles(image_emb, self.num_images, self.tile_rows, self._rows)
        self.text_tiles = Tiles(text_emb, self.num_texts, self.tile_columns, self._whole)

        size = np.array([self.tile_rows, self.tile_columns])
        tiles = self.pairs // size
        order = np.lexsort((tiles[:, 1], tiles[:, 0]))
        keys, starts = np.unique(tiles[order], axis=0, return_index=True)
        parts = np.split(self.pairs[order], starts[1:]) if len(keys) else []
        self.pairs_in_tile: dict[tuple[int, int], np.ndarray] = {
            tuple(key.tolist()): part - key * size for key, part in zip(keys, parts, strict=True)
        }
        most = max((len(inside) for inside in self.pairs_in_tile.values()), default=1)
        self._num_slots = _power_of_two(most)

    def inputs(self, i: int, j: int):
        """Return the two tiles and their pairs, padded with an index beyond the tile."""
        slots = np.full((self._num_slots, 2), np.iinfo(np.int32).max, np.int32)
        inside = self.pairs_in_tile.get((i, j), slots[:0])
        slots[: len(inside)] = inside
        return self.image_tiles[i], self.text_tiles[j], slots

    def sizes(self, i: int, j: int) -> np.ndarray:
        """Return how many rows and columns of a tile are no padding."""
        return np.array(
            [
                min(self.num_images - i * self.tile_rows, self.tile_rows),
                min(self.num_texts - j * self.tile_columns, self.tile_columns),
            ],
            np.int32,
        )

    def full_rows(self, value, *, width=None):
        """Return [rows] or [rows, width] of one value, laid out like the rows of a tile."""
        return self._full(value, self.tile_rows, width, self._rows)

    def full_columns(self, value, *, width=None):
        """Return [columns] or [columns, width] of one value, laid out like its columns."""
        return self._full(value, self.tile_columns, width, self._whole)

    def _full(self, value, length, width, sharding):
        dtype = np.int32 if width else np.float32
        shape = (length, width) if width else (length,)
        return jax.device_put(np.full(shape, value, dtype), sharding)


def _leading_axis(emb: Any, what: str) -> int:
    lengths = {np.shape(leaf)[0] for leaf in jax.tree.leaves(emb)}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"{what} embeddings need one leading axis of at least 1, not {lengths}.")
    return lengths.pop()


def _power_of_two(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def _tile_size(n: int, tile: int, multiple: int) -> int:
    """Round up to a power of two of at least 64, at most `tile`, and to a multiple."""
    size = min(max(_power_of_two(n), 64), tile)
    return -(-size // multiple) * multiple


class Tiles:
    """The tiles of one side, put on the devices when they are asked for.

    The first ones stay there, as many as fit into `KEPT_BYTES` a device; the others come anew each
    time, since the tiles are walked in circles: what is kept for longest is what comes next.

    Args:
        emb: array or tree with leading axis n, on the host.
        size: rows of a tile; the last is padded with zeros.
        sharding: of a tile on the devices.
    """

    def __init__(self, emb: Any, n: int, size: int, sharding: NamedSharding):
        self._emb = jax.tree.map(np.asarray, emb)
        self._num, self._size, self._sharding = -(-n // size), size, sharding
        leaves = jax.tree.leaves(self._emb)
        tile_bytes = sum(leaf.nbytes // n * size for leaf in leaves)
        if sharding.spec != PartitionSpec():
            tile_bytes //= sharding.mesh.size
        self._num_kept = KEPT_BYTES // max(tile_bytes, 1)
        self._kept: dict[int, Any] = {}
        self._last: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, k: int) -> Any:
        if not 0 <= k < self._num:
            raise IndexError(f"tile {k} of {self._num}")
        if k in self._kept:
            return self._kept[k]
        if k != self._last[0]:
            self._last = (k, jax.device_put(jax.tree.map(self._cut(k), self._emb), self._sharding))
        if k < self._num_kept:
            self._kept[k] = self._last[1]
        return self._last[1]

    def _cut(self, k: int):
        def cut(leaf):
            part = leaf[k * self._size : (k + 1) * self._size]
            missing = self._size - len(part)
            return np.pad(part, [(0, missing)] + [(0, 0)] * (leaf.ndim - 1)) if missing else part

        return cut
