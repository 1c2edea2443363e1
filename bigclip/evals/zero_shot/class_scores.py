"""From the outputs of prompts to scores of classes: prompt ensembles, and all scores in blocks."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bigclip.evals.embedding import Model, are_vectors, unit
from bigclip.evals.ranks import ranking
from bigclip.evals.ranks.tiles import Grid


class Ensemble(NamedTuple):
    """Images and classes, ready to be scored against each other.

    Attributes:
        kind: "embeddings" if a class is the mean of its prompts' embeddings, "scores" if its score
            is the mean of its prompts' scores.
        images: outputs of the images, leading axis I.
        classes: outputs of the classes, leading axis C.
        scoring: `score_fn` and `params` that rank the classes; of embeddings, the cosine.
        logits: `score_fn` and `params` of the task's own score, with its temperature; it ranks
            the classes of an image alike, and a softmax over it is the model's own probability.
    """

    kind: str
    images: Any
    classes: Any
    scoring: dict[str, Any]
    logits: dict[str, Any]


def ensemble(
    model: Model, image_outputs: Any, prompt_outputs: Any, prompts_of: Sequence[Sequence[int]]
) -> Ensemble:
    """Make classes of prompts.

    Each prompt's embedding is L2-normalised, a class is the mean of its prompts' embeddings,
    normalised again (arXiv 2103.00020, section 3.1.4). Outputs that are no vectors (trees,
    mixtures, per-token outputs) have no mean: a class's score is then the mean of the task's own
    scores of its prompts.

    Args:
        model: whose outputs they are.
        image_outputs: array [I, D], or a tree.
        prompt_outputs: array [T, D], or a tree.
        prompts_of: the prompts of each of the C classes, as rows of `prompt_outputs`.
    """
    own = {"score_fn": model.task.score, "params": model.score_params}
    if are_vectors(image_outputs, prompt_outputs):
        cosine = {"score_fn": ranking.inner_product, "params": None}
        made = Ensemble("embeddings", None, None, cosine, own)
    else:
        mean = {"score_fn": mean_score(model.task.score), "params": model.score_params}
        made = Ensemble("scores", None, None, mean, mean)
    return with_classes(with_images(made, image_outputs), prompt_outputs, prompts_of)


def with_images(made: Ensemble, image_outputs: Any) -> Ensemble:
    """Return the same classes with other images, as `ensemble` makes them ready."""
    is_cosine = made.kind == "embeddings"
    return made._replace(images=unit(image_outputs) if is_cosine else image_outputs)


def with_classes(
    made: Ensemble, prompt_outputs: Any, prompts_of: Sequence[Sequence[int]]
) -> Ensemble:
    """Return the same images with classes of other prompts, arguments as of `ensemble`."""
    make = ensemble_embeddings if made.kind == "embeddings" else gather_prompts
    return made._replace(classes=make(prompt_outputs, prompts_of))


def score_blocks(
    image_outputs: Any,
    class_outputs: Any,
    *,
    score_fn: ranking.ScoreFn,
    params: Any = None,
    tile: int = 1024,
    devices: Sequence[jax.Device] | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Score all classes for a block of images at a time.

    Args:
        image_outputs: array or tree, leading axis I.
        class_outputs: array or tree, leading axis C.
        score_fn, params, tile, devices: as in `ranking.rank_pairs`.

    Yields:
        Which images, and their scores [i, C] float32 on the host.
    """
    no_pairs = np.zeros((0, 2), np.int64)
    devices = devices or ranking.devices_of(params)
    grid = Grid(image_outputs, class_outputs, no_pairs, tile=tile, devices=devices)
    score = _scores_of_tile(score_fn)
    for i in range(len(grid.image_tiles)):
        start = i * grid.tile_rows
        stop = min(start + grid.tile_rows, grid.num_images)
        parts = [
            np.asarray(score(params, grid.image_tiles[i], grid.text_tiles[j]))
            for j in range(len(grid.text_tiles))
        ]
        scores = np.concatenate(parts, axis=1)[: stop - start, : grid.num_texts]
        yield slice(start, stop), scores


def ensemble_embeddings(prompt_emb: np.ndarray, prompts_of: Sequence[Sequence[int]]) -> np.ndarray:
    """Return class embeddings [C, D]: the normalised mean of normalised prompt embeddings.

    Args:
        prompt_emb: [T, D].
        prompts_of: the prompts of each of the C classes, as rows of `prompt_emb`.
    """
    counts = np.array([len(rows) for rows in prompts_of])
    rows = unit(prompt_emb[np.concatenate([np.asarray(one) for one in prompts_of])])
    totals = np.add.reduceat(rows, np.cumsum(counts) - counts, axis=0)
    return unit(totals / counts[:, None])


def gather_prompts(prompt_outputs: Any, prompts_of: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return per class its prompts' outputs [C, P, ...] and weights [C, P] that sum to 1."""
    most = max(len(rows) for rows in prompts_of)
    index = np.array([[*rows, *rows[:1] * (most - len(rows))] for rows in map(list, prompts_of)])
    weight = np.array(
        [[1 / len(rows)] * len(rows) + [0] * (most - len(rows)) for rows in prompts_of]
    )
    return {
        "prompts": jax.tree.map(lambda leaf: np.asarray(leaf)[index], prompt_outputs),
        "weight": weight.astype(np.float32),
    }


@functools.lru_cache(maxsize=16)
def mean_score(score_fn: Callable) -> Callable:
    """Turn a score of prompts into a score of classes: the weighted mean over their prompts."""

    def score(params: Any, images: Any, classes: dict[str, Any]) -> jax.Array:
        num_classes, num_prompts = classes["weight"].shape
        flat = jax.tree.map(
            lambda leaf: leaf.reshape(num_classes * num_prompts, *leaf.shape[2:]),
            classes["prompts"],
        )
        scores = score_fn(params, images, flat).reshape(-1, num_classes, num_prompts)
        return jnp.sum(scores * classes["weight"], axis=-1)

    return score


@functools.lru_cache(maxsize=16)
def _scores_of_tile(score_fn: ranking.ScoreFn):
    @jax.jit
    def scores(params, images, texts):
        return ranking.tile_scores(score_fn, params, images, texts)

    return scores
