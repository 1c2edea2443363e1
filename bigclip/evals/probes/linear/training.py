"""One probe: features scaled, the strength chosen, a classifier fitted and tried."""

from typing import NamedTuple

import numpy as np
from absl import logging

from bigclip.evals.probes.linear import measures
from bigclip.evals.probes.linear.logistic import LogisticRegression
from bigclip.evals.probes.linear.saved import Probe, linear, scaled
from bigclip.evals.probes.linear.sweep import search_strength


class Recipe(NamedTuple):
    """How a probe is made.

    Attributes:
        normalize: "none", "l2" or "standardize".
        strength: of the penalty; None searches.
        select_by: the metric that the search compares.
        interpolation: of the average precision.
        max_iter: of L-BFGS.
    """

    normalize: str
    strength: float | None
    select_by: str
    interpolation: str
    max_iter: int


class Part(NamedTuple):
    """Rows with what they are: features [I, E], targets int [I] or bool [I, T]."""

    features: np.ndarray
    targets: np.ndarray


class Trained(NamedTuple):
    """A probe and how it came about.

    Attributes:
        probe: of NaN where features that it should learn from were no numbers.
        tried: [{"strength", "val"}] of the search.
        converged: whether the last fit was carried to its end.
        logits: [I, K] of the test rows.
    """

    probe: Probe
    tried: list[dict[str, float]]
    converged: bool
    logits: np.ndarray


def train_probe(
    recipe: Recipe,
    classes: list[str],
    names: list[str],
    layer: str,
    *,
    train: Part,
    held: np.ndarray | None,
    val: Part | None,
    test: np.ndarray,
) -> Trained:
    """Choose the strength, fit, and classify.

    Args:
        recipe: how.
        classes: K labels.
        names: what they are called.
        layer: where the features come from.
        train: what is learned from.
        held: [I] bool, the training rows that choose the strength where there is no `val`; None if
            there is nothing to choose.
        val: what chooses the strength, and is learned from in the end.
        test: features [J, E] to classify.
    """
    inputs, outputs = scaled(train.features, recipe.normalize), train.targets
    shift, scale = np.zeros(inputs.shape[1]), np.ones(inputs.shape[1])
    if recipe.normalize == "standardize":
        shift, scale = inputs.mean(axis=0), inputs.std(axis=0)
        scale = np.where(scale > 0, scale, 1)
        inputs = (inputs - shift) / scale
    if val is not None:
        val = Part((scaled(val.features, recipe.normalize) - shift) / scale, val.targets)
    elif held is not None:
        val = Part(inputs[held], outputs[held])
        inputs, outputs = inputs[~held], outputs[~held]
    strength, tried, converged = recipe.strength, [], False
    if not np.isfinite(inputs).all() or (val is not None and not np.isfinite(val.features).all()):
        logging.warning(
            "%s: the training features hold values that are not finite, so that there is no probe: "
            "the model, or its checkpoint, is broken.",
            layer,
        )
        strength = np.nan if strength is None else strength
        kernel = np.full((inputs.shape[1], len(classes)), np.nan)
        bias = np.full(len(classes), np.nan)
    else:
        data, start = LogisticRegression(inputs, outputs, len(classes)), None
        if strength is None:
            sweep = search_strength(
                data,
                lambda kernel, bias: _score(recipe, linear(val.features, kernel, bias), val),
                max_iter=recipe.max_iter,
            )
            strength, tried = sweep.strength, sweep.tried
            start = sweep.kernel[None], sweep.bias[None]
        if val is not None:
            data = data.with_rows(*val)
        fit = data.fit([strength], start=start, max_iter=recipe.max_iter)
        kernel, converged = fit.kernel[0] / scale[:, None], bool(fit.converged[0])
        bias = fit.bias[0] - shift @ kernel
    probe = Probe(
        kernel=kernel.astype(np.float32),
        bias=bias.astype(np.float32),
        classes=classes,
        names=names,
        layer=layer,
        strength=float(strength),
        normalize="l2" if recipe.normalize == "l2" else "none",
        is_multi=outputs.ndim == 2,
    )
    return Trained(probe, tried, converged, probe.scores(test))


def _score(recipe: Recipe, logits: np.ndarray, val: Part) -> float:
    targets = val.targets
    if targets.ndim == 2:  # a label that no validation row has cannot be scored
        seen = targets.any(axis=0)
        logits, targets = logits[:, seen], targets[:, seen]
    found, _ = measures.measure(logits, targets, interpolation=recipe.interpolation)
    return found[recipe.select_by]
