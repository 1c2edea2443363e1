"""Calibration: whether a prediction of 80 % confidence is right in 80 % of the cases.

The expected calibration error of Guo et al. (arXiv 1706.04599, equation 3), in its usual variant:
the confidence is the largest softmax probability over the classes, and the bins are of equal width.

The softmax is over the classes of the task's own score, with its learned temperature, since that
is the probability that a contrastive model was trained to give. Where a model was trained with
sigmoids over pairs (SigLIP), each pair has a probability of its own and the classes' do not sum to
1; the softmax is taken all the same, so that models compare: the learned bias cancels in it.
"""

from typing import Any

import numpy as np


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, *, num_bins: int = 15
) -> tuple[float, list[dict[str, Any]]]:
    """Return the error, and the bins of the reliability diagram.

    Args:
        confidence: [I] in [0, 1], of the predicted class.
        correct: [I] in [0, 1]; between the two where a tie is broken by lot.
        num_bins: bins of equal width; a bin holds its upper edge but not its lower one.

    Returns:
        The mean over images of |accuracy - confidence| of their bin, in [0, 1]; and for each bin
        that holds any, from low to high, {"confidence", "accuracy", "share"}: means within it and
        the share of the images.

    Raises:
        ValueError: if there is no image, or no bin.
    """
    if not len(confidence) or num_bins < 1:
        raise ValueError("the calibration error needs an image and a bin.")
    place = np.ceil(np.asarray(confidence, np.float64) * num_bins).astype(np.int64) - 1
    place = np.clip(place, 0, num_bins - 1)
    count = np.bincount(place, minlength=num_bins)
    total_confidence = np.bincount(place, weights=confidence, minlength=num_bins)
    total_correct = np.bincount(place, weights=correct, minlength=num_bins)
    error = float(np.abs(total_correct - total_confidence).sum() / len(confidence))
    bins = [
        {
            "confidence": round(float(total_confidence[b] / count[b]), 4),
            "accuracy": round(float(total_correct[b] / count[b]), 4),
            "share": round(float(count[b] / len(confidence)), 4),
        }
        for b in np.flatnonzero(count)
    ]
    return error, bins


def confidences(scores: np.ndarray) -> np.ndarray:
    """Return the largest softmax probability of each row, [I].

    Args:
        scores: [I, C] float, with the task's temperature; one that is not a number counts as
            impossible, and a row of nothing else has the confidence of a guess, 1 / C.
    """
    scores = np.where(np.isnan(scores), -np.inf, np.asarray(scores, np.float64))
    highest = scores.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        rest = np.exp(scores - highest).sum(axis=1)
    return np.where(np.isfinite(highest[:, 0]), 1.0 / rest, 1.0 / scores.shape[1])
