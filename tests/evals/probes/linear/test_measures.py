"""Metrics of logits: scikit-learn's where all differ, the mean over all orders where they tie."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from bigclip.evals.probes.linear import measures
from bigclip.evals.probes.targets import Targets


def test_distinct_logits_give_scikit_learns_metrics():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(80, 9)).astype(np.float32), np.arange(80) % 9
    found, chance = measures.measure(logits, targets, interpolation="area")
    assert found["top1"] == sklearn.metrics.accuracy_score(targets, logits.argmax(axis=1))
    balanced = sklearn.metrics.balanced_accuracy_score(targets, logits.argmax(axis=1))
    assert found["mean_per_class"] == pytest.approx(balanced)
    top5 = sklearn.metrics.top_k_accuracy_score(targets, logits, k=5)
    assert found["top5"] == pytest.approx(top5)
    assert chance == {"top1": 1 / 9, "mean_per_class": 1 / 9, "top5": 5 / 9}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=7, max_size=7),
    st.integers(0, 6),
    st.floats(-1e3, 1e3),
)
def test_ties_are_broken_by_lot(logits, target, shift):
    row = np.array(logits) + shift
    found, _ = measures.measure(
        row[None].astype(np.float32), np.array([target]), interpolation="area"
    )
    better, tied = (row > row[target]).sum(), (row == row[target]).sum()
    # The right one takes any place of its tie with the same probability.
    places = better + np.arange(tied)
    assert found["top1"] == pytest.approx((places < 1).mean())
    assert found["top5"] == pytest.approx((places < 5).mean())


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_wrong(broken):
    targets = np.arange(40) % 8
    logits = 3.0 * np.eye(8, dtype=np.float32)[targets]
    logits[:10] = broken
    found, _ = measures.measure(logits, targets, interpolation="area")
    assert (found["top1"], found["top5"]) == (0.75, 0.75)
    names = [f"n{k}" for k in range(8)]
    classes = Targets([str(k) for k in range(8)], names, {}, False)
    told = measures.by_class(classes, logits, targets, interpolation="area")
    assert told["per_class"]["0"] == {"name": "n0", "images": 5, "top1": 0.6}
    assert all(one["confused_with"] == [] for one in told["confusions"])
    none, _ = measures.measure(np.full_like(logits, broken), targets, interpolation="area")
    assert set(none.values()) == {0.0}
    tied, chance = measures.measure(np.zeros_like(logits), targets, interpolation="area")
    assert tied == pytest.approx(chance)
