"""Average precision and ROC-AUC, against scikit-learn and against their words."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from bigclip.evals import multi_label

# Few values: ties are the rule.
COLUMNS = st.integers(2, 30).flatmap(
    lambda num: st.tuples(
        hnp.arrays(np.float32, num, elements=st.sampled_from([-1.0, 0.0, 0.25, 0.5, 3.0])),
        hnp.arrays(bool, num).filter(lambda right: right.any() and not right.all()),
    )
)


@hypothesis.given(COLUMNS)
def test_equals_scikit_learn(column):
    scores, right = column
    assert multi_label.average_precision(scores, right) == pytest.approx(
        average_precision_score(right, scores)
    )
    assert multi_label.roc_auc(scores, right) == pytest.approx(roc_auc_score(right, scores))
    alarms, hits, _ = roc_curve(right, scores, drop_intermediate=False)
    assert multi_label.false_alarms_at(scores, right) == pytest.approx(alarms[hits >= 0.95][0])


@hypothesis.given(COLUMNS)
def test_eleven_points_are_what_their_words_say(column):
    scores, right = column
    thresholds = np.unique(scores)
    recall = [(right & (scores >= t)).sum() / right.sum() for t in thresholds]
    precision = [right[scores >= t].mean() for t in thresholds]
    expected = np.mean(
        [
            max(p for p, r in zip(precision, recall, strict=True) if r >= tenth / 10 - 1e-9)
            for tenth in range(11)
        ]
    )
    found = multi_label.average_precision(scores, right, interpolation="11_point")
    assert found == pytest.approx(expected)


@hypothesis.given(COLUMNS, st.randoms())
def test_neither_the_order_nor_the_scale_matters(column, random):
    scores, right = column
    order = list(range(len(scores)))
    random.shuffle(order)
    for metric in (multi_label.average_precision, multi_label.roc_auc):
        assert metric(3 * scores[order] - 7, right[order]) == pytest.approx(metric(scores, right))
    # Swapping right and wrong ones turns the curve around.
    assert multi_label.roc_auc(scores, ~right) == pytest.approx(
        1 - multi_label.roc_auc(scores, right)
    )


def test_no_number_ranks_last_and_without_right_ones_there_is_no_value():
    right = np.array([True, False])
    assert multi_label.roc_auc(np.array([np.nan, -9.0]), right) == 0.0
    assert np.isnan(multi_label.average_precision(np.ones(2), np.zeros(2, bool)))
    assert np.isnan(multi_label.roc_auc(np.ones(2), np.ones(2, bool)))
    assert np.isnan(multi_label.false_alarms_at(np.ones(2), np.ones(2, bool)))
    with pytest.raises(ValueError, match="11_point"):
        multi_label.average_precision(np.ones(2), right, interpolation="eleven")


def test_means_are_over_the_classes_that_have_pictures():
    rng = np.random.default_rng(0)
    scores, right = rng.normal(size=(40, 6)), rng.random((40, 6)) < 0.3
    right[:, 2], right[:, 4] = False, True  # no picture; all pictures
    metrics, chance, precision = multi_label.evaluate_columns(scores, right)
    there = [0, 1, 3, 4, 5]
    assert metrics["mAP"] == pytest.approx(
        average_precision_score(right[:, there], scores[:, there], average="macro")
    )
    both = [0, 1, 3, 5]
    assert metrics["roc_auc"] == pytest.approx(
        roc_auc_score(right[:, both], scores[:, both], average="macro")
    )
    assert chance["mAP"] == pytest.approx(right[:, there].mean())
    assert np.isnan(precision).tolist() == [False, False, True, False, False, False]
    for kind in multi_label.VARIANTS:
        constant, chance, _ = multi_label.evaluate_columns(
            np.zeros((40, 6)), right, interpolation=kind
        )
        assert constant == pytest.approx(chance)
    with pytest.raises(ValueError, match="no class has a right image"):
        multi_label.evaluate_columns(scores, np.zeros_like(right))
