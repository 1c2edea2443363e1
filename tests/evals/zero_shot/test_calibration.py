"""The calibration error, against a loop over its definition."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis.extra import numpy as hnp
from scipy.special import softmax

from bigclip.evals.zero_shot.calibration import confidences, expected_calibration_error

SHARES = st.integers(1, 40).flatmap(
    lambda num: st.tuples(
        hnp.arrays(np.float64, num, elements=st.floats(0, 1)),
        hnp.arrays(np.float64, num, elements=st.sampled_from([0.0, 0.5, 1.0])),
    )
)


@hypothesis.given(SHARES, st.integers(1, 20))
def test_equals_a_loop_over_the_bins(shares, num_bins):
    confidence, correct = shares
    expected = 0.0
    for b in range(num_bins):
        low, high = b / num_bins, (b + 1) / num_bins
        inside = (confidence * num_bins > low * num_bins) & (confidence * num_bins <= b + 1)
        inside |= (confidence == 0) if b == 0 else False
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected += gap * inside.mean()
            assert low <= confidence[inside].mean() <= high + 1e-12
    error, bins = expected_calibration_error(confidence, correct, num_bins=num_bins)
    assert error == pytest.approx(expected, abs=1e-12)
    assert 0 <= error <= 1
    assert sum(b["share"] for b in bins) == pytest.approx(1, abs=1e-3)  # four digits each
    assert error == pytest.approx(
        sum(b["share"] * abs(b["accuracy"] - b["confidence"]) for b in bins), abs=2e-3
    )


def test_who_says_what_is_so_is_calibrated():
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    correct = rng.random(200_000) < confidence
    # 13,000 a bin: a deviation of 0.004 at most.
    assert expected_calibration_error(confidence, correct)[0] < 0.01
    boastful, _ = expected_calibration_error(np.ones(10), np.arange(10) < 3)
    assert boastful == pytest.approx(0.7)
    with pytest.raises(ValueError, match="an image and a bin"):
        expected_calibration_error(np.zeros(0), np.zeros(0))


def test_confidence_is_the_largest_softmax():
    scores = np.random.default_rng(0).normal(size=(5, 7)) * 100
    np.testing.assert_allclose(confidences(scores), softmax(scores, axis=1).max(axis=1))
    scores[0, :3], scores[1] = np.nan, np.nan
    known = softmax(scores[0, 3:]).max()
    np.testing.assert_allclose(confidences(scores)[:2], [known, 1 / 7])
