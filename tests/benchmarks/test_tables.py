"""Held-out retrieval against a loop that counts, and the few lines that sum up timings."""

import random
import statistics

import numpy as np
import pytest

from benchmarks import tables
from benchmarks.retrieval import KS, chance_metrics, pool_metrics, recalls
from bigclip.evals.retrieval.suite import Pool


def _counted(scores: list[list[float]], right: set[tuple[int, int]], k: int) -> float:
    """R@k by sorting, of images to texts; ties go to the wrong candidate."""
    hits = 0
    for i, row in enumerate(scores):
        order = sorted(range(len(row)), key=lambda t: (-row[t], (i, t) in right))
        hits += any((i, t) in right for t in order[:k])
    return 100 * hits / len(scores)


@pytest.mark.parametrize("seed", range(5))
def test_recalls_are_those_of_sorting(seed):
    rng = np.random.default_rng(seed)
    # Few different scores, so that there are ties; several right texts for some images.
    scores = rng.integers(0, 6, (9, 7)).astype(np.float32)
    right = {(i, int(rng.integers(7))) for i in range(9)} | {(t, t) for t in range(7)}
    found = recalls(scores, np.array(sorted(right)))
    flipped = {(t, i) for i, t in right}
    for k in KS:
        # The same count, but for how percent are rounded.
        counted = _counted(scores.tolist(), right, k), _counted(scores.T.tolist(), flipped, k)
        ways = ("image_to_text", "text_to_image")
        assert [found[f"{way}/R@{k}"] for way in ways] == pytest.approx(list(counted))


def test_a_collapsed_model_hits_nothing():
    pairs = np.stack([np.arange(6), np.arange(6)], axis=1)
    assert recalls(np.ones((6, 6)), pairs)["image_to_text/R@5"] == 0


def test_pools_are_ranked_by_themselves_and_averaged():
    emb = np.eye(4, dtype=np.float32)
    pairs = np.array([[0, 0], [1, 1]])
    good = Pool("style=a", [0, 1], [0, 1], pairs)
    swapped = Pool("style=b", [2, 3], [3, 2], pairs)
    found = pool_metrics(emb, emb, [good, swapped])
    assert found["style=a"]["image_to_text/R@1"] == 100
    assert found["style=b"]["image_to_text/R@1"] == 0
    assert found["mean"]["text_to_image/R@1"] == 50


def test_chance_is_what_random_scores_give():
    rng = random.Random(0)
    pool = Pool("", list(range(4)), list(range(7)), np.array([[0, 0], [0, 1], [1, 2], [2, 3]]))
    pool = pool._replace(pairs=np.concatenate([pool.pairs, [[3, 4], [3, 5], [3, 6]]]))
    chance = chance_metrics([pool])[""]
    draws = []
    for _ in range(4000):
        scores = np.array([[rng.random() for _ in range(7)] for _ in range(4)])
        draws.append(recalls(scores, pool.pairs))
    for name, value in chance.items():
        # A mean of 4,000 draws of at least 4 queries: its standard error is below 0.4 percent.
        assert value == pytest.approx(statistics.fmean(draw[name] for draw in draws), abs=2)


def test_settled_leaves_out_the_compilation_and_the_start_of_a_turn():
    turn = [9.0, *range(24)]
    assert tables.settled(turn) == turn[5:]
    assert tables.settled(turn[:3]) == turn[:3]
    assert tables.settled(turn[:3], first=True) == turn[1:3]
    assert tables.settled([9.0], first=True) == [9.0]


def test_the_ratio_is_taken_turn_by_turn():
    ours, others = [[1, 1, 5], [10, 10, 10], [1, 1, 1]], [[2, 2, 2], [20, 20, 20], [3, 3, 3]]
    assert tables.median_ratio(others, ours) == 2


def test_cells():
    assert tables.mean_and_spread([24.0, 26.0]) == "25.0 ± 1.4"
    assert tables.mean_and_spread([24.04]) == "24.0"
    assert tables.gibibytes(3 * 2**29) == "1.50"
    assert tables.gibibytes(None) == "-"
    table = tables.markdown(("side", "s/step"), [("bigclip", 0.3)])
    assert table.splitlines() == ["| side | s/step |", "| --- | ---: |", "| bigclip | 0.3 |"]
