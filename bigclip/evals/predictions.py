"""What a classifier predicts for each image, with how much confidence, and what it confuses."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bigclip.evals.ranks.ranking import TIE_TOLERANCE
from bigclip.evals.zero_shot.calibration import confidences


class Predictions(NamedTuple):
    """The first class of each of I images.

    Attributes:
        first: [I] int, the class with the highest score; of equals the first.
        confidence: [I], its softmax probability.
        correct: [I], the probability that it is the right one, where ties are broken by lot;
            zeros without labels.
        correct_in: name of a hierarchy -> [I], likewise for the parents of the classes.
    """

    first: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    correct_in: dict[str, np.ndarray]


def predict(
    blocks: Iterable[tuple[slice, np.ndarray]],
    num_images: int,
    class_of: np.ndarray | None = None,
    parents: Mapping[str, np.ndarray] | None = None,
) -> Predictions:
    """Go through the scores once.

    Args:
        blocks: from `class_scores.score_blocks`, with the task's temperature.
        num_images: I.
        class_of: [I] int, the right classes, where there is one for each image.
        parents: name of a hierarchy -> [C] int, the parent of each class.
    """
    parents = dict(parents or {})
    first = np.zeros(num_images, np.int64)
    confidence, correct = np.zeros(num_images), np.zeros(num_images)
    correct_in = {name: np.zeros(num_images) for name in parents}
    for rows, scores in blocks:
        scores = np.where(np.isnan(scores), -np.inf, scores)
        first[rows], confidence[rows] = scores.argmax(axis=1), confidences(scores)
        if class_of is None:
            continue
        right = class_of[rows]
        share = first_by_lot(scores)
        correct[rows] = np.take_along_axis(share, right[:, None], axis=1)[:, 0]
        for name, parent in parents.items():
            same = parent[None, :] == parent[right][:, None]
            correct_in[name][rows] = np.sum(share, axis=1, where=same)
    return Predictions(first, confidence, correct, correct_in)


def first_by_lot(scores: np.ndarray) -> np.ndarray:
    """Return the probability of each class to be the first, where ties are broken by lot.

    Args:
        scores: [I, C]; what is not a finite number is never first.

    Returns:
        [I, C]; each row sums to 1, or to 0 where no score is a number.
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    best = scores.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        tolerance = TIE_TOLERANCE * np.maximum(np.abs(scores), np.abs(best))
        tied = np.isfinite(scores) & (scores >= best - tolerance)
    return tied / np.maximum(tied.sum(axis=1, keepdims=True), 1)


def class_means(values: np.ndarray, class_of: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the mean of `values` over each class's images, [C]; NaN for a class without any.

    `np.nanmean` of it is the mean over the classes that occur.

    Args:
        values: [I], of each image, or bool.
        class_of: [I] int.
        num_classes: C.
    """
    count = np.bincount(class_of, minlength=num_classes)
    total = np.bincount(class_of, weights=values, minlength=num_classes)
    return np.divide(total, count, out=np.full(num_classes, np.nan), where=count > 0)


def confusions(
    first: np.ndarray,
    class_of: np.ndarray,
    correct: np.ndarray,
    labels: Sequence[str],
    names: Sequence[str],
    *,
    num_classes: int = 12,
    num_others: int = 3,
) -> list[dict[str, Any]]:
    """Say what the worst classes are taken for.

    Args:
        first: [I] int, the predicted classes.
        class_of: [I] int, the right ones.
        correct: [I] in [0, 1], from `predict`.
        labels, names: of each of the C classes.
        num_classes: how many classes to return, at most.
        num_others: classes that each is taken for, at most.

    Returns:
        The classes of the lowest accuracy, lowest first, of equals those of more images:
        {"label", "name", "images", "top1", "confused_with": [{"name", "share"}]}, shares of the
        class's images, most frequent first. Classes that are never mistaken are left out.
    """
    images = np.bincount(class_of, minlength=len(labels))
    accuracy = class_means(correct, class_of, len(labels))
    order = np.lexsort((-images, accuracy))  # a class without images compares as false
    order = [c for c in order if accuracy[c] < 1.0][:num_classes]
    found = []
    for c in order:
        taken = np.bincount(first[class_of == c], minlength=len(labels))
        taken[c] = 0
        others = [other for other in np.argsort(-taken, kind="stable")[:num_others] if taken[other]]
        found.append(
            {
                "label": labels[c],
                "name": names[c],
                "images": int(images[c]),
                "top1": round(float(accuracy[c]), 4),
                "confused_with": [
                    {"name": names[other], "share": round(float(taken[other] / images[c]), 4)}
                    for other in others
                ],
            }
        )
    return found
