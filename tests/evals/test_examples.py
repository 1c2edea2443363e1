"""The draw of examples: fair, fixed, without repetitions while it can be."""

import numpy as np

from bigclip.evals import examples


def test_deals_out_over_the_pools_in_turn_without_telling_twice_of_the_same():
    pools = [[frozenset([text]) for text in range(20)] for _ in range(3)]
    drawn = examples.deal(pools, 8, 0)
    assert [len(positions) for positions in drawn] == [3, 3, 2]
    told = [position for positions in drawn for position in positions]
    assert len(set(told)) == 8
    assert drawn == examples.deal(pools, 8, 0)
    assert drawn != examples.deal(pools, 8, 1)
    assert drawn != examples.deal(pools, 8, 0, direction=1)


def test_repeats_a_subject_rather_than_leaving_a_place_empty():
    drawn = examples.deal([[frozenset([7])] * 3, [frozenset([7])]], 10, 0)
    assert drawn == [[0, 1, 2], [0]]


def test_every_query_is_drawn_equally_often():
    pool = [[frozenset([text]) for text in range(10)]]
    count = np.zeros(10)
    for seed in range(2000):
        count[examples.deal(pool, 3, seed)[0]] += 1
    # 600 expected for each, binomial deviation about 20: five deviations.
    assert np.abs(count - 600).max() < 105
