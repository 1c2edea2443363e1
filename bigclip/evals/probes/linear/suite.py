"""Suite `linear_probe`: logistic regression on frozen features, as the CLIP paper has it.

The protocol of arXiv 2103.00020, appendix A.3: the features before the projection, without
augmentation; L-BFGS on all training rows, at most 1,000 iterations; the strength of the penalty by
a halving search on validation rows; then a classifier of training and validation rows at that
strength, and its score on the test rows.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bigclip.config import ConfigError, choose
from bigclip.evals import multi_label
from bigclip.evals.embedding import Model
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.probes.labelled import check_apart, check_positive
from bigclip.evals.probes.labels import held_out_rows, read_targets
from bigclip.evals.probes.linear import folds as fold_plans
from bigclip.evals.probes.linear import measures
from bigclip.evals.probes.linear.logistic import MAX_ITER, LogisticRegression
from bigclip.evals.probes.linear.saved import Probe, linear, scaled
from bigclip.evals.probes.linear.sweep import Sweep, search_strength
from bigclip.evals.sets import EvalSet

NORMALIZE = {"none": None, "l2": None, "standardize": None}
SELECT_BY = {False: ("top1", "mean_per_class"), True: ("mAP",)}


class _Trained(NamedTuple):
    probe: Probe
    sweep: Sweep
    converged: bool
    objective: float
    logits: np.ndarray  # of the test rows


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
            `bigclip.evals.probes.linear.folds`. Metrics are then means over the folds, beside ".../std".
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

    kind = "linear_probe"

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
            check_positive(strength, "strength")
        check_positive(max_iter, "max_iter", whole=True)
        if not 0 < held_out < 1:
            raise ConfigError(f"held_out = {held_out} must be between 0 and 1.")
        if isinstance(layers, str) or not layers:
            raise ConfigError(f"layers must be a list of names, not {layers!r}.")
        self._sets = {"test": test, "train": train, "val": val}
        self._sets = {name: one for name, one in self._sets.items() if one is not None}
        _check_folds(folds, self._sets)
        records = {name: one.records for name, one in self._sets.items()}
        check_apart(records)
        self._targets = read_targets(label, records, "test" if train is None else "train")
        self._layers, self._normalize, self._strength = tuple(layers), normalize, strength
        valid = SELECT_BY[self._targets.is_multi]
        self._select_by = select_by or valid[0]
        choose(self._select_by, dict.fromkeys(valid), "select_by")
        self._ap, self._held_out, self._seed, self._max_iter = ap, held_out, seed, max_iter
        self._folds = self._plan(folds, records)

    def evaluate(self, model: Model) -> Evaluation:
        """Take the features, choose strengths, fit, and classify the test set."""
        features = {name: one.features(model, self._layers) for name, one in self._sets.items()}
        metrics, arrays, details = {}, {}, {"sweep": [], "strength": {}, "seconds": {}}
        chance: dict[str, float] = {}
        unconverged, others = 0, [name for name in self._sets if name != "test"]
        for position, layer in enumerate(self._layers):
            started = time.monotonic()
            of_layer = {
                name: _vectors(found[layer], layer, model) for name, found in features.items()
            }
            trained = [self._train(layer, of_layer, fold) for fold in self._folds]
            found, chance, shown = self._measure(trained)
            prefix = f"layer={layer}/" if position else ""
            metrics |= {prefix + name: value for name, value in found.items()}
            details["seconds"][layer] = round(time.monotonic() - started, 3)
            details["strength"][layer] = [one.probe.strength for one in trained]
            unconverged += sum(not one.converged for one in trained)
            if not position:
                details |= shown | {"layer": layer}
            for fold, one in zip(self._folds, trained, strict=True):
                part = prefix + (f"fold={fold.name}/" if len(self._folds) > 1 else "")
                arrays |= {part + name: value for name, value in one.probe.arrays().items()}
                details["sweep"] += [
                    {"layer": layer, **({"fold": fold.name} if len(trained) > 1 else {}), **tried}
                    for tried in one.sweep.tried
                ]
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

    def _plan(self, folds, records) -> list[fold_plans.Fold]:
        if isinstance(folds, str):
            return fold_plans.official_folds(folds, records["test"], records.get("train"))
        if folds is not None:
            return fold_plans.stratified_folds(self._targets.of["test"], folds, self._seed)
        every = {name: np.arange(len(rows)) for name, rows in self._targets.of.items()}
        return [fold_plans.Fold("", every["train"], every["test"])]

    def _train(
        self, layer: str, features: dict[str, np.ndarray], fold: fold_plans.Fold
    ) -> _Trained:
        """Choose the strength, fit, and classify the test rows of one fold."""
        source = "train" if "train" in features else "test"
        targets = self._targets.of
        inputs, outputs = features[source][fold.train], targets[source][fold.train]
        inputs = scaled(inputs, self._normalize)
        shift, scale = np.zeros(inputs.shape[1]), np.ones(inputs.shape[1])
        if self._normalize == "standardize":
            shift, scale = inputs.mean(axis=0), inputs.std(axis=0)
            scale = np.where(scale > 0, scale, 1)
            inputs = (inputs - shift) / scale
        if "val" in features:
            val = (scaled(features["val"], self._normalize) - shift) / scale
            val_targets = targets["val"]
        else:
            held = held_out_rows(outputs, self._held_out, self._seed)
            val, val_targets = inputs[held], outputs[held]
            if self._strength is None:
                inputs, outputs = inputs[~held], outputs[~held]
        if not len(val) and self._strength is None:
            raise ConfigError(
                "no class has two training records, so that none can be held out to choose the "
                "strength. Give a set `val`, or fix `strength`."
            )
        data = LogisticRegression(inputs, outputs, len(self._targets.classes))
        if self._strength is None:
            sweep = search_strength(
                data,
                lambda kernel, bias: self._select(linear(val, kernel, bias), val_targets),
                max_iter=self._max_iter,
            )
            strength, start = sweep.strength, (sweep.kernel[None], sweep.bias[None])
            data = data.with_rows(val, val_targets)
        else:
            strength, start = float(self._strength), None
            sweep = Sweep(strength, np.empty(0), np.empty(0), [], 0.0)
            if "val" in features:
                data = data.with_rows(val, val_targets)
        fit = data.fit([strength], start=start, max_iter=self._max_iter)
        kernel = fit.kernel[0] / scale[:, None]
        probe = Probe(
            kernel=kernel.astype(np.float32),
            bias=(fit.bias[0] - shift @ kernel).astype(np.float32),
            classes=self._targets.classes,
            layer=layer,
            strength=strength,
            normalize="l2" if self._normalize == "l2" else "none",
            is_multi=self._targets.is_multi,
        )
        logits = probe.scores(features["test"][fold.test])
        return _Trained(probe, sweep, bool(fit.converged[0]), float(fit.objective[0]), logits)

    def _select(self, logits: np.ndarray, targets: np.ndarray) -> float:
        if targets.ndim == 2:  # a label that no validation row has cannot be scored
            seen = targets.any(axis=0)
            logits, targets = logits[:, seen], targets[:, seen]
        return measures.measure(logits, targets, interpolation=self._ap)[0][self._select_by]

    def _measure(self, trained: Sequence[_Trained]) -> tuple[dict, dict, dict[str, Any]]:
        """Return metrics, chance and details of one layer, over its folds."""
        rows = [fold.test for fold in self._folds]
        of_folds, chance = [], {}
        for one, mine in zip(trained, rows, strict=True):
            found, chance = measures.measure(
                one.logits, self._targets.of["test"][mine], interpolation=self._ap
            )
            of_folds.append(found)
        metrics = {name: float(np.mean([one[name] for one in of_folds])) for name in of_folds[0]}
        if len(of_folds) > 1:
            for name in list(metrics):
                metrics[f"{name}/std"] = float(np.std([one[name] for one in of_folds], ddof=1))
        logits = np.concatenate([one.logits for one in trained])
        targets = self._targets.of["test"][np.concatenate(rows)]
        shown = {
            "normalize": self._normalize,
            "select_by": self._select_by,
            "objective": [one.objective for one in trained],
            "per_fold": of_folds if len(of_folds) > 1 else [],
        }
        return (
            metrics,
            chance,
            shown | measures.by_class(self._targets, logits, targets, interpolation=self._ap),
        )


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


def _vectors(found: np.ndarray, layer: str, model: Model) -> np.ndarray:
    if found.ndim != 2:
        raise ConfigError(
            f"layers: {layer!r} gives features of the shape {list(found.shape[1:])} an image; a "
            f"linear probe needs one vector. The layers are {', '.join(model.image_layers)}."
        )
    return np.asarray(found, np.float32)
