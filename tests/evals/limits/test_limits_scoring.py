import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from bigclip.evals.limits.scoring import (
    WINOGROUND_CHANCE,
    choice_accuracy,
    standard_error,
    winoground_scores,
)


def by_hand(scores):
    """Winoground's definitions for one pair without ties, word by word."""
    (c0_i0, c1_i0), (c0_i1, c1_i1) = scores
    text = c0_i0 > c1_i0 and c1_i1 > c0_i1
    image = c0_i0 > c0_i1 and c1_i1 > c1_i0
    return {"text_score": text, "image_score": image, "group_score": text and image}


def lots(scores, measure, num=4000, seed=0):
    """What comes out when ties are really decided by lot."""
    rng = np.random.default_rng(seed)
    noisy = scores + 1e-9 * rng.uniform(size=(num, *scores.shape))
    return np.mean([measure(one) for one in noisy], axis=0)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 4).flatmap(
        lambda k: st_numpy.arrays(
            np.float64, (3, k, k), elements=st.integers(-50, 50).map(float), unique=True
        )
    )
)
def test_without_ties_the_definitions_hold_word_by_word(scores):
    accuracy = choice_accuracy(scores)
    found = winoground_scores(scores)
    for number, block in enumerate(scores):
        assert accuracy[number].tolist() == [row.argmax() == i for i, row in enumerate(block)]
        pairs = list(itertools.combinations(range(len(block)), 2))
        for name in WINOGROUND_CHANCE:
            expected = np.mean([by_hand(block[np.ix_(pair, pair)])[name] for pair in pairs])
            assert found[name][number] == pytest.approx(expected)
    # The items have no order.
    order = np.random.default_rng(0).permutation(scores.shape[1])
    shuffled = scores[:, order][:, :, order]
    np.testing.assert_array_equal(choice_accuracy(shuffled), accuracy[:, order])
    for name, values in winoground_scores(shuffled).items():
        np.testing.assert_allclose(values, found[name])
    # The reverse task exchanges text and image scores.
    turned = winoground_scores(np.swapaxes(scores, 1, 2))
    np.testing.assert_allclose(turned["text_score"], found["image_score"])
    np.testing.assert_allclose(turned["group_score"], found["group_score"])


@pytest.mark.parametrize(
    "scores", [[[0, 0], [0, 0]], [[1, 1], [0, 0]], [[1, 0], [1, 1]], [[2, 1], [2, 2]]]
)
def test_ties_are_decided_by_lot(scores):
    scores = np.array(scores, float)
    found = winoground_scores(scores[None])
    for name, values in found.items():
        expected = lots(scores, lambda one, name=name: by_hand(one)[name])
        assert values[0] == pytest.approx(expected, abs=0.03)
    expected = lots(scores, lambda one: one.argmax(axis=1) == [0, 1])
    np.testing.assert_allclose(choice_accuracy(scores[None])[0], expected, atol=0.03)


def test_equal_scores_are_exactly_at_chance():
    for k in (2, 5):
        for value in (0.0, -7.25, math.inf):
            scores = np.full((4, k, k), value)
            np.testing.assert_allclose(choice_accuracy(scores), 1 / k)
            for name, values in winoground_scores(scores).items():
                np.testing.assert_allclose(values, WINOGROUND_CHANCE[name])


def test_random_scores_are_at_the_stated_chance():
    scores = np.random.default_rng(0).normal(size=(20000, 3, 3))
    assert choice_accuracy(scores).mean() == pytest.approx(1 / 3, abs=0.01)
    for name, values in winoground_scores(scores).items():
        assert values.mean() == pytest.approx(WINOGROUND_CHANCE[name], abs=0.01)


@settings(max_examples=30, deadline=None)
@given(st_numpy.arrays(np.float64, (4, 3), elements=st.floats(-5, 5)))
def test_who_looks_at_one_side_only_chooses_at_chance(prior):
    by_text = np.repeat(prior[:, None], 3, axis=1)
    for scores in (by_text, np.swapaxes(by_text, 1, 2)):
        np.testing.assert_allclose(choice_accuracy(scores).mean(axis=1), 1 / 3, atol=1e-12)


def test_what_is_no_number_is_wrong():
    nan, inf = math.nan, math.inf
    scores = np.array([[[nan, 1], [0, 1]], [[1, nan], [0, 1]], [[1, inf], [-inf, 1]]])
    assert choice_accuracy(scores).tolist() == [[0, 1], [0, 1], [0, 1]]
    assert winoground_scores(scores)["text_score"].tolist() == [0, 0, 0]
    assert winoground_scores(scores)["image_score"].tolist() == [0, 0, 0]


def test_rounding_is_a_tie():
    scores = np.array([[[10.0, 10.00001], [9.0, 10.0]]])
    assert choice_accuracy(scores).tolist() == [[0.5, 1.0]]


def test_standard_error():
    values = np.array([0.0, 1.0, 1.0, 0.0, 0.5])
    assert standard_error(values) == pytest.approx(values.std(ddof=1) / 5**0.5)
    assert math.isnan(standard_error(values[:1]))
