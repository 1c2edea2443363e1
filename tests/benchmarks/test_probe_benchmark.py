"""The benchmark of linear probes: both sides run, and what it states is what they found."""

import json

import numpy as np
import pytest
import threadpoolctl
from sklearn.linear_model import LogisticRegression

from benchmarks import probe

SIZE = ["--rows", "200", "--width", "6", "--classes", "3", "--separation", "1.5"]


def test_both_sides_make_the_same_sweep(tmp_path, capsys):
    with threadpoolctl.threadpool_limits(1):  # so small, more threads only wait
        probe.main([*SIZE, "--warm", "--json", str(tmp_path / "figures.json")])
    printed = capsys.readouterr().out
    assert "200 x 6, 3 classes" in printed
    assert "times as fast as scikit-learn, warm" in printed
    sides = json.loads((tmp_path / "figures.json").read_text())["sides"]
    assert set(sides) == {"bigclip", "scikit-learn, warm"}
    for found in sides.values():
        assert len(found["tried"]) >= 11
        assert found["strength"] in [one["strength"] for one in found["tried"]]
        assert found["test"] > 0.5


def test_the_objective_is_scikit_learns():
    data = probe.make_data(300, 12, 5, separation=1.0)
    features, class_of = data.train
    assert [len(x) for x, _ in data] == [270, 30, 30]
    best = LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-8)
    best.fit(features.astype(np.float64), class_of)
    value = probe.objective(features, class_of, best.coef_.T, best.intercept_, 2.0)
    for scale in (0.99, 1.01):  # a minimum, and of this strength
        near = probe.objective(features, class_of, scale * best.coef_.T, best.intercept_, 2.0)
        assert near > value
    logits = best.predict_log_proba(features.astype(np.float64))
    loss = -logits[np.arange(len(class_of)), class_of].mean()
    assert value == pytest.approx(loss + (best.coef_**2).sum() / len(class_of), rel=1e-9)
