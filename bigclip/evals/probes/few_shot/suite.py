"""Suite `few_shot`: how much can be told from a few labelled pictures, by ridge regression.

The protocol of big_vision's few-shot evaluator (`evaluators/fewshot_lsr.py`, its settings in
`configs/common_fewshot.py`): 1, 5, 10 and 25 pictures of every class, a closed-form classifier on
frozen features (`bigclip.evals.probes.few_shot.ridge`), a fixed strength of 1,024, and the mean
over 3 draws. A draw of more shots holds those of fewer, so that a curve over shots differs in how
many pictures there are, and not in which.
"""

from collections.abc import Sequence

import numpy as np

from bigclip.config import ConfigError
from bigclip.evals import options
from bigclip.evals.embedding import Model
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.predictions import class_means
from bigclip.evals.probes.few_shot import ridge
from bigclip.evals.probes.frozen import features_of
from bigclip.evals.probes.map_rows import map_rows
from bigclip.evals.probes.targets import read_targets
from bigclip.evals.sets import EvalSet


class FewShot:
    """Classify a set after a few training pictures of every class.

    A class with fewer training pictures than shots gives all that it has; the curve says how many
    such classes there are. (The draw is then not balanced, and a strong regularisation favours the
    larger classes: accuracy may fall with more shots.) A number of shots that no class has is an
    error.

    Args:
        test: what is classified.
        train: where the shots are drawn from; its labels are the classes.
        val: where the strength is chosen, if `strengths` are several: for each number of shots,
            the one with the best mean top-1 over the draws. Never the test set.
        label: the metadata key that holds a record's class; "label" or "concept" by default.
        layer: the image features, a name of `model.image_layers` of one vector per image.
        shots: training pictures per class.
        num_seeds: draws per number of shots.
        strengths: of the regularisation; one is fixed, several need `val`.
        seed: decides the draws.
        tile: test images that are classified at once.

    Raises:
        ConfigError: for options and labels that do not fit.
    """

    def __init__(
        self,
        test: EvalSet,
        train: EvalSet,
        val: EvalSet | None = None,
        *,
        label: str | None = None,
        layer: str = "pooled",
        shots: Sequence[int] = (1, 5, 10, 25),
        num_seeds: int = 3,
        strengths: Sequence[float] = (1024.0,),
        seed: int = 0,
        tile: int = 1024,
    ):
        self._shots = sorted(options.several(shots, "shots", options.whole))
        self._strengths = sorted(options.several(strengths, "strengths", options.positive))
        options.whole(num_seeds, "num_seeds")
        options.seed(seed)
        if (len(self._strengths) > 1) != (val is not None):
            raise ConfigError(
                f"strengths = {self._strengths}: several strengths need a set `val` to choose "
                "among them, and one needs none."
            )
        self._test, self._train, self._val = test, train, val
        self._layer, self._tile = options.text(layer, "layer"), options.whole(tile, "tile")
        sets = {"test": test, "train": train} | ({} if val is None else {"val": val})
        targets = read_targets(
            label, {name: one.records for name, one in sets.items()}, single=True
        )
        self._class_of, self._num_classes = targets.of, len(targets.classes)
        self._sizes = np.bincount(self._class_of["train"])
        if self._shots[-1] > self._sizes.max():
            raise ConfigError(
                f"shots = {self._shots}: no class has {self._shots[-1]} training records, the "
                f"largest has {self._sizes.max()}."
            )
        draws = [
            ridge.draw_shots(
                self._class_of["train"], self._num_classes, self._shots[-1], seed, draw=number
            )
            for number in range(num_seeds)
        ]
        self._rows, self._is_row = (np.stack(parts) for parts in zip(*draws, strict=True))
        self._used = np.unique(self._rows[self._is_row])

    def evaluate(self, model: Model) -> Evaluation:
        """Take the features of the shots and the test set, fit and classify."""
        layers, val = (self._layer,), None
        (train,) = features_of(self._train, model, layers, self._used)
        (test,) = features_of(self._test, model, layers)
        if self._val is not None:
            (val,) = features_of(self._val, model, layers)
        class_of, metrics, chance, curve = self._class_of["test"], {}, {}, []
        for shots in self._shots:
            fits = self._fit(train, shots)
            strength = 0
            if val is not None:
                right = self._classify(fits, val) == self._class_of["val"][:, None, None]
                strength = int(np.argmax(right.mean(axis=(0, 1))))
                fits = fits._replace(
                    weight=fits.weight[:, strength : strength + 1],
                    bias=fits.bias[:, strength : strength + 1],
                )
            right = self._classify(fits, test)[:, :, 0] == class_of[:, None]  # [I, S]
            top1 = right.mean(axis=0)
            name = f"shots={shots}"
            metrics[f"{name}/top1"] = float(top1.mean())
            if len(top1) > 1:
                metrics[f"{name}/std"] = float(top1.std(ddof=1))
            means = class_means(right.mean(axis=1), class_of, self._num_classes)
            metrics[f"{name}/mean_per_class"] = float(np.nanmean(means))
            for key in ("top1", "mean_per_class"):
                chance[f"{name}/{key}"] = 1 / self._num_classes
            curve.append(
                {
                    "shots": shots,
                    "mean": metrics[f"{name}/top1"],
                    "std": metrics.get(f"{name}/std", 0.0),
                    "seeds": top1.tolist(),
                    "strength": self._strengths[strength],
                    "short_classes": int((self._sizes < shots).sum()),
                }
            )
        return Evaluation(
            metrics=metrics,
            chance=chance,
            counts={
                "images": len(class_of),
                "train_images": len(self._used),
                "classes": self._num_classes,
                "seeds": len(self._rows),
            },
            details={"layer": self._layer, "curve": curve},
        )

    def _fit(self, train: np.ndarray, shots: int) -> ridge.Ridge:
        """Fit all draws of so many shots: leaves [S, ...]."""
        rows = self._rows[:, :, :shots]
        num_seeds, num_classes, _ = rows.shape
        is_row = self._is_row[:, :, :shots].reshape(num_seeds, -1)
        class_of = np.broadcast_to(np.arange(num_classes)[None, :, None], rows.shape)
        position = np.searchsorted(self._used, rows.reshape(num_seeds, -1))
        return ridge.fit_draws(
            train[np.where(is_row, position, 0)],
            class_of.reshape(num_seeds, -1),
            is_row,
            np.asarray(self._strengths, np.float32),
            num_classes=num_classes,
        )

    def _classify(self, fits: ridge.Ridge, features: np.ndarray) -> np.ndarray:
        """Return the predicted classes, [I, S, R]."""
        return map_rows(ridge.predict, fits, features, tile=self._tile)
