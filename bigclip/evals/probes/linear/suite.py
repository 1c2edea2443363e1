"""Suite `linear_probe`: logistic regression on frozen features, as the CLIP paper has it.

The protocol of arXiv 2103.00020, appendix A.3: the features before the projection, without
augmentation; L-BFGS on all training rows, at most 1,000 iterations; the strength of the penalty by
a halving search on validation rows; then a classifier of training and validation rows at that
strength, and its score on the test rows.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bigclip.config import ConfigError, choose
from bigclip.evals import multi_label, options
from bigclip.evals.embedding import Model
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.probes.frozen import features_of
from bigclip.evals.probes.held_out import hold_out
from bigclip.evals.probes.linear import folds as fold_plans
from bigclip.evals.probes.linear import measures
from bigclip.evals.probes.linear.logistic import MAX_ITER
from bigclip.evals.probes.linear.training import Part, Recipe, Trained, train_probe
from bigclip.evals.probes.targets import class_shares, read_targets
from bigclip.evals.sets import EvalSet

NORMALIZE = {"none": None, "l2": None, "standardize": None}
SELECT_BY = {False: ("top1", "mean_per_class"), True: ("mAP",)}


class LinearProbe:
    """Classify a set by a linear classifier of a frozen tower's features.

    Labels that are lists make it a multi-label suite: one binary classifier a label, with one
    strength for all.

    Args:
        test: what is classified.
        train: what is learned from; its labels are the classes. May be left out with `folds`.
        val: what chooses the strength. Without it, a part of the training rows does.
        label: the metadata key that holds a record's class, or the list of its labels; "label" or
            "concept" by default.
        layers: image features, names of `model.image_layers` of one vector per image. Metrics of
            the first one have plain names, those of the others begin with "layer=NAME/".
        folds: a metadata key, or a number of stratified folds of the test set; see
            `bigclip.evals.probes.linear.folds`. Metrics are then means over the folds, beside
            ".../std".
        normalize: "none" as published; "l2" divides features by their length; "standardize" brings
            each to mean 0 and variance 1 of the training rows.
        strength: fixes the penalty's strength (scikit-learn's 1 / C) instead of the search.
        select_by: what the search compares: "top1" or "mean_per_class", of several labels "mAP".
            By default the first that applies.
        ap: how average precision is interpolated: "area" or "11_point" (VOC 2007, as published).
        held_out: share of every class that chooses the strength where there is no `val`.
        seed: decides which rows that are, and stratified folds.
        max_iter: of L-BFGS.

    Raises:
        ConfigError: for options, sets and labels that do not fit.
    """

    def __init__(
        self,
        test: EvalSet,
        train: EvalSet | None = None,
        val: EvalSet | None = None,
        *,
        label: str | None = None,
        layers: Sequence[str] = ("pooled",),
        folds: str | int | None = None,
        normalize: str = "none",
        strength: float | None = None,
        select_by: str | None = None,
        ap: str = "area",
        held_out: float = 0.2,
        seed: int = 0,
        max_iter: int = MAX_ITER,
    ):
        choose(normalize, NORMALIZE, "normalize")
        choose(ap, dict.fromkeys(multi_label.VARIANTS), "ap")
        if strength is not None:
            options.positive(strength, "strength")
        options.whole(max_iter, "max_iter")
        options.share(held_out, "held_out")
        options.seed(seed)
        self._layers = tuple(options.several(layers, "layers", options.text))
        sets = {"test": test, "train": train, "val": val}
        self._sets = {name: one for name, one in sets.items() if one is not None}
        _check_folds(folds, self._sets)
        records = {name: one.records for name, one in self._sets.items()}
        self._learnt = "test" if train is None else "train"
        self._targets = read_targets(label, records, self._learnt)
        valid = SELECT_BY[self._targets.is_multi]
        select_by = select_by or valid[0]
        choose(select_by, dict.fromkeys(valid), "select_by")
        self._recipe = Recipe(normalize, strength, select_by, ap, max_iter)
        self._folds = self._plan(folds, records, seed)
        self._held = [self._hold_out(fold, held_out, seed) for fold in self._folds]

    def evaluate(self, model: Model) -> Evaluation:
        """Take the features, choose strengths, fit, and classify the test set.

        Features that are not finite are those of a model that has diverged: what needs them is
        wrong.
        """
        features = {
            name: dict(zip(self._layers, features_of(one, model, self._layers), strict=True))
            for name, one in self._sets.items()
        }
        metrics, chance, arrays, unconverged = {}, {}, {}, 0
        details: dict[str, Any] = {"sweep": [], "strength": {}, "seconds": {}}
        for position, layer in enumerate(self._layers):
            started = time.monotonic()
            mine = {name: layers[layer] for name, layers in features.items()}
            trained = [self._train(layer, mine, number) for number in range(len(self._folds))]
            found, expected, shown = self._measure(trained)
            prefix = f"layer={layer}/" if position else ""
            metrics |= {prefix + name: value for name, value in found.items()}
            chance |= {prefix + name: value for name, value in expected.items()}
            details["seconds"][layer] = round(time.monotonic() - started, 3)
            strengths = [one.probe.strength for one in trained]
            details["strength"][layer] = [s if np.isfinite(s) else None for s in strengths]
            unconverged += sum(not one.converged for one in trained)
            if not position:
                details |= shown | {"layer": layer}
            for fold, one in zip(self._folds, trained, strict=True):
                part = prefix + (f"fold={fold.name}/" if len(self._folds) > 1 else "")
                arrays |= {part + name: value for name, value in one.probe.arrays().items()}
                of_fold = {"fold": fold.name} if len(trained) > 1 else {}
                details["sweep"] += [{"layer": layer, **of_fold, **tried} for tried in one.tried]
        others = [name for name in self._sets if name != "test"]
        return Evaluation(
            metrics=metrics,
            chance=chance,
            counts={
                "images": len(self._targets.of["test"]),
                "classes": len(self._targets.classes),
                "folds": len(self._folds),
                "not_converged": unconverged,
                **{f"{name}_images": len(self._targets.of[name]) for name in others},
            },
            details=details,
            arrays=arrays,
        )

    def _plan(self, folds, records, seed: int) -> list[fold_plans.Fold]:
        if isinstance(folds, str):
            return fold_plans.official_folds(folds, records["test"], records.get("train"))
        if folds is not None:
            return fold_plans.stratified_folds(self._targets.of["test"], folds, seed)
        every = {name: np.arange(len(rows)) for name, rows in self._targets.of.items()}
        return [fold_plans.Fold("", every["train"], every["test"])]

    def _hold_out(self, fold: fold_plans.Fold, share: float, seed: int) -> np.ndarray | None:
        """Choose the rows that choose the strength, and check what is left of every class."""
        of, held = self._targets.of, None
        learnt, chosen_by = of[self._learnt][fold.train], of.get("val")
        if self._recipe.strength is None and chosen_by is None:
            held = hold_out(learnt, share, seed)
            learnt, chosen_by = learnt[~held], learnt[held]
            if not held.any():
                raise ConfigError(
                    "no class has two training records, so that none can be held out to choose the "
                    "strength. Give a set `val`, or fix `strength`."
                )
        where = f"{self._learnt}, fold {fold.name}" if fold.name else self._learnt
        shares = class_shares(learnt, len(self._targets.classes))
        lacking = np.flatnonzero((shares == 0) | (shares == 1))
        if len(lacking):
            label = self._targets.classes[lacking[0]]
            raise ConfigError(
                f"{where}: {'every' if shares[lacking[0]] else 'no'} record that is learned from "
                f"has the label {label!r}: there is nothing to tell apart. Give more records, or "
                "leave those of this label out by `where`."
            )
        scored = {"the test records": of["test"][fold.test]}
        if self._recipe.strength is None:
            scored["the records that choose the strength"] = chosen_by
        for what, targets in scored.items():
            if targets.ndim == 2 and not targets.any():
                raise ConfigError(f"{where}: {what} have no label: there is nothing to score.")
        return held

    def _train(self, layer: str, features: dict[str, np.ndarray], number: int) -> Trained:
        fold, of = self._folds[number], self._targets.of
        return train_probe(
            self._recipe,
            self._targets.classes,
            self._targets.names,
            layer,
            train=Part(features[self._learnt][fold.train], of[self._learnt][fold.train]),
            held=self._held[number],
            val=Part(features["val"], of["val"]) if "val" in features else None,
            test=features["test"][fold.test],
        )

    def _measure(self, trained: Sequence[Trained]) -> tuple[dict, dict, dict[str, Any]]:
        """Return metrics, chance and details of one layer, over its folds."""
        rows, of = [fold.test for fold in self._folds], self._targets.of["test"]
        ap = self._recipe.interpolation
        found = [
            measures.measure(one.logits, of[mine], interpolation=ap)
            for one, mine in zip(trained, rows, strict=True)
        ]
        metrics, spread = measures.over_folds([one for one, _ in found])
        chance, _ = measures.over_folds([one for _, one in found])
        logits = np.concatenate([one.logits for one in trained])
        shown = {
            "normalize": self._recipe.normalize,
            "select_by": self._recipe.select_by,
            "per_fold": [one for one, _ in found] if len(found) > 1 else [],
        }
        targets = of[np.concatenate(rows)]
        shown |= measures.by_class(self._targets, logits, targets, interpolation=ap)
        return metrics | spread, chance, shown


def _check_folds(folds: Any, sets: dict[str, EvalSet]) -> None:
    if folds is None:
        if "train" not in sets:
            raise ConfigError("train is missing: what is the probe to learn from? Or set `folds`.")
        return
    if isinstance(folds, bool) or not isinstance(folds, int | str):
        raise ConfigError(f"folds = {folds!r}: a metadata key, or a number of folds.")
    if isinstance(folds, int) and folds < 2:
        raise ConfigError(f"folds = {folds}: needs at least 2.")
    if isinstance(folds, int) and "train" in sets:
        raise ConfigError(
            f"folds = {folds} cuts one set into training and test rows: leave `train` out, or name "
            "the metadata key of official folds."
        )
    if "val" in sets:
        raise ConfigError(
            "folds: the strength is chosen on held-out training rows of each fold; leave `val` out."
        )
