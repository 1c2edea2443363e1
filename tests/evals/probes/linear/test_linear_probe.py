"""The suite `linear_probe` against scikit-learn and by hand."""

import json

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.metrics
from fake_sets import FakeSet, blobs, fake_model

from bigclip.config import ConfigError
from bigclip.evals.probes.linear.saved import Probe, load_probe
from bigclip.evals.probes.linear.suite import LinearProbe

CLASSES, DIM = 7, 10


def make_set(seed, num, *, spread=1.5, more=None):
    features, class_of = blobs(seed, num, CLASSES, DIM, spread=spread)
    layers = {"pooled": features, "embedding": np.roll(features, 1, axis=0)}
    found = FakeSet(layers, labels=class_of.tolist())
    for name, values in (more or {}).items():
        for metadata, value in zip(found.records.metadata, values, strict=True):
            metadata[name] = value
    return found


def features_of(one):
    return one.features(None, ("pooled",))["pooled"], np.array(
        [metadata["label"] for metadata in one.records.metadata]
    )


@pytest.fixture(scope="module")
def result():
    sets = [make_set(1, 100), make_set(2, 150), make_set(3, 130)]
    probe = LinearProbe(*sets, layers=("pooled", "embedding"))
    return sets, probe.evaluate(fake_model())


def test_the_probe_is_fitted_to_train_and_val_at_the_best_strength(result):
    (test, train, val), found = result
    (x, y), (train_x, train_y), (val_x, val_y) = map(features_of, (test, train, val))
    (strength,) = found.details["strength"]["pooled"]
    tried = [one for one in found.details["sweep"] if one["layer"] == "pooled"]
    assert max(one["val"] for one in tried) == max(
        one["val"] for one in tried if one["strength"] == strength
    )
    for one in tried:  # what a fit of the training rows alone scores
        model = sklearn.linear_model.LogisticRegression(
            C=1 / one["strength"], solver="newton-cholesky"
        )
        expected = model.fit(train_x.astype(np.float64), train_y).score(val_x, val_y)
        assert one["val"] == pytest.approx(expected, abs=2.5 / len(val_y))
    model = sklearn.linear_model.LogisticRegression(
        C=1 / strength, solver="newton-cholesky", tol=1e-9
    )
    model.fit(np.concatenate([train_x, val_x], dtype=np.float64), np.append(train_y, val_y))
    logits = model.decision_function(x)
    assert found.metrics["top1"] == pytest.approx(model.score(x, y))
    top5 = sklearn.metrics.top_k_accuracy_score(y, logits, k=5)
    assert found.metrics["top5"] == pytest.approx(top5)
    balanced = sklearn.metrics.balanced_accuracy_score(y, model.predict(x))
    assert found.metrics["mean_per_class"] == pytest.approx(balanced)
    assert found.metrics["layer=embedding/top1"] < found.metrics["top1"]
    assert found.chance["top1"] == found.chance["layer=embedding/top1"] == 1 / CLASSES
    assert found.counts["train_images"] == 150
    assert found.counts["val_images"] == 130
    assert found.counts["not_converged"] == 0


def test_the_saved_probe_predicts_the_same(result, tmp_path):
    (test, *_), found = result
    np.savez(tmp_path / "suite-1.npz", **found.arrays)
    x, y = features_of(test)
    probe = load_probe(tmp_path / "suite-1.npz")
    assert (probe.predict(x) == y.astype(str)).mean() == pytest.approx(found.metrics["top1"])
    other = load_probe(tmp_path / "suite-1.npz", "layer=embedding")
    assert other.layer == "embedding"
    np.testing.assert_allclose(probe.probabilities(x).sum(axis=1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match=r"this probe takes \[I, 10\]"):
        probe.predict(x[:, :4])
    with pytest.raises(ConfigError, match="no part 'layer=embeding'.*Did you mean"):
        load_probe(tmp_path / "suite-1.npz", "layer=embeding")


def test_standardised_features_are_folded_into_the_kernel(tmp_path):
    test, train = make_set(1, 100), make_set(2, 150)
    found = LinearProbe(test, train, normalize="standardize", strength=1.0).evaluate(fake_model())
    (x, _), (train_x, train_y) = map(features_of, (test, train))
    mean, std = train_x.mean(axis=0), train_x.std(axis=0)
    model = sklearn.linear_model.LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-9)
    model.fit(((train_x - mean) / std).astype(np.float64), train_y)
    np.savez(tmp_path / "probe.npz", **found.arrays)
    ours = load_probe(tmp_path / "probe.npz").probabilities(x)
    np.testing.assert_allclose(ours, model.predict_proba((x - mean) / std), atol=2e-3)
    assert found.details["sweep"] == []


@pytest.mark.parametrize("ap", ["area", "11_point"])
def test_several_labels_a_record(ap):
    rng = np.random.default_rng(5)
    sets = []
    for num in (60, 150):
        features = rng.normal(size=(num, DIM)).astype(np.float32)
        has = features[:, :3] + rng.normal(size=(num, 3)) > 0.5
        sets.append(
            FakeSet(
                {"pooled": features}, labels=[[f"l{t}" for t in np.flatnonzero(r)] for r in has]
            )
        )
    found = LinearProbe(*sets, strength=1.0, ap=ap).evaluate(fake_model())
    (test_x, test_y), (train_x, train_y) = (
        (
            one.features(None, ("pooled",))["pooled"],
            np.array([[f"l{t}" in m["label"] for t in range(3)] for m in one.records.metadata]),
        )
        for one in sets
    )
    expected = []
    for t in range(3):
        model = sklearn.linear_model.LogisticRegression(C=1.0, tol=1e-8)
        scores = model.fit(train_x, train_y[:, t]).decision_function(test_x)
        if ap == "area":
            expected.append(sklearn.metrics.average_precision_score(test_y[:, t], scores))
        else:
            precision, recall, _ = sklearn.metrics.precision_recall_curve(test_y[:, t], scores)
            tenths = np.arange(11) / 10
            expected.append(np.mean([precision[recall >= r - 1e-9].max() for r in tenths]))
    assert found.metrics["mAP"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert set(found.details["per_class"]) == {"l0", "l1", "l2"}


def test_official_folds_of_the_training_set_and_of_one_set():
    folds = [[1, 2] if i % 5 == 0 else 1 + i % 2 for i in range(300)]
    test, train = make_set(1, 100), make_set(2, 300, more={"fold": folds})
    found = LinearProbe(test, train, folds="fold", strength=1.0).evaluate(fake_model())
    values = []
    (x, y), (train_x, train_y) = map(features_of, (test, train))
    for fold in (1, 2):
        mine = [fold in (one if isinstance(one, list) else [one]) for one in folds]
        model = sklearn.linear_model.LogisticRegression(C=1.0, solver="newton-cholesky")
        values.append(model.fit(train_x[mine], train_y[mine]).score(x, y))
    assert found.metrics["top1"] == pytest.approx(np.mean(values), abs=0.011)
    assert found.metrics["top1/std"] == pytest.approx(np.std(values, ddof=1), abs=0.011)
    assert {"fold=1/kernel", "fold=2/kernel"} <= set(found.arrays)
    crossed = LinearProbe(train, folds="fold", strength=1.0)
    tested = [fold.test.tolist() for fold in crossed._folds]
    assert tested == [[i for i in range(300) if i % 5 == 0 or i % 2 == k] for k in range(2)]
    for fold in crossed._folds:
        assert sorted([*fold.train, *fold.test]) == list(range(300))


def test_every_record_is_tested_in_one_stratified_fold():
    one = make_set(2, 280)
    probe = LinearProbe(one, folds=2, strength=1.0, seed=1)
    tested = np.concatenate([fold.test for fold in probe._folds])
    assert sorted(tested) == list(range(280))
    classes = features_of(one)[1]
    for fold in probe._folds:
        assert not set(fold.train) & set(fold.test)
        counts = np.bincount(classes[fold.test], minlength=CLASSES)
        assert counts.max() - counts.min() <= 1
    x, _ = features_of(one)
    values = []
    for fold in probe._folds:
        model = sklearn.linear_model.LogisticRegression(C=1.0, solver="newton-cholesky")
        model.fit(x[fold.train].astype(np.float64), classes[fold.train])
        values.append(model.score(x[fold.test], classes[fold.test]))
    found = probe.evaluate(fake_model())
    assert found.metrics["top1"] == pytest.approx(np.mean(values), abs=0.02)
    assert found.counts == {"images": 280, "classes": CLASSES, "folds": 2, "not_converged": 0}


@pytest.mark.parametrize(
    ("sets", "options", "message"),
    [
        (1, {}, "train is missing"),
        (1, {"folds": 1}, "at least 2"),
        (2, {"folds": 3}, "leave `train` out"),
        (2, {"folds": "fold"}, "tell 0 fold"),
        (3, {"folds": "label"}, "leave `val` out"),
        (2, {"normalize": "L2"}, "Did you mean 'l2'"),
        (2, {"ap": "voc"}, "area"),
        (2, {"select_by": "mAP"}, "mean_per_class"),
        (2, {"layers": ()}, "layers = .*at least 1"),
        (2, {"strength": 0.0}, "strength"),
        (2, {"held_out": 1.0}, "held_out"),
    ],
)
def test_mistakes_are_told_before_any_model(sets, options, message):
    given = [make_set(seed, 30) for seed in range(1, 1 + sets)]
    with pytest.raises(ConfigError, match=message):
        LinearProbe(*given, **options)


def test_a_layer_of_tokens_and_a_class_without_training_records():
    test, train = make_set(1, 30), make_set(2, 30)
    test._layers["tokens"] = train._layers["tokens"] = np.zeros((30, 4, DIM), np.float32)
    with pytest.raises(ConfigError, match="needs one vector"):
        LinearProbe(test, train, layers=("tokens",)).evaluate(fake_model())
    test.records.metadata[0]["label"] = 99
    with pytest.raises(
        ConfigError, match="record 0 has the label '99', of which there is no record in train"
    ):
        LinearProbe(test, train)


def test_a_model_that_has_diverged_is_wrong_and_stops_nothing(caplog):
    test, train = make_set(1, 100), make_set(2, 150)
    whole = LinearProbe(test, train, strength=1.0).evaluate(fake_model())
    test._layers["pooled"][::4] = np.nan
    part = LinearProbe(test, train, strength=1.0).evaluate(fake_model())
    is_lost = np.arange(100) % 4 == 0
    probe = Probe(*(whole.arrays[name] for name in Probe._fields))
    x, y = features_of(test)
    right = probe.scores(x).argmax(axis=1) == y
    assert part.metrics["top1"] == pytest.approx(right[~is_lost].sum() / 100)
    train._layers["pooled"][7, 2] = np.inf
    lost = LinearProbe(test, train).evaluate(fake_model())
    assert lost.metrics == {"top1": 0.0, "mean_per_class": 0.0, "top5": 0.0}
    assert lost.counts["not_converged"] == 1
    assert "not finite" in caplog.text
    assert lost.details["strength"] == {"pooled": [None]}
    assert lost.details["confusions"][0]["confused_with"] == []
    json.dumps(lost.details, allow_nan=False)


def test_a_fold_that_tests_one_class_has_no_roc_auc():
    x, y = blobs(3, 300, 2, DIM)
    one = FakeSet({"pooled": x}, y.tolist())
    for number, metadata in enumerate(one.records.metadata):
        if number < 100:
            metadata["fold"] = "b"
        elif number < 220 and metadata["label"] == 0:
            metadata["fold"] = "a"  # and the others are always trained on
    found = LinearProbe(one, folds="fold", strength=1.0).evaluate(fake_model())
    assert "roc_auc" not in found.details["per_fold"][0]
    assert found.metrics["roc_auc"] == found.details["per_fold"][1]["roc_auc"]
    assert "roc_auc/std" not in found.metrics
    assert "top1/std" in found.metrics
    assert found.chance["roc_auc"] == 0.5


def test_labels_without_training_records_are_told_before_any_model():
    test = make_set(1, 30)
    train = make_set(2, 60, more={"fold": [1 + i % 2 for i in range(60)]})
    for metadata in train.records.metadata:
        metadata["fold"] = 1 if metadata["label"] == 4 else metadata["fold"]
    with pytest.raises(ConfigError, match="train, fold 2: no record .* has the label '4'"):
        LinearProbe(test, train, folds="fold")
    tagged = FakeSet({"pooled": np.zeros((9, 2))}, [["a", "b"], ["a"]] + 7 * [["a", "c"]])
    with pytest.raises(ConfigError, match="every record .* has the label 'a'"):
        LinearProbe(FakeSet({"pooled": np.zeros((2, 2))}, [["a"], ["b"]]), tagged)
    bare = FakeSet({"pooled": np.zeros((4, 2))}, [["a"], [], ["b"], ["a", "b"]])
    unlabelled = FakeSet({"pooled": np.zeros((2, 2))}, [["a"], []])
    unlabelled.records.metadata[0]["label"] = []
    with pytest.raises(ConfigError, match="no record has any label"):
        LinearProbe(unlabelled, bare)
    for metadata, fold in zip(bare.records.metadata, (1, 2, 1, 3), strict=True):
        metadata["fold"] = fold
    with pytest.raises(ConfigError, match="fold 2: the test records have no label"):
        LinearProbe(bare, folds="fold", strength=1.0)
