"""Ranked examples for the report: what the model put first, for queries that it did not choose.

The queries are drawn by a seed from all queries, without a look at any score, and are the same at
every step of a run. Beside them stand the most confident mistakes, which are the opposite of a
fair choice, and are marked as such.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bigclip.evals.embedding import take
from bigclip.evals.ranks import ranking, recall


def deal(
    pools: Sequence[Sequence[frozenset]], num: int, seed: int, *, direction: int = 0
) -> list[list[int]]:
    """Draw queries from pools in turn, without replacement.

    Args:
        pools: for each pool, for each query, what it is about (the texts it stands for). No two
            queries about the same are drawn while others are left.
        num: how many, over all pools.
        seed: decides them, together with `direction`.
        direction: separates the draws of pictures and of texts.

    Returns:
        For each pool the drawn positions, ascending.
    """
    rngs = [np.random.default_rng([seed, direction, number]) for number in range(len(pools))]
    orders = [rng.permutation(len(pool)).tolist() for rng, pool in zip(rngs, pools, strict=True)]
    drawn: list[list[int]] = [[] for _ in pools]
    told: set = set()
    for turn in range(min(num, sum(len(pool) for pool in pools))):
        left = [number for number in range(len(pools)) if orders[number]]
        number = left[turn % len(left)]
        order, pool = orders[number], pools[number]
        position = next((p for p in order if not pool[p] & told), order[0])
        order.remove(position)
        told |= pool[position]
        drawn[number].append(position)
    return [sorted(positions) for positions in drawn]


def ranked(
    queries: Sequence[int],
    image_emb: Any,
    text_emb: Any,
    ranks: ranking.Ranks,
    pairs: np.ndarray,
    *,
    num_candidates: int,
    by_text: bool,
    **scoring: Any,
) -> list[dict[str, Any]]:
    """Return, for each query, its first candidates with scores, right and wrong marked.

    Args:
        queries: positions among the images, or among the texts if `by_text`.
        image_emb, text_emb: all embeddings of the pool.
        ranks: of all queries of this direction, from `ranking.rank_pairs`.
        pairs: [M, 2] (image, text) that belong together.
        num_candidates: how many candidates to return for each query.
        by_text: the texts are the queries.
        **scoring: `score_fn` and `params`.

    Returns:
        One dict a query: {"query", "rank" (expected, 1 is best), "right" (how many there are),
        "best" (score of the best right candidate), "ranked": [{"candidate", "score", "right"}]}.
    """
    query_emb = take(text_emb if by_text else image_emb, queries)
    scores, candidates = ranking.top_candidates(
        image_emb if by_text else query_emb,
        query_emb if by_text else text_emb,
        num_candidates,
        by_text=by_text,
        **scoring,
    )
    expected = recall.expected_ranks(ranks)
    is_right = {
        (int(text), int(image)) if by_text else (int(image), int(text)) for image, text in pairs
    }
    return [
        {
            "query": int(query),
            "rank": round(float(expected[query]), 2),
            "right": int(ranks.right[query]),
            "best": _rounded(ranks.best[query]),
            "ranked": [
                {
                    "candidate": int(candidate),
                    "score": _rounded(score),
                    "right": (int(query), int(candidate)) in is_right,
                }
                for score, candidate in zip(scores[row], candidates[row], strict=True)
            ],
        }
        for row, query in enumerate(queries)
    ]


def confident_mistakes(
    image_emb: Any,
    text_emb: Any,
    ranks: ranking.Ranks,
    about: Sequence[frozenset],
    num: int,
    **scoring: Any,
) -> list[int]:
    """Return the images whose first text is wrong by the widest margin, widest first.

    The margin is the score of the first text minus that of the best right text. No two images are
    about the same: one confused thing would fill the list with its pictures in every style.

    Args:
        image_emb, text_emb, ranks: of the pool, as in `ranked`.
        about: for each image, the texts it stands for.
        num: how many, at most.
        **scoring: `score_fn` and `params`.
    """
    scores, _ = ranking.top_candidates(image_emb, text_emb, 1, **scoring)
    margin = scores[:, 0] - ranks.best
    wrong = np.flatnonzero((ranks.right > 0) & (ranks.better > 0) & np.isfinite(margin))
    first: dict[frozenset, int] = {}
    for image in wrong[np.argsort(-margin[wrong], kind="stable")].tolist():
        first.setdefault(about[image], image)
    return list(first.values())[:num]


def worst(entries: Sequence[dict[str, Any]], num: int) -> list[dict[str, Any]]:
    """Merge the confident mistakes of several pools: the widest margins, no two about the same."""
    entries = sorted(entries, key=lambda entry: entry["best"] - entry["ranked"][0]["score"])
    first: dict[tuple, dict[str, Any]] = {}
    for entry in entries:
        first.setdefault(tuple(sorted(entry["right_texts"])), entry)
    return list(first.values())[:num]


def _rounded(score: float) -> float | None:
    return round(float(score), 5) if np.isfinite(score) else None
