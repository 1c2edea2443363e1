"""The draw of examples: fair, fixed, without repetitions while it can be."""

import numpy as np

from bigclip.evals.ranks import examples, ranking


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


def test_confident_mistakes_are_the_widest_margins_one_for_each_subject():
    scores = np.array([[0, 9, 0], [0, 5, 0], [3, 0, 0], [0, 0, 9]], np.float32)
    labels = np.array([0, 0, 1, 2])  # the last image is right
    text_emb = np.eye(3, dtype=np.float32)
    pairs = np.stack([np.arange(4), labels], axis=1)
    ranks, _ = ranking.rank_pairs(scores, text_emb, pairs)
    about = [frozenset([label]) for label in labels.tolist()]
    assert examples.confident_mistakes(scores, text_emb, ranks, about, 5) == [0, 2]
    assert examples.confident_mistakes(scores, text_emb, ranks, about, 1) == [0]
