"""How well a probe does: metrics of logits, and what they are for each class."""

from typing import Any

import numpy as np

from bigclip.evals import multi_label
from bigclip.evals.predictions import confusions
from bigclip.evals.probes.labelled import mean_per_class
from bigclip.evals.probes.labels import Targets

_FEW = 5  # top-5 of no more classes is always right


def measure(
    logits: np.ndarray, targets: np.ndarray, *, interpolation: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the metrics of a classification, and what they are for one that knows nothing.

    Args:
        logits: [I, K].
        targets: int [I], the class of each row; or bool [I, K], its labels.
        interpolation: of the average precision, see `multi_label.average_precision`.

    Returns:
        `top1`, `mean_per_class`, with more than five classes `top5`, with two `roc_auc`; of several
        labels `mAP` and `roc_auc`.
    """
    if targets.ndim == 2:
        metrics, chance, _ = multi_label.evaluate_columns(
            logits, targets, interpolation=interpolation
        )
        return metrics, chance
    count = logits.shape[1]
    right = logits.argmax(axis=1) == targets
    metrics = {"top1": float(right.mean()), "mean_per_class": mean_per_class(right, targets)}
    chance = {"top1": 1 / count, "mean_per_class": 1 / count}
    if count > _FEW:
        own = np.take_along_axis(logits, targets[:, None], axis=1)
        metrics["top5"] = float(((logits > own).sum(axis=1) < _FEW).mean())
        chance["top5"] = _FEW / count
    if count == 2 and 0 < targets.mean() < 1:
        metrics["roc_auc"] = multi_label.roc_auc(logits[:, 1] - logits[:, 0], targets == 1)
        chance["roc_auc"] = 0.5
    return metrics, chance


def by_class(
    classes: Targets, logits: np.ndarray, targets: np.ndarray, *, interpolation: str
) -> dict[str, Any]:
    """Return the report's details: `per_class`, and of single labels `confusions`.

    Args:
        classes: their labels and names.
        logits, targets, interpolation: as for `measure`.
    """
    if classes.is_multi:
        _, _, precision = multi_label.evaluate_columns(logits, targets, interpolation=interpolation)
        images, values, key = targets.sum(axis=0), precision, "ap"
    else:
        first = logits.argmax(axis=1)
        right = (first == targets).astype(float)
        images = np.bincount(targets, minlength=len(classes.classes))
        hits = np.bincount(targets, weights=right, minlength=len(classes.classes))
        values, key = hits / np.maximum(images, 1), "top1"
    per_class = {
        label: {"name": name, "images": int(n), key: round(float(value), 4)}
        for label, name, n, value in zip(
            classes.classes, classes.names, images, values, strict=True
        )
        if n
    }
    if classes.is_multi:
        return {"per_class": per_class}
    confused = confusions(first, targets, right, classes.classes, classes.names)
    return {"per_class": per_class, "confusions": confused}
