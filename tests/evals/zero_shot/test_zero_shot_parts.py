"""The parts of the zero-shot suite: masks, hierarchies, languages, many labels, foreign pictures,
wording, calibration. Scores are given; what should come out is computed from them by loops."""

import json

import fakes
import hypothesis
import hypothesis.strategies as st
import numpy as np
import PIL.Image
import pytest
from scipy.special import softmax
from sklearn.metrics import average_precision_score, roc_auc_score

from bigclip.config import ConfigError
from bigclip.data import embedded
from bigclip.data.sources import open_random_access
from bigclip.evals import predictions, suites
from bigclip.evals.embedding import Pictures
from bigclip.evals.ranks import ranking
from bigclip.evals.records import read_records
from bigclip.evals.sets import EvalSet
from bigclip.evals.zero_shot import class_scores
from bigclip.evals.zero_shot import suite as zero_shot

CONCEPTS = [f"thing {i}" for i in range(12)]
TEMPLATES = ["{}", "a photo of a {}.", "the {} here"]


def make_set(source):
    return EvalSet(read_records(source), Pictures(source, batch_size=16, num_threads=1))


def make_suite(source, ood=None, **options):
    options = {"template_spread": False} | options
    return zero_shot.ZeroShot(make_set(source), ood and make_set(ood), **options)


@pytest.fixture(scope="module")
def noisy():
    """A set of 60 pictures of 12 concepts, a model that is often wrong, and its scores."""
    source, meaning = fakes.make_source(CONCEPTS, list("abcde"))
    model = fakes.FakeModel(meaning, noise=1.5)
    images = np.stack([np.frombuffer(r.image, np.uint8).reshape(8, 8, 3) for r in source])
    # Classes come from the records in the order of their names.
    scores = model.embed_images(images) @ model.embed_texts(sorted(CONCEPTS)).T
    class_of = np.array([sorted(CONCEPTS).index(r.metadata["concept"]) for r in source])
    return source, model, scores, class_of


def test_only_candidates_are_ranked_and_other_records_left_out(noisy):
    source, model, scores, class_of = noisy
    kept = [1, 2, 5, 7]
    result = make_suite(source, candidates=[sorted(CONCEPTS)[c] for c in kept]).evaluate(model)
    inside = np.isin(class_of, kept)
    expected = np.array(kept)[scores[inside][:, kept].argmax(axis=1)] == class_of[inside]
    assert result.metrics["top1"] == pytest.approx(expected.mean())
    assert result.chance["top1"] == pytest.approx(1 / 4)
    assert result.counts["images"] == 20
    assert result.counts["images_left_out"] == 40
    assert result.counts["classes"] == 4
    with pytest.raises(ConfigError, match="no record is of any"):
        make_suite(source, classes=[*CONCEPTS, "unseen"], candidates=["unseen"])


def test_hierarchies_exchange_prediction_and_truth_for_their_parents(noisy, tmp_path):
    source, model, scores, class_of = noisy
    parents = {name: "low" if name < "thing 4" else name[-1] for name in CONCEPTS}
    result = make_suite(source, hierarchy={"half": parents}).evaluate(model)
    parent = np.array([parents[name] for name in sorted(CONCEPTS)])
    right = parent[scores.argmax(axis=1)] == parent[class_of]
    assert result.metrics["hierarchy=half/top1"] == pytest.approx(right.mean())
    assert result.metrics["hierarchy=half/top1"] > result.metrics["top1"]
    by_lot = np.mean([(parent == parent[c]).mean() for c in class_of])
    assert result.chance["hierarchy=half/top1"] == pytest.approx(by_lot)
    with pytest.raises(ConfigError, match="hierarchy.half: the class 'thing 1' has no parent"):
        make_suite(source, hierarchy={"half": {"thing 0": "low"}})
    whole, half = tmp_path / "all.json", tmp_path / "half.json"
    whole.write_text(json.dumps({"half": parents}))
    half.write_text(json.dumps(parents))
    for hierarchy in (str(whole), {"half": str(half)}):
        again = make_suite(source, hierarchy=hierarchy).evaluate(model)
        assert again.metrics == result.metrics


def test_pictures_with_many_labels(noisy):
    source, model, scores, _ = noisy
    rng = np.random.default_rng(0)
    right = rng.random(scores.shape) < 0.2
    right[0], right[:, 11] = False, False
    names = sorted(CONCEPTS)
    labelled = [
        record._replace(metadata={"label": [names[c] for c in np.flatnonzero(row)]})
        for record, row in zip(source, right, strict=True)
    ]
    result = make_suite(labelled, classes=names).evaluate(model)
    there = right.any(axis=0)
    for name, metric in (("mAP", average_precision_score), ("roc_auc", roc_auc_score)):
        expected = metric(right[:, there], scores[:, there], average="macro")
        assert result.metrics[name] == pytest.approx(expected), name
    has_label = right.any(axis=1)
    first = scores.argmax(axis=1)
    expected = right[np.arange(60), first][has_label].mean()  # as ImageNet-ReaL counts
    assert result.metrics["top1"] == pytest.approx(expected)
    assert result.chance["top1"] == pytest.approx(right[has_label].mean())
    assert "thing 9" not in result.details["per_class"]
    entry = result.details["per_class"]["thing 0"]
    assert entry["images"] == right[:, 0].sum()
    assert entry["average_precision"] == pytest.approx(
        average_precision_score(right[:, 0], scores[:, 0]), abs=1e-4
    )
    drawn = result.details["image_to_text"] + result.details["mistakes"]
    assert all(entry["right"] > 0 for entry in drawn)
    older = make_suite(labelled, classes=names, average_precision="11_point").evaluate(model)
    assert older.metrics["mAP"] != result.metrics["mAP"]
    with pytest.raises(ConfigError, match="one label each"):
        make_suite(labelled, classes=names, hierarchy={"h": dict.fromkeys(names, "x")})


class Long(fakes.FakeModel):
    """Its image outputs are not normalised, each of another length."""

    def __init__(self, meaning):
        super().__init__(meaning, noise=0.3)

    def embed_images(self, images):
        emb = super().embed_images(images)
        return emb * (1 + images.reshape(len(images), -1)[:, :1] % 7)


def test_foreign_pictures_are_told_by_their_confidence(noisy):
    source, _, _, _ = noisy
    foreign, more = fakes.make_source([f"other {i}" for i in range(20)], ["a"], seed=5)
    meaning = fakes.make_source(CONCEPTS, list("abcde"))[1] | more
    model = fakes.FakeModel(meaning, noise=0.3)
    result = make_suite(source, foreign).evaluate(model)
    pictures = [np.frombuffer(r.image, np.uint8).reshape(8, 8, 3) for r in [*source, *foreign]]
    scores = model.embed_images(np.stack(pictures)) @ model.embed_texts(sorted(CONCEPTS)).T
    anomaly, is_foreign = -softmax(scores, axis=1).max(axis=1), np.arange(80) >= 60
    assert result.metrics["ood/aupr"] == pytest.approx(average_precision_score(is_foreign, anomaly))
    assert result.metrics["ood/auroc"] == pytest.approx(roc_auc_score(is_foreign, anomaly))
    assert result.metrics["ood/aupr"] > result.chance["ood/aupr"] == 0.25
    assert result.counts["ood_images"] == 20
    # Outputs of any length are judged by the same confidences.
    long = make_suite(source, foreign).evaluate(Long(meaning))
    for name in ("ood/aupr", "ood/auroc", "ood/fpr95"):
        assert long.metrics[name] == pytest.approx(result.metrics[name]), name
    constant = make_suite(source, foreign).evaluate(fakes.FakeModel(meaning, constant=True))
    for name in ("ood/aupr", "ood/auroc"):
        assert constant.metrics[name] == pytest.approx(constant.chance[name]), name


def test_each_template_alone(noisy):
    source, model, _, class_of = noisy
    result = make_suite(source, templates=TEMPLATES, template_spread=True).evaluate(model)
    images = np.stack([np.frombuffer(r.image, np.uint8).reshape(8, 8, 3) for r in source])
    emb = model.embed_images(images)
    expected = [
        ((emb @ model.embed_texts([t.format(c) for c in sorted(CONCEPTS)]).T).argmax(1) == class_of)
        for t in TEMPLATES
    ]
    found = result.details["per_template"]
    assert [entry["template"] for entry in found] == TEMPLATES
    accuracy = [right.mean() for right in expected]
    assert [entry["top1"] for entry in found] == pytest.approx(accuracy, abs=1e-4)
    assert result.metrics["template_std"] == pytest.approx(np.std(accuracy))
    assert result.metrics["template_min"] == pytest.approx(min(accuracy))
    assert result.metrics["template_max"] == pytest.approx(max(accuracy))
    assert "template_std" not in make_suite(source, template_spread=True).evaluate(model).metrics


def test_calibration_uses_the_temperature_of_the_task(noisy):
    source, model, scores, class_of = noisy
    hot = fakes.FakeModel(model._meaning, noise=1.5)
    hot.task, hot.score_params = type(model.task)(score=_scaled), np.float32(20)
    results = {1: make_suite(source).evaluate(model), 20: make_suite(source).evaluate(hot)}
    for scale, result in results.items():
        confidence = softmax(scale * scores, axis=1).max(axis=1)
        correct = scores.argmax(axis=1) == class_of
        place = np.ceil(confidence * 15)
        gaps = [
            abs((correct - confidence)[place == b].sum()) / len(correct) for b in np.unique(place)
        ]
        assert result.metrics["ece"] == pytest.approx(sum(gaps), rel=1e-4)
        assert sum(b["share"] for b in result.details["calibration"]) == pytest.approx(1, abs=1e-3)
    assert results[1].metrics["top1"] == results[20].metrics["top1"]


def _scaled(params, images, texts):
    return params * (images @ texts.T) - 3.0


def test_the_worst_classes_and_what_they_are_taken_for(noisy):
    source, model, scores, class_of = noisy
    result = make_suite(source, num_confusions=3).evaluate(model)
    first, names = scores.argmax(axis=1), sorted(CONCEPTS)
    accuracy = [(first[class_of == c] == c).mean() for c in range(12)]
    found = result.details["confusions"]
    assert [entry["top1"] for entry in found] == pytest.approx(sorted(accuracy)[:3], abs=1e-4)
    for entry in found:
        mine = first[class_of == names.index(entry["name"])]
        for other in entry["confused_with"]:
            share = (mine == names.index(other["name"])).mean()
            assert other["share"] == pytest.approx(share)
            assert other["name"] != entry["name"]
        shares = [other["share"] for other in entry["confused_with"]]
        assert shares == sorted(shares, reverse=True)


def test_other_languages(noisy):
    source, model, scores, class_of = noisy
    spoken = [  # two classes have no name there
        r._replace(captions=r.captions | {"xx": [f"das {r.metadata['concept']}"]})
        if r.metadata["concept"] not in ("thing 3", "thing 4")
        else r
        for r in source
    ]
    languages = {
        "xx": {"names": "xx"},
        "yy": {"classes": [f"le {c}" for c in sorted(CONCEPTS)], "templates": ["voici {}"]},
        "zz": {"thing 1": "uno", "thing 2": "due"},
    }
    result = make_suite(spoken, languages=languages).evaluate(model)
    images = np.stack([np.frombuffer(r.image, np.uint8).reshape(8, 8, 3) for r in source])
    emb = model.embed_images(images)
    names = sorted(CONCEPTS)
    for language, kept, prompt in (
        ("xx", [c for c in names if c not in ("thing 3", "thing 4")], "das {}"),
        ("yy", names, "voici le {}"),
    ):
        position = [names.index(c) for c in kept]
        inside = np.isin(class_of, position)
        texts = model.embed_texts([prompt.format(c) for c in kept])
        first = np.array(position)[(emb[inside] @ texts.T).argmax(axis=1)]
        expected = (first == class_of[inside]).mean()
        assert result.metrics[f"language={language}/top1"] == pytest.approx(expected)
        assert result.chance[f"language={language}/top1"] == pytest.approx(1 / len(kept))
    assert result.counts["language=xx/classes"] == 10
    assert result.counts["language=xx/images"] == 50
    assert result.chance["language=zz/top1"] == 0.5
    plain = make_suite(source).evaluate(model)
    assert result.metrics["top1"] == plain.metrics["top1"]
    # A list of names is in the order of all classes, also where some are masked.
    few = {"languages": {"yy": languages["yy"]}, "candidates": names[3:6]}
    masked = make_suite(spoken, **few).evaluate(model)
    inside = np.isin(class_of, [3, 4, 5])
    texts = model.embed_texts([f"voici le {name}" for name in names[3:6]])
    first = 3 + (emb[inside] @ texts.T).argmax(axis=1)
    expected = (first == class_of[inside]).mean()
    assert masked.metrics["language=yy/top1"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ({"de": {"classes": ["a"], "template": ["{}"]}}, "languages.de: unknown key 'template'"),
        ({"de": {"0": "a"}}, "languages.de names none of the classes"),
        ("de.json", "languages = 'de.json': needs a dict"),
        ({"de": {"classes": ["a"] * 11}}, "languages.de: a list of 11 for 12 classes"),
        ({"de": ["a"]}, "languages.de: a list of 1 for 12 classes"),
        ({"de": {"names": "de"}}, "languages.de.names = 'de'"),
        ({"de": {"classes": ["a"] * 12, "templates": "clip:imagenet"}}, "tables are English"),
    ],
)
def test_languages_that_say_nothing(noisy, languages, message):
    with pytest.raises(ConfigError, match=message):
        make_suite(noisy[0], languages=languages)


def test_the_embedded_pack_names_its_concepts_in_other_languages():
    source = open_random_access(kind="webdataset", shards=embedded.shards("heldout_concepts"))
    test = EvalSet(read_records(source, where={"style": "noto"}), Pictures(source))
    languages = {code: {"names": code} for code in ("de", "zh", "sw")}
    suite = zero_shot.ZeroShot(test, languages=languages, templates="clip:imagenet_7")
    counts = suite._counts()
    classes = counts["classes"]
    assert classes > 150
    for code in languages:
        assert 0.9 * classes < counts[f"language={code}/classes"] <= classes
    assert suite._languages["de"].prompts != suite._languages["sw"].prompts


@hypothesis.settings(max_examples=30)
@hypothesis.given(st.integers(0, 10**6), st.integers(1, 70), st.integers(2, 9))
def test_blocks_do_not_depend_on_tile_padding_or_devices(seed, num_images, num_classes):
    rng = np.random.default_rng(seed)
    # Small whole numbers: every sum is exact, and ties are frequent.
    scores = rng.integers(-3, 4, (num_images, num_classes)).astype(np.float32)
    emb = np.pad(scores, [(0, 0), (0, 9 - num_classes)])
    classes = np.eye(9, dtype=np.float32)[:num_classes]
    blocks = list(class_scores.score_blocks(emb, classes, score_fn=ranking.inner_product, tile=64))
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), scores)
    class_of = rng.integers(0, num_classes, num_images)
    parent = rng.integers(0, 3, num_classes)
    found = predictions.predict(blocks, num_images, class_of, {"h": parent})
    for i, row in enumerate(scores):
        tied = np.flatnonzero(row == row.max())
        assert found.correct[i] == pytest.approx(np.mean(tied == class_of[i]))
        expected = np.mean(parent[tied] == parent[class_of[i]])
        assert found.correct_in["h"][i] == pytest.approx(expected)
        assert found.first[i] == tied[0]
        assert found.confidence[i] == pytest.approx(softmax(row).max())
    assert (found.correct_in["h"] >= found.correct - 1e-12).all()


def test_sets_of_an_evals_block(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    for number, place in enumerate(["in/owl", "in/red_fox", "in/owl", "out"]):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels[number]).save(tmp_path / place / f"{number}.png")
    block = {
        "suite": "zero_shot",
        "source": {"kind": "folder", "path": str(tmp_path / "in")},
        "ood": {"source": {"kind": "folder", "path": str(tmp_path / "out")}},
        "templates": "clip:imagenet_7",
    }
    (suite,) = suites.open_suites({"animals": block})
    result = suite.evaluate(fakes.PixelModel())
    assert result.counts["images"] == 3
    assert result.counts["ood_images"] == 1
    assert result.chance["ood/aupr"] == 0.25
    names = {label: entry["name"] for label, entry in result.details["per_class"].items()}
    assert names == {"0": "owl", "1": "red fox"}
    # A label that is the class's name is put into the prompts as it is.
    (named,) = suites.open_suites({"animals": block | {"label": "class_name"}})
    again = named.evaluate(fakes.PixelModel())
    assert again.metrics == result.metrics
    assert {entry["name"] for entry in again.details["per_class"].values()} == {"owl", "red fox"}
