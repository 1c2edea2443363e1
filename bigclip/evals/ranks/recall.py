"""Ranking metrics from ranks: R@k, median rank, mean reciprocal rank, and their chance levels.

Ties are broken fairly, which means by lot: every metric is its expectation over a random order of
the candidates that score the same. A model that gives all pairs one score therefore stands exactly
at chance, where counting ties as wins would make it perfect and counting them as losses would put
it below chance. Where no scores are equal, this is the plain definition.

R@k is 1 if any of a query's right candidates is among its k best, averaged over the queries (the
usual definition in image-text retrieval, though not what statistics calls recall).
"""

import numpy as np

from bigclip.evals.ranks.ranking import Ranks


def hits(ranks: Ranks, k: int) -> np.ndarray:
    """Return the probability that a right candidate is among the k best, [Q] in [0, 1].

    With g better ones, the best right candidate stands in a tie of e wrong and p right ones, and
    k - g places of that tie are among the k best: none of them is right with probability
    C(e, k - g) / C(e + p, k - g).
    """
    places = np.minimum(k - ranks.better, ranks.tied + ranks.tied_right)
    return 1.0 - _all_missed(places, ranks.tied, ranks.tied + ranks.tied_right, k)


def chance_hits(ranks: Ranks, k: int) -> np.ndarray:
    """Return what `hits` would be in a random order of all candidates, [Q]."""
    total = np.full(ranks.right.shape, ranks.num_candidates)
    places = np.minimum(k, total)
    return 1.0 - _all_missed(places, total - ranks.right, total, k)


def expected_ranks(ranks: Ranks) -> np.ndarray:
    """Return the expected rank of the best right candidate, [Q], 1 is best.

    In a tie, e wrong candidates leave e / (p + 1) before the first of p right ones on average.
    """
    return 1.0 + ranks.better + ranks.tied / (ranks.tied_right + 1.0)


def summarize(ranks: Ranks, *, ks: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """Return R@k for each k, `median_rank` and `mrr` (mean of 1 / expected rank).

    Queries without a right candidate are left out.

    Raises:
        ValueError: if no query has a right candidate.
    """
    ranks = _with_right(ranks)
    expected = expected_ranks(ranks)
    metrics = {f"R@{k}": float(hits(ranks, k).mean()) for k in ks}
    metrics["median_rank"] = float(np.median(expected))
    metrics["mrr"] = float((1.0 / expected).mean())
    return metrics


def chance(ranks: Ranks, *, ks: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """Return what R@k would be for a model that knows nothing."""
    ranks = _with_right(ranks)
    return {f"R@{k}": float(chance_hits(ranks, k).mean()) for k in ks}


def _with_right(ranks: Ranks) -> Ranks:
    keep = ranks.right > 0
    if not keep.any():
        raise ValueError("no query has a right candidate: there is nothing to rank.")
    return Ranks(*(field[keep] for field in ranks[:-1]), ranks.num_candidates)


def _all_missed(places: np.ndarray, wrong: np.ndarray, total: np.ndarray, k: int) -> np.ndarray:
    """Probability that `places` draws without replacement from `total` are all wrong, [Q]."""
    missed = np.ones(len(places))
    for draw in range(k):
        factor = np.maximum(wrong - draw, 0) / np.maximum(total - draw, 1)
        missed *= np.where(draw < places, factor, 1.0)
    return missed
