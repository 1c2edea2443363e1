"""Accuracies on sets of pictures and texts, and Winoground's three scores.

Scores that are equal up to rounding are decided by lot, in expectation, as in
`bigclip.evals.ranks.recall`: a model that scores everything alike stands exactly at chance. A score
that is no number makes wrong whatever it takes part in.
"""

import itertools
import math

import numpy as np

from bigclip.evals.ranks.ranking import TIE_TOLERANCE


def choice_accuracy(scores: np.ndarray) -> np.ndarray:
    """Return how probably each item's own candidate is chosen among the K of its set.

    Args:
        scores: [S, K, K], in each row the scores of one item's candidates, the own one on the
            diagonal. With pictures as rows this is the choice of a text; transpose for the choice
            of a picture.

    Returns:
        [S, K] in [0, 1]; 1/n where n candidates tie for the best.
    """
    scores = np.asarray(scores, np.float64)
    own = np.diagonal(scores, axis1=1, axis2=2)[..., None]
    beaten, tied = _compare(own, scores)
    lost = ~(beaten | tied).all(axis=2)
    return np.where(lost, 0.0, 1.0 / np.maximum(tied.sum(axis=2), 1))


def winoground_scores(scores: np.ndarray) -> dict[str, np.ndarray]:
    """Return Winoground's text, image and group score (arXiv 2204.03162, section 4).

    They are defined for two pictures and two texts. The text score asks whether each picture's own
    text beats the other text, the image score whether each text's own picture beats the other
    picture, the group score for both. A larger set is taken apart into its pairs of items, and
    the mean over them is returned. The levels of chance are 1/4, 1/4 and 1/6.

    Args:
        scores: [S, K, K], pictures as rows, texts as columns.

    Returns:
        {"text_score", "image_score", "group_score"}, each [S] in [0, 1].
    """
    scores = np.asarray(scores, np.float64)
    pairs = list(itertools.combinations(range(scores.shape[1]), 2))
    blocks = np.stack([scores[:, pair][:, :, pair] for pair in pairs], axis=1)  # [S, pairs, 2, 2]
    found = {"text_score": 0.0, "image_score": 0.0, "group_score": 0.0}
    orders = list(itertools.permutations(range(4)))
    for order in orders:  # each way to decide ties
        lot = np.reshape(order, (2, 2))
        by_text = _wins(blocks, lot, (0, 0), (0, 1)) & _wins(blocks, lot, (1, 1), (1, 0))
        by_image = _wins(blocks, lot, (0, 0), (1, 0)) & _wins(blocks, lot, (1, 1), (0, 1))
        for name, right in (
            ("text_score", by_text),
            ("image_score", by_image),
            ("group_score", by_text & by_image),
        ):
            found[name] = found[name] + right.mean(axis=1)
    return {name: total / len(orders) for name, total in found.items()}


WINOGROUND_CHANCE = {"text_score": 1 / 4, "image_score": 1 / 4, "group_score": 1 / 6}


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean over sets, whose items are not independent, [S]."""
    if len(values) < 2:
        return float("nan")
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def _compare(own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where `own` beats `other` and where they tie; a NaN does neither."""
    tolerance = TIE_TOLERANCE * np.maximum(np.abs(own), np.abs(other))
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        gap = np.abs(own - other)
    tied = (own == other) | (np.isfinite(gap) & (gap <= tolerance))
    return (own > other) & ~tied, tied


def _wins(blocks, lot, own, other):
    beaten, tied = _compare(blocks[..., own[0], own[1]], blocks[..., other[0], other[1]])
    return beaten | (tied & (lot[own] > lot[other]))
