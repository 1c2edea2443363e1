"""How embeddings lie on the sphere: alignment, uniformity, modality gap, effective rank.

All take L2-normalised embeddings, on the host. None changes if all embeddings are rotated
together, or put in another order.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bigclip.evals.ranks.tiles import Grid

_CHUNK = 8192  # rows that are turned into float64 at once


def alignment(image_emb: np.ndarray, text_emb: np.ndarray, pairs: np.ndarray) -> float:
    """Return the mean squared distance of the pairs, 0 (best) to 4.

    Source: Wang & Isola 2020 (arXiv 2005.10242, section 4.1), alpha = 2.

    Args:
        image_emb: [I, D].
        text_emb: [T, D].
        pairs: [M, 2] (image, text).
    """
    total = 0.0
    for start in range(0, len(pairs), _CHUNK):
        image, text = pairs[start : start + _CHUNK].T
        difference = image_emb[image].astype(np.float64) - text_emb[text]
        total += float((difference**2).sum())
    return total / len(pairs)


def uniformity(
    emb: np.ndarray, *, tile: int = 1024, devices: Sequence[jax.Device] | None = None
) -> float:
    """Return log mean exp(-2 |x - y|^2) over all pairs of two different rows; 0 is a collapse.

    Embeddings that are spread evenly over the sphere have the least, about -4 in high dimensions
    (and never less than -8). Source: Wang & Isola 2020 (arXiv 2005.10242, section 4.1), t = 2. The
    matrix of distances never exists.

    Args:
        emb: [N, D], N at least 2.
        tile: the largest number of rows and of columns of a tile.
        devices: by default all of this process.
    """
    no_pairs = np.zeros((0, 2), np.int64)
    grid = Grid(emb, emb, no_pairs, tile=tile, devices=list(devices or jax.local_devices()))
    total = 0.0
    for i in range(len(grid.image_tiles)):
        rows = grid.image_tiles[i]
        for j in range(len(grid.text_tiles)):
            start = np.array([i * grid.tile_rows, j * grid.tile_columns], np.int32)
            if start[1] + grid.tile_columns > start[0] + 1:  # else below the diagonal
                sums = _potential(rows, grid.text_tiles[j], start, len(emb))
                total += float(np.asarray(sums, np.float64).sum())
    return float(np.log(total / (len(emb) * (len(emb) - 1) / 2)))


@functools.partial(jax.jit, static_argnames="num_rows")
def _potential(rows, columns, start, num_rows):
    """Return sum_j exp(-2 |x_i - y_j|^2) for each row i of a tile, over the columns j > i."""
    cosine = jnp.matmul(rows, columns.T, precision=jax.lax.Precision.HIGHEST)
    i = start[0] + jnp.arange(rows.shape[0])[:, None]
    j = start[1] + jnp.arange(columns.shape[0])[None, :]
    potential = jnp.exp(-2.0 * jnp.maximum(2.0 - 2.0 * cosine, 0.0))
    return jnp.where((i < j) & (j < num_rows), potential, 0.0).sum(axis=1)


def modality_gap(image_emb: np.ndarray, text_emb: np.ndarray) -> float:
    """Return the distance between the mean image and the mean text embedding, 0 to 2.

    Source: Liang et al. 2022 (arXiv 2203.02053, section 4.2).
    """
    return float(
        np.linalg.norm(image_emb.mean(0, dtype=np.float64) - text_emb.mean(0, dtype=np.float64))
    )


def mean_cosine(emb: np.ndarray) -> float:
    """Return the mean cosine of all pairs of two different rows of [N, D], N at least 2.

    Near 0 for an even spread; near 1 where all lie in one narrow cone (arXiv 2203.02053, section
    3). Of unit vectors, the square of their sum holds it.
    """
    total = emb.sum(axis=0, dtype=np.float64)
    itself = sum(
        float((emb[start : start + _CHUNK].astype(np.float64) ** 2).sum())
        for start in range(0, len(emb), _CHUNK)
    )
    return float((total @ total - itself) / (len(emb) * (len(emb) - 1)))


def effective_rank(emb: np.ndarray) -> float:
    """Return the exponential of the entropy of the normalised singular values, 1 to min(N, D).

    The variant of Roy & Vetterli 2007 ("The effective rank", EUSIPCO), which RankMe takes for
    embeddings (arXiv 2210.02885): singular values, not their squares, of the matrix as it is, not
    centred. So a mean that all embeddings share counts as one large direction, and lowers it.

    Args:
        emb: [N, D].
    """
    gram = np.zeros((emb.shape[1], emb.shape[1]))
    for start in range(0, len(emb), _CHUNK):
        part = emb[start : start + _CHUNK].astype(np.float64)
        gram += part.T @ part
    # The squares cost half of float64's digits, and leave as many as float32 embeddings have.
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0))
    share = singular / singular.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))
