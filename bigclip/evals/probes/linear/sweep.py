"""The CLIP paper's search for the strength of the penalty (arXiv 2103.00020, appendix A.3).

The grid has 8 strengths a decade from 1e-6 to 1e6. Seven of them, two decades apart, are tried
first; then the interval around the best is halved until its neighbours on the grid were tried: at
most 15 fits for what a full sweep takes 97. Of equal scores the strongest penalty wins.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bigclip.evals.probes.linear.logistic import Fit, LogisticRegression

STEPS_PER_DECADE = 8
_FIRST, _LAST, _COARSE = -6 * STEPS_PER_DECADE, 6 * STEPS_PER_DECADE, 2 * STEPS_PER_DECADE
NUM_COARSE = (_LAST - _FIRST) // _COARSE + 1

# Fits that only choose a strength may stop where accuracy does not change any more: at this share
# of their objective, and of the loss of the class frequencies. (Weak penalties need the first:
# their objective is next to nothing, and a fit that stops early is another, better regularised
# classifier than theirs.)
_TOLERANCE, _SLACK = 1e-2, 1e-5


class Sweep(NamedTuple):
    """What was tried, and the best of it.

    Attributes:
        strength: the best.
        kernel, bias: the classifier at that strength, [E, K] and [K].
        tried: [{"strength", "val"}], in the order of the strengths.
        evaluations: passes over the rows, a fit of one strength at a time.
    """

    strength: float
    kernel: np.ndarray
    bias: np.ndarray
    tried: list[dict[str, float]]
    evaluations: float


def strength_at(position: int) -> float:
    """Return a strength of the grid: 10 to the power of position / 8."""
    return float(10.0 ** (position / STEPS_PER_DECADE))


def search_strength(
    data: LogisticRegression,
    score: Callable[[np.ndarray, np.ndarray], float],
    **options: Any,
) -> Sweep:
    """Find the strength that does best on validation data.

    Args:
        data: the training data.
        score: (kernel [E, K], bias [K]) -> the validation score, larger is better.
        **options: of `LogisticRegression.fit`.
    """
    options = {"tolerance": _TOLERANCE, "slack": _SLACK * data.entropy} | options
    fits: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    scores: dict[int, float] = {}
    evaluations = 0.0

    def take(positions: list[int], start=None) -> None:
        nonlocal evaluations
        found: Fit = data.fit([strength_at(one) for one in positions], start=start, **options)
        evaluations += found.evaluations * len(positions)
        for position, kernel, bias in zip(positions, found.kernel, found.bias, strict=True):
            fits[position], scores[position] = (kernel, bias), score(kernel, bias)

    take(list(range(_FIRST, _LAST + 1, _COARSE)))
    spacing = _COARSE
    while spacing > 1:
        best = max(scores, key=lambda position: (scores[position], position))
        # Classifiers change evenly with the logarithm of the strength: start half way.
        new = [p for p in (best - spacing // 2, best + spacing // 2) if _FIRST <= p <= _LAST]
        others = [fits[best + (spacing if p > best else -spacing)] for p in new]
        start = tuple(
            np.stack([(other[i] + fits[best][i]) / 2 for other in others]) for i in range(2)
        )
        spacing //= 2
        take(new, start)
    best = max(scores, key=lambda position: (scores[position], position))
    return Sweep(
        strength=strength_at(best),
        kernel=fits[best][0],
        bias=fits[best][1],
        tried=[{"strength": strength_at(p), "val": scores[p]} for p in sorted(scores)],
        evaluations=evaluations,
    )
