"""The order: literal tables, so that no version of anything can move it unnoticed."""

import collections

import numpy as np
import pytest

from bigclip.data.order import Order, Stream

FIRST_TWO_EPOCHS = [2, 9, 8, 1, 4, 6, 7, 0, 5, 3, 0, 8, 7, 6, 3, 5, 1, 2, 9, 4]
FAR_APART = [545727138, 742290883, 145897878, 604010957]
SUBSTITUTES = [8, 4, 2]
DRAWN = {
    Stream.ORDER: 0.8796937010653697,
    Stream.AUGMENT: 0.39486729731277914,
    Stream.CAPTION: 0.19831107040348295,
    Stream.SUBSTITUTE: 0.09407440981101012,
    Stream.WINDOW: 0.5888985523638819,
    Stream.TOKEN: 0.19650403189581034,
}


def test_order_is_this_one():
    """What stands here has been trained with; a change breaks the exact resumption of runs."""
    order = Order(10, seed=0)
    assert [order.record(k) for k in range(20)] == FIRST_TWO_EPOCHS
    assert [Order(10**9, seed=7).record(k) for k in (0, 1, 10**9, 10**12)] == FAR_APART
    assert [order.substitute(3, attempt) for attempt in (1, 2, 3)] == SUBSTITUTES


def test_random_numbers_are_these():
    order = Order(10, seed=0)
    drawn = {stream: order.rng(5, stream).random() for stream in Stream}
    assert drawn == pytest.approx(DRAWN, rel=1e-15)


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_every_epoch_is_complete(count):
    order = Order(count, seed=3)
    for epoch in (0, 1, 5):
        positions = range(epoch * count, (epoch + 1) * count)
        assert sorted(order.record(k) for k in positions) == list(range(count))


def test_epochs_and_neighbouring_seeds_share_no_order():
    def epoch(seed, number):
        order = Order(200, seed=seed)
        return tuple(order.record(k) for k in range(number * 200, (number + 1) * 200))

    orders = [epoch(seed, number) for seed in range(6) for number in range(6)]
    assert len(set(orders)) == 36


def test_neighbours_are_spread():
    # Records written side by side (a class, a web site) must not come side by side.
    order = Order(10_000, seed=0)
    steps = np.abs(np.diff([order.record(k) for k in range(10_000)]))
    # Of uniform places, 1 in 100 are within 50 of the one before; 3 standard deviations are 30.
    assert (steps <= 50).sum() < 130
    assert np.median(steps) > 2500


def test_streams_and_positions_are_independent():
    order = Order(10, seed=1)
    drawn = np.array([[order.rng(k, s).random() for s in Stream] for k in range(2000)])
    correlation = np.corrcoef(np.concatenate([drawn, np.roll(drawn, 1, 0)], 1).T)
    # 2,000 samples: a standard deviation of 0.022 for each of 66 pairs.
    assert np.abs(correlation - np.eye(12)).max() < 0.1
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)


def test_substitutes_are_all_over_and_keep_to_their_position():
    order = Order(50, seed=1)
    found = [order.substitute(k, 1) for k in range(5000)]
    counts = collections.Counter(found)
    assert len(counts) == 50
    assert max(counts.values()) < 2 * 100
    assert found == [Order(50, seed=1).substitute(k, 1) for k in range(5000)]
    for attempt in range(1, 6):
        assert order.substitute(9, attempt) == order.substitute(9, attempt)
    assert len({order.substitute(9, attempt) for attempt in range(1, 30)}) > 10


def test_seeds_may_be_large():
    assert Order(100, seed=2**63).record(0) in range(100)
