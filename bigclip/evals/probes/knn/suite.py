"""Suite `knn`: classify by the nearest training pictures, with nothing to train or to tune.

The k training images of the largest cosine vote for their class, each with the weight
exp(cosine / temperature): Wu et al. 2018 (arXiv 1805.01978, section 3.4), as DINO reports it (arXiv
2104.14294, section 4.1; `eval_knn.py`: temperature 0.07, k of 10, 20, 100 and 200, 20 usually
best). Beside it, under `votes/`, every neighbour counts the same.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bigclip.config import ConfigError
from bigclip.evals import options
from bigclip.evals.embedding import Model, unit
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.predictions import class_means
from bigclip.evals.probes.frozen import features_of
from bigclip.evals.probes.map_rows import map_rows
from bigclip.evals.probes.targets import read_targets
from bigclip.evals.ranks import ranking
from bigclip.evals.sets import EvalSet


class Knn:
    """Classify a set by its nearest neighbours in a training set.

    Args:
        test: what is classified.
        train: the neighbours; its labels are the classes.
        label: the metadata key that holds a record's class; "label" or "concept" by default.
        layer: the image features, a name of `model.image_layers` of one vector per image.
        ks: numbers of neighbours; the metrics without a k are those of the first.
        temperature: of the weights.
        tile: largest number of test and of training images that are compared at once.

    Raises:
        ConfigError: for options and labels that do not fit.
    """

    def __init__(
        self,
        test: EvalSet,
        train: EvalSet,
        *,
        label: str | None = None,
        layer: str = "pooled",
        ks: Sequence[int] = (20, 10, 100, 200),
        temperature: float = 0.07,
        tile: int = 1024,
    ):
        self._ks = options.several(ks, "ks", options.whole)
        self._temperature = options.positive(temperature, "temperature")
        self._test, self._train = test, train
        self._layer, self._tile = options.text(layer, "layer"), options.whole(tile, "tile")
        records = {"test": test.records, "train": train.records}
        targets = read_targets(label, records, single=True)
        self._num_classes = len(targets.classes)
        self._class_of, self._train_class = targets.of["test"], targets.of["train"]
        if max(self._ks) > len(self._train_class):
            raise ConfigError(
                f"ks = {self._ks}: there are only {len(self._train_class)} training records."
            )

    def evaluate(self, model: Model) -> Evaluation:
        """Take the features of both sets, find the neighbours and let them vote."""
        (test,), (train,) = (
            features_of(one, model, (self._layer,)) for one in (self._test, self._train)
        )
        cosines, neighbours = nearest(test, train, max(self._ks), tile=self._tile)
        # -1 stands for no neighbour, where no cosine was a number.
        class_of = np.where(neighbours < 0, -1, self._train_class[neighbours])
        cosines = np.where(neighbours < 0, -1.0, cosines)
        metrics, chance = {}, {}
        for k in self._ks:
            weights = np.exp((cosines[:, :k] - cosines[:, :1]) / self._temperature)
            for prefix, votes in (("", weights), ("votes/", np.ones_like(weights))):
                right = vote(class_of[:, :k], votes) == self._class_of
                means = class_means(right, self._class_of, self._num_classes)
                values = {
                    "top1": float(right.mean()),
                    "mean_per_class": float(np.nanmean(means)),
                }
                names = [f"{prefix}k={k}/"] + ([prefix] if k == self._ks[0] else [])
                metrics |= {name + key: value for name in names for key, value in values.items()}
        chance = dict.fromkeys(metrics, 1 / self._num_classes)
        return Evaluation(
            metrics=metrics,
            chance=chance,
            counts={
                "images": len(self._class_of),
                "train_images": len(self._train_class),
                "classes": self._num_classes,
            },
            details={"layer": self._layer, "temperature": self._temperature, "ks": self._ks},
        )


def nearest(
    queries: np.ndarray,
    candidates: np.ndarray,
    k: int,
    *,
    tile: int = 1024,
    devices: Sequence[jax.Device] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosines and the positions of the k nearest candidates, nearest first.

    The matrix of all cosines never exists, see `ranking.top_candidates`.

    Args:
        queries: [I, E].
        candidates: [N, E].
        k: how many, at most N.
        tile: the largest number of rows and of columns of a tile.
        devices: by default all of this process.

    Returns:
        [I, k] float32 and [I, k] int; -inf and -1 where a cosine is no number. Equal cosines stand
        in the order of the candidates.
    """
    return ranking.top_candidates(unit(queries), unit(candidates), k, tile=tile, devices=devices)


def vote(class_of: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the class with the largest sum of weights among each row's neighbours.

    Of classes with equal sums, the one with the nearest neighbour wins.

    Args:
        class_of: [I, k] int, nearest first; -1 is no neighbour.
        weights: [I, k] float.

    Returns:
        [I] int, -1 where there is no neighbour.
    """
    rows = (np.asarray(class_of, np.int32), np.asarray(weights, np.float32))
    # [t, k, k] exists for a tile of t rows: at most 64 MiB of float32.
    tile = max((1 << 24) // rows[0].shape[1] ** 2, 64)
    return map_rows(_vote, (), rows, tile=tile)


def _vote(params, rows):
    del params
    class_of, weights = rows
    same = class_of[:, :, None] == class_of[:, None, :]
    there = (class_of >= 0)[:, None, :]
    totals = jnp.sum(jnp.where(same & there, weights[:, None, :], 0.0), axis=-1)
    # Sums of equal weights in another order may differ in the last bits: still a tie.
    first = jnp.argmax(totals >= totals.max(axis=-1, keepdims=True) * (1 - 1e-6), axis=-1)
    return jnp.take_along_axis(class_of, first[:, None], axis=-1)[:, 0]
