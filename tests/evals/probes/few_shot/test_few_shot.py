"""Few-shot ridge regression against scikit-learn, and what must not change its result."""

import json

import fakes
import jax
import numpy as np
import pytest
from fake_sets import FakeSet, blobs, fake_model
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as SklearnRidge

from bigclip.config import ConfigError
from bigclip.evals.probes.few_shot import ridge
from bigclip.evals.probes.few_shot.suite import FewShot
from bigclip.evals.probes.map_rows import map_rows
from bigclip.evals.suites import open_suites

CLASSES, DIM = 5, 12


def reference(features, class_of, strength):
    """The same classifier, by scikit-learn in float64, as a function of features."""
    features = features.astype(np.float64)
    mean, std = features.mean(axis=0), features.std(axis=0) + 1e-5

    def prepared(x):
        x = (x - mean) / std
        return np.concatenate([x, np.full((len(x), 1), 100.0)], axis=1)

    model = SklearnRidge(alpha=strength, fit_intercept=False, solver="svd")
    model.fit(prepared(features), 2.0 * np.eye(CLASSES)[class_of] - 1.0)
    return lambda x: model.predict(prepared(x.astype(np.float64)))


# Fewer rows than features, and more: two formulae.
@pytest.mark.parametrize("num_rows", [9, 40])
def test_equals_scikit_learn_also_under_padding(num_rows):
    features, class_of = blobs(1, num_rows, CLASSES, DIM)
    strengths = np.array([0.5, 30.0, 1024.0], np.float32)
    fit = fit_one(
        np.concatenate([features, np.full((2, DIM), 7.0, np.float32)]),
        np.concatenate([class_of, [3, 3]]),
        strengths,
        is_row=np.arange(num_rows + 2) < num_rows,
    )
    test, _ = blobs(2, 30, CLASSES, DIM)
    x = (test - np.asarray(fit.mean)) / np.asarray(fit.std)
    for row, strength in enumerate(strengths):
        expected = reference(features, class_of, strength)(test)
        found = x @ np.asarray(fit.weight[0, row]) + np.asarray(fit.bias[0, row])
        np.testing.assert_allclose(found, expected, atol=3e-5)


def fit_one(features, class_of, strengths, is_row=None):
    is_row = np.ones(len(features), bool) if is_row is None else is_row
    stacked = (features[None].astype(np.float32), class_of[None], is_row[None])
    return ridge.fit_draws(*stacked, strengths, num_classes=CLASSES)


def make_sets(num_train=200, num_test=90, spread=2.0):
    train = blobs(3, num_train, CLASSES, DIM, spread=spread)
    test = blobs(4, num_test, CLASSES, DIM, spread=spread)
    return [FakeSet({"pooled": x}, labels=c.tolist()) for x, c in (test, train)], test, train


def test_the_suite_equals_a_loop_over_draws():
    (test_set, train_set), (x, c), (train_x, train_c) = make_sets()
    result = FewShot(test_set, train_set, shots=(2, 8), num_seeds=3).evaluate(fake_model())
    for shots, point in zip((2, 8), result.details["curve"], strict=True):
        accuracies = []
        for seed in range(3):
            rows, is_row = ridge.draw_shots(train_c, CLASSES, 8, 0, draw=seed)
            assert is_row.all()
            drawn = rows[:, :shots].ravel()
            scores = reference(train_x[drawn], train_c[drawn], 1024.0)(x)
            accuracies.append((scores.argmax(axis=1) == c).mean())
        assert point["seeds"] == pytest.approx(accuracies)
        assert result.metrics[f"shots={shots}/top1"] == pytest.approx(np.mean(accuracies))
        assert result.metrics[f"shots={shots}/std"] == pytest.approx(np.std(accuracies, ddof=1))
        assert result.chance[f"shots={shots}/top1"] == 1 / CLASSES
    assert 1 / CLASSES < result.metrics["shots=2/top1"] < result.metrics["shots=8/top1"] < 1.0
    assert result.counts["images"] == 90
    # Only what was drawn is embedded.
    assert len(train_set.asked) == result.counts["train_images"] <= 3 * 8 * CLASSES


def test_draws_nest_and_are_balanced():
    class_of = np.random.default_rng(0).integers(0, 6, 300)
    rows, is_row = ridge.draw_shots(class_of, 6, 25, seed=1)
    assert is_row.all()
    assert (class_of[rows] == np.arange(6)[:, None]).all()
    assert all(len(set(mine)) == 25 for mine in rows.tolist())
    fewer, _ = ridge.draw_shots(class_of, 6, 5, seed=1)
    np.testing.assert_array_equal(fewer, rows[:, :5])
    # No two draws are the same, of one seed or of several.
    draws = [ridge.draw_shots(class_of, 6, 5, s, draw=d)[0] for s in (0, 1) for d in range(3)]
    assert len({draw.tobytes() for draw in draws}) == 6


def test_a_class_with_too_few_records_gives_all_it_has():
    class_of = np.array([0, 0, 0, 1])
    rows, is_row = ridge.draw_shots(class_of, 2, 3, seed=0)
    assert sorted(rows[0].tolist()) == [0, 1, 2]
    assert is_row.tolist() == [[True] * 3, [True, False, False]]
    assert rows[1, 0] == 3
    x, c = blobs(5, 40, 2, DIM)
    train_x, train_c = blobs(6, 20, 2, DIM)
    keep = np.flatnonzero((train_c == 0) | (np.cumsum(train_c) <= 2))  # two of the second class
    sets = [FakeSet({"pooled": x}, c.tolist()), FakeSet({"pooled": train_x[keep]}, train_c[keep])]
    result = FewShot(*sets, shots=(1, 5), num_seeds=2).evaluate(fake_model())
    assert [point["short_classes"] for point in result.details["curve"]] == [0, 1]
    with pytest.raises(ConfigError, match="no class has 11 training records, the largest has 10"):
        FewShot(*sets, shots=(1, 11))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_devices=st.sampled_from([1, 3]))
def test_shifts_scales_and_order_of_features_change_nothing(seed, num_devices):
    # Standardised, features have no unit; and a row of the test set is classified by itself.
    rng = np.random.default_rng(seed)
    train_x, train_c = blobs(seed, 42, CLASSES, DIM)
    x, _ = blobs(seed + 1, 70, CLASSES, DIM)
    scale, shift = 2.0 ** rng.integers(-3, 4, DIM), rng.integers(-3, 4, DIM)
    columns, rows = rng.permutation(DIM), rng.permutation(70)

    def predicted(train_x, x, devices):
        fit = fit_one(train_x, train_c, np.float32([0.5, 30.0, 1024.0]))
        return map_rows(ridge.predict, fit, x, tile=64, devices=devices)[:, 0]

    def changed(x):
        return (x * scale + shift)[:, columns].astype(np.float32)

    before = predicted(train_x, x, jax.devices()[:1])
    after = predicted(changed(train_x), changed(x)[rows], jax.devices()[:num_devices])
    # Scores that are equal up to rounding may change places; there are hardly any.
    assert (before[rows] == after).mean() > 0.98


def test_the_strength_is_chosen_on_the_validation_set():
    (test_set, train_set), (x, c), (train_x, train_c) = make_sets()
    val_x, val_c = blobs(9, 60, CLASSES, DIM, spread=2.0)
    strengths = (1e-2, 1e5)
    rows, _ = ridge.draw_shots(train_c, CLASSES, 2, 0)
    fitted = [reference(train_x[rows.ravel()], train_c[rows.ravel()], s) for s in strengths]
    assert len({(fit(x).argmax(axis=1) == c).mean() for fit in fitted}) == 2
    # Labels by which one strength is right, and then by which the other is.
    for number, fit in enumerate(fitted):
        val_set = FakeSet({"pooled": val_x}, fit(val_x).argmax(axis=1).tolist())
        suite = FewShot(test_set, train_set, val_set, strengths=strengths, shots=(2,), num_seeds=1)
        result = suite.evaluate(fake_model())
        assert result.details["curve"][0]["strength"] == strengths[number]
        expected = (fit(x).argmax(axis=1) == c).mean()
        assert result.metrics["shots=2/top1"] == pytest.approx(expected)
    assert "shots=2/std" not in result.metrics  # of one draw there is none
    with pytest.raises(ConfigError, match="several strengths need a set `val`"):
        FewShot(test_set, train_set, strengths=strengths)


def test_features_that_are_no_numbers_are_never_right():
    (test_set, train_set), _, _ = make_sets()
    train_set._layers["pooled"][:] = np.nan
    result = FewShot(test_set, train_set, shots=(2,)).evaluate(fake_model())
    assert result.metrics["shots=2/top1"] == 0.0


def test_suites_of_labelled_sets_open_from_a_configuration(tmp_path):
    # 4 concepts in 5 styles; two styles are the test set of all suites, which share the pictures.
    fakes.write_tar(tmp_path / "set-0.tar", ["a", "b", "c", "d"], ["s0", "s1", "s2", "s3", "s4"])
    source = {"kind": "webdataset", "shards": str(tmp_path / "set-*.tar")}
    test = {"source": source, "where": {"style": ["s0", "s1"]}}
    train = {"train": {"source": source, "where": {"style": ["s2", "s3", "s4"]}}}
    evals = {
        "few_shot": {**test, **train, "suite": "few_shot", "shots": [1, 3]},
        "knn": {**test, **train, "suite": "knn", "ks": [5]},
        "attentive_probe": {**test, **train, "suite": "attentive_probe"},
    }
    suites = {suite.name: suite for suite in open_suites(evals)}
    assert suites["attentive_probe"].options["learning_rates"] == [1e-4, 3e-4, 1e-3, 3e-3]
    model = fakes.PixelModel()
    for name in ("few_shot", "knn"):
        result = suites[name].evaluate(model)
        assert result.counts["images"] == 8
        assert all(np.isfinite(value) for value in result.metrics.values())
        json.dumps(result.details, allow_nan=False)
        assert result.counts["classes"] == 4
    evals["knn"]["train"] = test
    with pytest.raises(ConfigError, match="config.evals.knn: test and train share records"):
        open_suites(evals, only=["knn"])


def test_mistakes_are_told():
    (test_set, train_set), (x, c), _ = make_sets()
    with pytest.raises(ConfigError, match="Did you mean 'label'"):
        FewShot(test_set, train_set, label="lable")
    with pytest.raises(ConfigError, match="share records"):
        FewShot(test_set, test_set)
    with pytest.raises(ConfigError, match="shots = 2.5: needs a whole number of at least 1"):
        FewShot(test_set, train_set, shots=(1, 2.5))
    strange = FakeSet({"pooled": x}, ["9", *c.tolist()[1:]])
    with pytest.raises(
        ConfigError, match="record 0 has the label '9', of which there is no record in train"
    ):
        FewShot(strange, train_set)
    several = FakeSet({"pooled": x}, [[0, 1]] * len(x))
    with pytest.raises(ConfigError, match="several labels each"):
        FewShot(several, train_set)
    tokens = FakeSet({"tokens": np.zeros((90, 4, DIM))}, c.tolist())
    train_set._layers["tokens"] = np.zeros((200, 4, DIM))
    with pytest.raises(ConfigError, match="one vector per image"):
        FewShot(tokens, train_set, layer="tokens", shots=(1,)).evaluate(fake_model())
