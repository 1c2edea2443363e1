"""Metrics of one column of scores: average precision and the area under the ROC curve.

They say how well a class's scores tell the pictures that show it from those that do not, and serve
the detection of foreign pictures as well. Scores that are equal stand at one threshold, in any
order: precision and recall are read behind all of them, and a tie counts as half a win in the
ROC-AUC. So does scikit-learn, and a score that is always the same is at chance. A score that is not
a number ranks last.
"""

from typing import NamedTuple

import numpy as np

VARIANTS = ("area", "11_point")


class Column(NamedTuple):
    """Counts at the G distinct scores of a column, highest first; [G] each.

    Attributes:
        hits: right ones with at least this score.
        alarms: wrong ones with at least this score.
    """

    hits: np.ndarray
    alarms: np.ndarray


def count_column(scores: np.ndarray, right: np.ndarray) -> Column:
    """Count right and wrong ones down the distinct scores.

    Args:
        scores: [I] float.
        right: [I] bool.
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-scores, kind="stable")
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    right = right[order].astype(np.int64)
    return Column(np.cumsum(right)[last_of_equals], np.cumsum(1 - right)[last_of_equals])


def average_precision(
    scores: np.ndarray, right: np.ndarray, *, interpolation: str = "area"
) -> float:
    """Return the average precision; NaN if nothing is right.

    Args:
        scores: [I] float, higher is more likely right.
        right: [I] bool.
        interpolation: "area", the sum over thresholds of precision times the rise in recall (what
            scikit-learn calls average precision; also VOC's from 2010 on, but for its envelope);
            "11_point", the mean over recalls 0, 0.1, ..., 1 of the best precision at no less
            recall (PASCAL VOC up to 2009).

    Raises:
        ValueError: for another interpolation.
    """
    if interpolation not in VARIANTS:
        raise ValueError(f"interpolation is one of {VARIANTS}, not {interpolation!r}.")
    hits, alarms = count_column(scores, right)
    if not hits[-1]:
        return float("nan")
    precision, recall = hits / (hits + alarms), hits / hits[-1]
    if interpolation == "area":
        return float(np.sum(np.diff(recall, prepend=0.0) * precision))
    best = np.maximum.accumulate(precision[::-1])[::-1]
    # Tenths of a count are compared as whole numbers: 0.3 of 10 is more than 3 in floats.
    places = [np.searchsorted(10 * hits, tenth * hits[-1]) for tenth in range(11)]
    return float(np.mean(best[places]))


def roc_auc(scores: np.ndarray, right: np.ndarray) -> float:
    """Return the area under the ROC curve: the share of (right, wrong) pairs in the right order, a
    tie counting half. NaN if there are none of one kind.

    Args:
        scores: [I] float, higher is more likely right.
        right: [I] bool.
    """
    hits, alarms = count_column(scores, right)
    if not hits[-1] or not alarms[-1]:
        return float("nan")
    new_hits, new_alarms = np.diff(hits, prepend=0), np.diff(alarms, prepend=0)
    beaten = alarms[-1] - alarms  # wrong ones below
    return float(np.sum(new_hits * (beaten + new_alarms / 2)) / (hits[-1] * alarms[-1]))


def false_alarms_at(scores: np.ndarray, right: np.ndarray, *, recall: float = 0.95) -> float:
    """Return the share of wrong ones at the first threshold with at least this recall; NaN if
    there are none of one kind.

    Args:
        scores: [I] float, higher is more likely right.
        right: [I] bool.
        recall: in (0, 1].
    """
    hits, alarms = count_column(scores, right)
    if not hits[-1] or not alarms[-1]:
        return float("nan")
    place = int(np.argmax(hits >= recall * hits[-1]))
    return float(alarms[place] / alarms[-1])


def evaluate_columns(
    scores: np.ndarray, right: np.ndarray, *, interpolation: str = "area"
) -> tuple[dict[str, float], dict[str, float], np.ndarray]:
    """Score a multi-label classification, class by class.

    Args:
        scores: [I, C] float.
        right: [I, C] bool; any number of classes an image.
        interpolation: of the average precision.

    Returns:
        Metrics `mAP` (macro mean over the classes with right images) and `roc_auc` (over those
        with both right and wrong ones); the same for a score that knows nothing; and the average
        precision of each class, [C], NaN where none is right.

    Raises:
        ValueError: if no class has a right image.
    """
    share = right.mean(axis=0)
    if not share.any():
        raise ValueError("no class has a right image: there is nothing to score.")
    columns = range(scores.shape[1])
    precision = np.array(
        [average_precision(scores[:, c], right[:, c], interpolation=interpolation) for c in columns]
    )
    metrics = {"mAP": float(np.nanmean(precision))}
    # One threshold, behind all images: whatever the interpolation, precision is the share.
    chance = {"mAP": float(share[share > 0].mean())}
    split = np.flatnonzero((share > 0) & (share < 1))
    if len(split):
        metrics["roc_auc"] = float(np.mean([roc_auc(scores[:, c], right[:, c]) for c in split]))
        chance["roc_auc"] = 0.5
    return metrics, chance, precision
