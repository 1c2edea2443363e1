"""The logits of right pairs and of all others: means, deviations and histograms, in tiles."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bigclip.evals.ranks.ranking import (
    ScoreFn,
    devices_of,
    inner_product,
    inside_tile,
    right_in_tile,
    tile_scores,
)
from bigclip.evals.ranks.tiles import Grid


class Side(NamedTuple):
    """The logits of one kind of pairs, positives or negatives.

    Attributes:
        count: how many.
        mean: their mean.
        std: their standard deviation.
        histogram: [bins] int, how many lie between neighbouring edges.
    """

    count: int
    mean: float
    std: float
    histogram: np.ndarray


class PairLogits(NamedTuple):
    """All I x T logits in two parts.

    Attributes:
        positive: of the pairs that belong together.
        negative: of all others; None where there are none.
        edges: [bins + 1] float32, from the smallest logit to the largest, for both; wider where
            all are nearly the same.
    """

    positive: Side
    negative: Side | None
    edges: np.ndarray


def pair_logits(
    image_emb: Any,
    text_emb: Any,
    pairs: np.ndarray,
    *,
    score_fn: ScoreFn = inner_product,
    params: Any = None,
    bins: int = 60,
    tile: int = 1024,
    devices: Sequence[jax.Device] | None = None,
) -> PairLogits | None:
    """Describe the logits of all pairs; the matrix of logits never exists.

    The tiles are walked twice: for the range and the means, then for histograms and deviations.

    Args:
        image_emb, text_emb, score_fn, params, tile, devices: as in `ranking.rank_pairs`.
        pairs: [M, 2] int, which (image, text) belong together, M at least 1.
        bins: of the histograms.

    Returns:
        What is described above, or None if a logit is not a finite number.
    """
    grid = Grid(image_emb, text_emb, pairs, tile=tile, devices=devices or devices_of(params))
    sums = np.zeros(2)
    low, high = np.inf, -np.inf
    for i in range(len(grid.image_tiles)):
        for j in range(len(grid.text_tiles)):
            part, least, most = _sums(score_fn)(params, *grid.inputs(i, j), grid.sizes(i, j))
            part = np.asarray(part, np.float64).sum(axis=0)
            if not (np.isfinite(part).all() and np.isfinite([least, most]).all()):
                return None
            sums += part
            low, high = min(low, float(least)), max(high, float(most))
    positives = len(grid.pairs)
    counts = np.array([positives, grid.num_images * grid.num_texts - positives])
    means = sums / np.maximum(counts, 1)
    edges = _edges(low, high, bins)
    squares, histograms = np.zeros(2), np.zeros((2, bins), np.int64)
    for i in range(len(grid.image_tiles)):
        for j in range(len(grid.text_tiles)):
            part, histogram = _spread(score_fn)(
                params, *grid.inputs(i, j), grid.sizes(i, j), means.astype(np.float32), edges
            )
            squares += np.asarray(part, np.float64).sum(axis=0)
            histograms += np.asarray(histogram)
    sides = [
        Side(int(counts[k]), float(means[k]), float(np.sqrt(squares[k] / counts[k])), histograms[k])
        if counts[k]
        else None
        for k in range(2)
    ]
    return PairLogits(*sides, edges)


def _edges(low: float, high: float, bins: int) -> np.ndarray:
    """Return [bins + 1] float32 edges, all different, that hold both ends."""
    if high - low < 1e-3 * max(1.0, abs(low), abs(high)):  # all logits are the same, or nearly so
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1).astype(np.float32)
    edges[0], edges[-1] = low, high
    return edges


def _scored(score_fn, params, images, texts, slots, sizes):
    """Return the logits of a tile and which are positive and negative, without the padding."""
    logits = tile_scores(score_fn, params, images, texts)
    row, column = inside_tile(logits, sizes)
    inside, right = row & column, right_in_tile(logits, slots)
    return logits, inside & right, inside & ~right


@functools.lru_cache(maxsize=16)
def _sums(score_fn: ScoreFn):
    """Compile: for each row the sums [r, 2] of positives and negatives; smallest; largest."""

    @jax.jit
    def sums(params, images, texts, slots, sizes):
        logits, *kinds = _scored(score_fn, params, images, texts, slots, sizes)
        inside = kinds[0] | kinds[1]
        by_row = [jnp.where(kind, logits, 0.0).sum(axis=1) for kind in kinds]
        least = jnp.where(inside, logits, jnp.inf).min()
        most = jnp.where(inside, logits, -jnp.inf).max()
        return jnp.stack(by_row, axis=1), least, most

    return sums


@functools.lru_cache(maxsize=16)
def _spread(score_fn: ScoreFn):
    """Compile: for each row the squares about the means [r, 2]; the histograms [2, bins]."""

    @jax.jit
    def spread(params, images, texts, slots, sizes, means, edges):
        logits, *kinds = _scored(score_fn, params, images, texts, slots, sizes)
        bins = edges.shape[0] - 1
        squares = [
            jnp.where(kind, (logits - means[k]) ** 2, 0.0).sum(axis=1)
            for k, kind in enumerate(kinds)
        ]
        place = jnp.clip(jnp.searchsorted(edges, logits, side="right") - 1, 0, bins - 1)
        # Padding goes beyond the end, where nothing is counted.
        place = jnp.where(kinds[0], place, jnp.where(kinds[1], place + bins, 2 * bins))
        counts = jnp.zeros(2 * bins, jnp.int32).at[place.ravel()].add(1, mode="drop")
        return jnp.stack(squares, axis=1), counts.reshape(2, bins)

    return spread
