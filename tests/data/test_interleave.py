"""Mixtures keep their weights at every prefix."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from bigclip.data.interleave import Interleave
from bigclip.data.mixture import MixedOrder

WEIGHTS = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6)


def test_the_pattern_is_this_one():
    """What stands here has been trained with; a change breaks the exact resumption of runs."""
    mix = Interleave([3, 1, 2])
    assert mix.period == 6
    assert [mix.part(place) for place in range(12)] == [0, 2, 0, 1, 0, 2] * 2


@hypothesis.given(WEIGHTS)
@hypothesis.example([1.0, 1.0, 9.908203125, 9.908203125, 413.96875])
@hypothesis.settings(max_examples=30, deadline=None)
def test_every_prefix_is_within_one_of_its_share(weights):
    mix = Interleave(weights)
    places = np.array([mix.part(place) for place in range(2 * mix.period)])
    # Of 16,384 places a part has at most one too few or too many, and so has every other, by which
    # their sum is off.
    bound = max(1, len(weights) - 1) / (2**14 - len(weights))
    assert np.abs(mix.shares - np.array(weights) / sum(weights)).max() < bound
    for part, share in enumerate(mix.shares):
        so_far = np.cumsum(places == part)
        assert np.abs(so_far - share * np.arange(1, len(places) + 1)).max() < 1 + 1e-9
        n = len(places) // 3
        assert mix.count(n, part) == (places[:n] == part).sum()


@hypothesis.given(WEIGHTS, st.integers(1, 40), st.integers(0, 39), st.integers(0, 500))
@hypothesis.settings(max_examples=30, deadline=None)
def test_counts_over_every_so_many_places(weights, stride, first, count):
    mix = Interleave(weights)
    seen = [mix.part(first + stride * n) for n in range(count)]
    strided = mix.strided(first, stride)
    for part in range(len(weights)):
        assert strided.count(count, part) == seen.count(part)


def test_a_mixed_order_goes_through_each_part_epoch_by_epoch():
    order = MixedOrder([4, 10], [2.0, 1.0], seed=3)
    records = [order.record(k) for k in range(30)]
    small = [r for r in records if r < 4]
    large = [r for r in records if r >= 4]
    assert len(small) == 20
    assert [sorted(small[i : i + 4]) for i in range(0, 20, 4)] == [[0, 1, 2, 3]] * 5
    assert sorted(large) == list(range(4, 14))
    # A replacement comes from the same part.
    for k in range(30):
        assert (order.substitute(k, 1) < 4) == (records[k] < 4)


def test_shares_are_exact_where_weights_are_simple():
    assert Interleave([1, 1, 1]).period == 3
    assert Interleave([0.1, 0.9]).period == 10
    assert Interleave([0.001, 0.999]).shares[0] == pytest.approx(0.001, rel=1e-9)
