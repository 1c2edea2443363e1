"""Where the right candidates stand: ranks in both directions, in tiles, on the devices.

The I x T matrix of scores never exists. Tiles of it are computed one after another, image rows
sharded over the devices, and only counts per query survive a tile: how many wrong candidates
score higher than the query's best right one, and how many score the same. From these counts
`bigclip.evals.ranks.recall` computes every ranking metric.

Embeddings are arrays or trees of arrays with a leading axis, as a task gives them.

Two scores whose difference is within float32 rounding (`TIE_TOLERANCE`, relative) are a tie, since
the order of a sum may differ between tiles. A score that is not a number ranks worst: as the best
right score it loses to every candidate, as a wrong candidate's it beats the right one.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from bigclip.evals.ranks.tiles import Grid

TIE_TOLERANCE = 2e-6
_TILES_AHEAD = 64

ScoreFn = Callable[[Any, Any, Any], jax.Array]


class Ranks(NamedTuple):
    """How the best right candidate of each of Q queries stands among the candidates.

    Attributes:
        better: [Q] int, wrong candidates that score higher than the best right one.
        tied: [Q] int, wrong candidates that score the same.
        tied_right: [Q] int, right candidates that score as the best right one, itself included.
        right: [Q] int, right candidates; a query with none has no rank and counts nowhere.
        best: [Q] float32, the score of the best right candidate (-inf where there is none).
        num_candidates: candidates that each query ranks.
    """

    better: np.ndarray
    tied: np.ndarray
    tied_right: np.ndarray
    right: np.ndarray
    best: np.ndarray
    num_candidates: int


def inner_product(params: Any, image_emb: jax.Array, text_emb: jax.Array) -> jax.Array:
    """Score by inner product, [I, T]: the cosine where both [.., D] are L2-normalised."""
    del params
    return jnp.matmul(image_emb, text_emb.T, precision=jax.lax.Precision.HIGHEST)


def rank_pairs(
    image_emb: Any,
    text_emb: Any,
    pairs: np.ndarray,
    *,
    score_fn: ScoreFn = inner_product,
    params: Any = None,
    tile: int = 1024,
    devices: Sequence[jax.Device] | None = None,
) -> tuple[Ranks, Ranks]:
    """Rank all texts for each image and all images for each text.

    Args:
        image_emb: array or tree, leading axis I.
        text_emb: array or tree, leading axis T.
        pairs: [M, 2] int, which (image, text) belong together; many to many.
        score_fn: (params, image tile, text tile) -> [i, t], larger is a better match; traceable.
        params: passed to `score_fn`.
        tile: the largest number of rows and of columns of a tile.
        devices: the devices to rank on; by default those that hold `params`, else all local ones.

    Returns:
        Ranks of the texts for each image (Q = I), and of the images for each text (Q = T).

    Raises:
        ValueError: if a pair names an image or a text that does not exist.
    """
    grid = Grid(image_emb, text_emb, pairs, tile=tile, devices=devices or devices_of(params))
    best_fn, count_fn = _best_in_tile(score_fn), _count_in_tile(score_fn)
    image_best = [grid.full_rows(-jnp.inf) for _ in range(len(grid.image_tiles))]
    text_best = [grid.full_columns(-jnp.inf) for _ in range(len(grid.text_tiles))]
    for i, j in sorted(grid.pairs_in_tile):  # a tile without a pair has no best right score
        rows, columns = best_fn(params, *grid.inputs(i, j))
        image_best[i] = jnp.maximum(image_best[i], rows)
        text_best[j] = jnp.maximum(text_best[j], columns)
    image_counts = [grid.full_rows(0, width=3) for _ in range(len(grid.image_tiles))]
    text_counts = [grid.full_columns(0, width=3) for _ in range(len(grid.text_tiles))]
    for i in range(len(grid.image_tiles)):
        for j in range(len(grid.text_tiles)):
            rows, columns = count_fn(
                params, *grid.inputs(i, j), grid.sizes(i, j), image_best[i], text_best[j]
            )
            image_counts[i] += rows
            text_counts[j] += columns
            _keep_pace(j, columns)
    return (
        _ranks(image_best, image_counts, grid.pairs[:, 0], grid.num_images, grid.num_texts),
        _ranks(text_best, text_counts, grid.pairs[:, 1], grid.num_texts, grid.num_images),
    )


def top_candidates(
    image_emb: Any,
    text_emb: Any,
    k: int,
    *,
    score_fn: ScoreFn = inner_product,
    params: Any = None,
    by_text: bool = False,
    tile: int = 1024,
    devices: Sequence[jax.Device] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best candidates of each query, best first; ties in the candidates' order.

    Args:
        image_emb, text_emb, score_fn, params, tile, devices: as in `rank_pairs`.
        k: how many; at most the number of candidates is returned.
        by_text: the texts are the queries and the images the candidates, instead of the reverse.

    Returns:
        Scores [Q, k] float32 and candidate indices [Q, k] int. A score that is no number is -inf.
    """
    no_pairs = np.zeros((0, 2), np.int64)
    grid = Grid(image_emb, text_emb, no_pairs, tile=tile, devices=devices or devices_of(params))
    k = min(k, grid.num_images if by_text else grid.num_texts)
    top_fn = _top_in_tile(score_fn, by_text)
    queries = grid.text_tiles if by_text else grid.image_tiles
    candidates = grid.image_tiles if by_text else grid.text_tiles
    num_queries = grid.num_texts if by_text else grid.num_images
    scores, indices = [], []
    for q in range(len(queries)):
        length = grid.tile_columns if by_text else grid.tile_rows
        top = (jnp.full((length, k), -jnp.inf), jnp.full((length, k), -1, jnp.int32))
        for c in range(len(candidates)):
            i, j = (c, q) if by_text else (q, c)
            start = c * (grid.tile_rows if by_text else grid.tile_columns)
            valid = grid.sizes(i, j)[0 if by_text else 1]
            top = top_fn(params, grid.image_tiles[i], grid.text_tiles[j], start, valid, top)
            _keep_pace(c, top)
        scores.append(np.asarray(top[0]))
        indices.append(np.asarray(top[1]))
    return np.concatenate(scores)[:num_queries], np.concatenate(indices)[:num_queries]


def _keep_pace(number: int, result: Any) -> None:
    """Wait now and then: tiles that are put on the devices far ahead of their use fill them."""
    if number % _TILES_AHEAD == _TILES_AHEAD - 1:
        jax.block_until_ready(result)


def devices_of(params: Any) -> list[jax.Device]:
    """Return the devices that hold `params`, in mesh order; all local ones if none do.

    A computation cannot mix arrays of different device sets, so that ranking runs where the
    parameters are.
    """
    for leaf in jax.tree.leaves(params):
        if isinstance(leaf, jax.Array) and leaf.committed:
            if isinstance(leaf.sharding, NamedSharding):
                return list(leaf.sharding.mesh.devices.flat)
            return sorted(leaf.sharding.device_set, key=lambda device: device.id)
    return jax.local_devices()


def tile_scores(score_fn: ScoreFn, params: Any, images: Any, texts: Any) -> jax.Array:
    """Score the pairs of a tile in float32, [i, t]; traceable."""
    # A TPU would round float32 factors to bfloat16, and near ties would change places.
    with jax.default_matmul_precision("float32"):
        return score_fn(params, images, texts).astype(jnp.float32)


def right_in_tile(scores: jax.Array, slots: jax.Array) -> jax.Array:
    """Return which scores of a tile are of pairs, bool [i, t]; `slots` from `Grid.inputs`."""
    return jnp.zeros(scores.shape, bool).at[slots[:, 0], slots[:, 1]].set(True, mode="drop")


def inside_tile(scores: jax.Array, sizes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return which rows [i, 1] and columns [1, t] are no padding; `sizes` from `Grid.sizes`."""
    row = jnp.arange(scores.shape[0])[:, None] < sizes[0]
    column = jnp.arange(scores.shape[1])[None, :] < sizes[1]
    return row, column


@functools.lru_cache(maxsize=64)
def _best_in_tile(score_fn: ScoreFn):
    """Compile: the best right score of each row and column of a tile, NaN if one is NaN."""

    @jax.jit
    def best(params, images, texts, slots):
        scores = tile_scores(score_fn, params, images, texts)
        right = jnp.where(right_in_tile(scores, slots), scores, -jnp.inf)
        return right.max(axis=1), right.max(axis=0)

    return best


@functools.lru_cache(maxsize=64)
def _count_in_tile(score_fn: ScoreFn):
    """Compile: (better, tied, tied right) of each row [i, 3] and column [t, 3] of a tile."""

    def counts(scores, best, right, inside, axis):
        tolerance = TIE_TOLERANCE * jnp.maximum(jnp.abs(scores), jnp.abs(best))
        better = ~(scores <= best + tolerance)  # so written, a NaN on either side is "better"
        tied = ~better & (scores >= best - tolerance)
        wrong = inside & ~right
        return jnp.stack(
            [(better & wrong).sum(axis), (tied & wrong).sum(axis), (tied & right).sum(axis)], axis=1
        ).astype(jnp.int32)

    @jax.jit
    def count(params, images, texts, slots, sizes, image_best, text_best):
        scores = tile_scores(score_fn, params, images, texts)
        right = right_in_tile(scores, slots)
        row, column = inside_tile(scores, sizes)
        return (
            counts(scores, image_best[:, None], right, column, 1),
            counts(scores, text_best[None, :], right, row, 0),
        )

    return count


@functools.lru_cache(maxsize=64)
def _top_in_tile(score_fn: ScoreFn, by_text: bool):
    """Compile: merge the candidates of a tile into the best k so far."""

    @jax.jit
    def merge(params, images, texts, start, num_valid, top):
        scores = tile_scores(score_fn, params, images, texts)
        scores = scores.T if by_text else scores
        index = jnp.arange(scores.shape[1], dtype=jnp.int32)
        scores = jnp.where((index < num_valid) & ~jnp.isnan(scores), scores, -jnp.inf)
        index = jnp.broadcast_to(index + start, scores.shape)
        # The earlier candidates stand first, and top_k keeps the first of equals.
        values = jnp.concatenate([top[0], scores], axis=1)
        indices = jnp.concatenate([top[1], index], axis=1)
        values, order = jax.lax.top_k(values, top[0].shape[1])
        return values, jnp.take_along_axis(indices, order, axis=1)

    return merge


def _ranks(best, counts, queries, num_queries, num_candidates) -> Ranks:
    counts = np.concatenate([np.asarray(part) for part in counts])[:num_queries]
    return Ranks(
        better=counts[:, 0],
        tied=counts[:, 1],
        tied_right=counts[:, 2],
        right=np.bincount(queries, minlength=num_queries),
        best=np.concatenate([np.asarray(part) for part in best])[:num_queries],
        num_candidates=num_candidates,
    )
