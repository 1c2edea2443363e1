"""How well a probe does: metrics of logits, and what they are for each class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bigclip.evals import multi_label
from bigclip.evals.predictions import class_means, confusions, first_by_lot
from bigclip.evals.probes.targets import Targets
from bigclip.evals.ranks import recall
from bigclip.evals.ranks.ranking import TIE_TOLERANCE, Ranks

_FEW = 5  # top-5 of no more classes is always right


def measure(
    logits: np.ndarray, targets: np.ndarray, *, interpolation: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the metrics of a classification, and what they are for one that knows nothing.

    Ties are broken by lot: every metric is its expectation. A row whose logits are no numbers is
    wrong; of several labels it ranks last.

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
    _, right = _first(logits, targets)
    means = class_means(right, targets, count)
    metrics = {"top1": float(right.mean()), "mean_per_class": float(np.nanmean(means))}
    chance = {"top1": 1 / count, "mean_per_class": 1 / count}
    if count > _FEW:
        metrics["top5"] = float(recall.hits(_ranks(logits, targets), _FEW).mean())
        chance["top5"] = _FEW / count
    if count == 2 and 0 < targets.mean() < 1:
        metrics["roc_auc"] = multi_label.roc_auc(logits[:, 1] - logits[:, 0], targets == 1)
        chance["roc_auc"] = 0.5
    return metrics, chance


def over_folds(found: Sequence[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the means over folds, and the standard deviations as ".../std".

    A metric that some folds lack (ROC-AUC, where a fold tests one class alone) is that of the
    others.
    """
    values = {name: [one[name] for one in found if name in one] for all_ in found for name in all_}
    means = {name: float(np.mean(mine)) for name, mine in values.items()}
    spread = {
        f"{name}/std": float(np.std(mine, ddof=1)) for name, mine in values.items() if len(mine) > 1
    }
    return means, spread


def by_class(
    classes: Targets, logits: np.ndarray, targets: np.ndarray, *, interpolation: str
) -> dict[str, Any]:
    """Return the report's details: `per_class`, and of single labels `confusions`.

    Args:
        classes: their labels and names.
        logits, targets, interpolation: as for `measure`.
    """
    if classes.is_multi:
        _, _, values = multi_label.evaluate_columns(logits, targets, interpolation=interpolation)
        images, key = targets.sum(axis=0), "ap"
    else:
        first, right = _first(logits, targets)
        images = np.bincount(targets, minlength=len(classes.classes))
        values, key = class_means(right, targets, len(classes.classes)), "top1"
    per_class = {
        label: {"name": name, "images": int(n), key: round(float(value), 4)}
        for label, name, n, value in zip(
            classes.classes, classes.names, images, values, strict=True
        )
        if n
    }
    if classes.is_multi:
        return {"per_class": per_class}
    # What is taken for no class is taken for no other.
    first = np.where(first < 0, targets, first)
    confused = confusions(first, targets, right, classes.classes, classes.names)
    return {"per_class": per_class, "confusions": confused}


def _first(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first class of each row, -1 for none, and the probability that it is right."""
    share = first_by_lot(logits)
    right = np.take_along_axis(share, targets[:, None], axis=1)[:, 0]
    return np.where(share.any(axis=1), share.argmax(axis=1), -1), right


def _ranks(logits: np.ndarray, targets: np.ndarray) -> Ranks:
    is_number = np.isfinite(logits)
    own = np.take_along_axis(logits, targets[:, None], axis=1)
    others = np.where(is_number, logits, -np.inf)
    tolerance = TIE_TOLERANCE * np.maximum(np.abs(np.where(is_number, logits, 0)), np.abs(own))
    with np.errstate(invalid="ignore"):  # rows that are lost anyway
        better = (others > own + tolerance).sum(axis=1)
        tied = (np.abs(others - own) <= tolerance).sum(axis=1) - 1
    lost = ~np.isfinite(own[:, 0])
    count = logits.shape[1]
    one = np.ones(len(own), int)
    return Ranks(np.where(lost, count, better), np.where(lost, 0, tied), one, one, own[:, 0], count)
