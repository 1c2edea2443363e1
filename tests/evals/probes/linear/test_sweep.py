"""The halving search tries what the paper's does, and finds what the whole grid would."""

import numpy as np
import pytest

from bigclip.evals.probes.linear import sweep
from bigclip.evals.probes.linear.logistic import Fit, LogisticRegression


class Peaked:
    """Data whose "classifier" is its strength, so that a score may be any function of it."""

    entropy = 1.0

    def __init__(self):
        self.calls = []

    def fit(self, strengths, *, start, tolerance, slack):
        assert slack == pytest.approx(1e-5)
        self.calls.append((list(strengths), start))
        kernel = np.log10(np.array(strengths)).reshape(-1, 1, 1)
        zeros = np.zeros(len(strengths))
        return Fit(strengths, kernel, kernel[:, 0], zeros, zeros, zeros == 0, 1.0)


@pytest.mark.parametrize("peak", [-48, -47, -13, 0, 8, 31, 48])
def test_a_score_with_one_peak_is_found(peak):
    data = Peaked()
    found = sweep.search_strength(data, lambda kernel, _: -abs(8 * kernel[0, 0] - peak))
    grid = [10 ** (position / 8) for position in range(-48, 49)]
    best = max(grid, key=lambda strength: -abs(8 * np.log10(strength) - peak))
    assert found.strength == pytest.approx(best)
    assert data.calls[0][0] == pytest.approx([1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6])
    assert len(found.tried) <= 15
    for strengths, start in data.calls[1:]:  # warm: half way between two that were fitted
        np.testing.assert_allclose(start[0][:, 0, 0], np.log10(strengths), atol=1e-12)


def test_of_equals_the_strongest_penalty_wins():
    assert sweep.search_strength(Peaked(), lambda *_: 0.5).strength == pytest.approx(1e6)


def test_candidates_score_as_fits_from_nothing_would():
    rng = np.random.default_rng(0)
    class_of = np.arange(260) % 7
    centres = rng.normal(size=(7, 10))
    features = (centres[class_of] + 1.5 * rng.normal(size=(260, 10))).astype(np.float32)
    data = LogisticRegression(features[:203], class_of[:203], 7)
    held = features[203:], class_of[203:]

    def score(kernel, bias):
        return float(((held[0] @ kernel + bias).argmax(axis=1) == held[1]).mean())

    found = sweep.search_strength(data, score)
    strengths = [one["strength"] for one in found.tried]
    cold = [data.fit(strengths[start : start + 7]) for start in range(0, len(strengths), 7)]
    expected = [score(*both) for fit in cold for both in zip(fit.kernel, fit.bias, strict=True)]
    np.testing.assert_allclose([one["val"] for one in found.tried], expected, atol=2.01 / 57)
    assert max(one["val"] for one in found.tried) == score(found.kernel, found.bias)
