"""Ranking metrics against brute force, scikit-learn and the laws that they must obey."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from bigclip.evals.ranks import ranking, recall


def ranks_of(better, tied, tied_right, right, num_candidates):
    fields = [np.atleast_1d(np.array(x)) for x in (better, tied, tied_right, right)]
    return ranking.Ranks(*fields, np.zeros(len(fields[0]), np.float32), num_candidates)


@pytest.mark.parametrize("better", [0, 1, 3])
@pytest.mark.parametrize("tied", [0, 1, 3])
@pytest.mark.parametrize("tied_right", [1, 2])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_ties_are_broken_by_lot(better, tied, tied_right, k):
    ranks = ranks_of(better, tied, tied_right, tied_right, 20)
    # Every order of the tied candidates, True is right.
    orders = set(itertools.permutations([True] * tied_right + [False] * tied))
    first = [better + order.index(True) + 1 for order in orders]
    weight = 1 / len(first)  # all distinct orders are equally likely
    assert recall.hits(ranks, k)[0] == pytest.approx(sum(weight for f in first if f <= k))
    assert recall.expected_ranks(ranks)[0] == pytest.approx(np.mean(first))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_candidates=st.integers(2, 60))
def test_a_constant_model_stands_exactly_at_chance(seed, num_candidates):
    right = np.random.default_rng(seed).integers(1, num_candidates, 10)
    ranks = ranks_of(np.zeros(10, int), num_candidates - right, right, right, num_candidates)
    for k in (1, 5, 10):
        np.testing.assert_allclose(recall.hits(ranks, k), recall.chance_hits(ranks, k), atol=1e-12)


def test_chance_is_the_mean_of_random_rankings():
    rng = np.random.default_rng(0)
    right, num_candidates, k, draws = 3, 25, 5, 20_000
    found = [(rng.permutation(num_candidates)[:k] < right).any() for _ in range(draws)]
    expected = recall.chance_hits(ranks_of(0, 22, 3, right, num_candidates), k)[0]
    # Four standard deviations of a mean of 20,000 draws.
    assert np.mean(found) == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(draws))


def test_equals_scikit_learn_where_nothing_is_tied():
    rng = np.random.default_rng(1)
    image_emb = rng.normal(size=(300, 6)).astype(np.float32)
    class_emb = rng.normal(size=(12, 6)).astype(np.float32)
    labels = rng.integers(0, 12, 300)
    ranks, _ = ranking.rank_pairs(image_emb, class_emb, np.stack([np.arange(300), labels], axis=1))
    for k in (1, 3, 5):
        expected = top_k_accuracy_score(labels, image_emb @ class_emb.T, k=k, labels=range(12))
        assert recall.hits(ranks, k).mean() == pytest.approx(expected)


def test_random_embeddings_are_near_chance():
    rng = np.random.default_rng(2)
    num = 400
    emb = rng.normal(size=(2, num, 32)).astype(np.float32)
    ranks, _ = ranking.rank_pairs(emb[0], emb[1], np.stack([np.arange(num)] * 2, axis=1))
    found, chance = recall.summarize(ranks), recall.chance(ranks)
    for k in (1, 5, 10):
        p = k / num
        assert chance[f"R@{k}"] == pytest.approx(p)
        # Queries are nearly independent: five standard deviations of a binomial mean.
        assert found[f"R@{k}"] == pytest.approx(p, abs=5 * np.sqrt(p / num))
    assert found["median_rank"] == pytest.approx(num / 2, rel=0.2)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_bounds_and_order(seed):
    rng = np.random.default_rng(seed)
    right = rng.integers(1, 5, 20)
    better = rng.integers(0, 30, 20)
    tied_right = rng.integers(1, right + 1)
    ranks = ranks_of(better, rng.integers(0, 10, 20), tied_right, right, 60)
    found = recall.summarize(ranks)
    assert 0 <= found["R@1"] <= found["R@5"] <= found["R@10"] <= 1
    assert found["R@1"] <= found["mrr"] + 1e-12 <= 1 + 1e-12
    assert 1 <= found["median_rank"] <= 60


def test_queries_without_a_right_candidate_do_not_count():
    ranks = ranks_of([0, 9], [0, 0], [1, 0], [1, 0], 10)
    assert recall.summarize(ranks)["R@1"] == 1.0
    with pytest.raises(ValueError, match="no query has a right candidate"):
        recall.summarize(ranks_of([9], [0], [0], [0], 10))
