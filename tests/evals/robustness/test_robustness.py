import json

import numpy as np
import pytest
from fakes import Fake, FakePreprocess, FakeRecord, vector

from bigclip.config import ConfigError
from bigclip.evals.embedding import Pictures
from bigclip.evals.records import read_records
from bigclip.evals.robustness.corruptions import CORRUPTIONS, corrupt
from bigclip.evals.robustness.suite import Robustness
from bigclip.evals.sets import EvalSet

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 40), "blue": (40, 40, 220), "grey": (90,) * 3}
NAMES = ("gaussian_noise", "contrast", "fog")


class Colourist(Fake):
    """Embeds pictures by their mean colour and texts by the colour they name."""

    def __init__(self, processes=1):
        self.preprocess = FakePreprocess()
        self.seen = 0
        self.processes = processes

    def embed_images(self, images):
        self.seen += len(images)
        emb = images.reshape(len(images), -1, 3).mean(axis=1) - 60.0
        return (emb / np.linalg.norm(emb, axis=1, keepdims=True)).astype(np.float32)

    def embed_texts(self, texts):
        emb = np.array([COLOURS[text.split()[-1]] for text in texts]) - 60.0
        return (emb / np.linalg.norm(emb, axis=1, keepdims=True)).astype(np.float32)

    def rows_here(self, batch_size):
        return np.arange(batch_size)


def make_set(num=37, *, batch_size=16, labels=None):
    rng = np.random.default_rng(0)
    records = []
    for number in range(num):
        name = list(COLOURS)[number % len(COLOURS)]
        shade = COLOURS[name] + rng.normal(0, 45, 3)
        pixels = np.clip(rng.normal(shade, 60, (8, 8, 3)), 0, 255).astype(np.uint8)
        label = name if labels is None else labels(number, name)
        captions = {"name": [name]}
        records.append(FakeRecord(f"record {number}", pixels.tobytes(), captions, {"label": label}))
    return EvalSet(read_records(records), Pictures(records, batch_size=batch_size))


def pictures_of(test):
    return [
        np.frombuffer(test.records.source[i].image, np.uint8).reshape(8, 8, 3)
        for i in test.records.index
    ]


def top1_by_hand(test, rows, name, strength, seed=0):
    """Spoil, embed and compare one picture after the other."""
    model, right = Colourist(), 0
    classes = sorted(COLOURS)
    texts = model.embed_texts(classes)
    for row in rows:
        picture = pictures_of(test)[row]
        if strength:
            picture = corrupt(picture, name, strength, seed=seed, key=test.records.key[row])
        emb = model.embed_images(picture[None])[0]
        right += classes[int(np.argmax(texts @ emb))] == test.records.metadata[row]["label"]
    return right / len(rows)


@pytest.fixture(scope="module")
def test_set():
    return make_set()


def test_each_number_is_that_of_the_pictures_one_by_one(test_set):
    suite = Robustness(test_set, corruptions=NAMES, strengths=(5, 2))
    model = Colourist()
    found = suite.evaluate(model)
    rows = range(37)
    assert found.metrics["clean"] == pytest.approx(top1_by_hand(test_set, rows, "", 0))
    expected = {
        name: [top1_by_hand(test_set, rows, name, strength) for strength in (2, 5)]
        for name in NAMES
    }
    for name, values in expected.items():
        assert found.metrics[f"{name}/2"] == pytest.approx(values[0])
        assert found.metrics[f"{name}/5"] == pytest.approx(values[1])
        assert found.metrics[name] == pytest.approx(np.mean(values))
    mean = np.mean(list(expected.values()))
    assert found.metrics["mean"] == pytest.approx(mean)
    assert found.metrics["relative"] == pytest.approx(mean / found.metrics["clean"])
    assert 0.25 < mean < found.metrics["clean"] < 1
    assert found.chance.pop("clean") == pytest.approx(1 / 4)
    assert found.chance.keys() == found.metrics.keys() - {"clean", "relative"}
    assert found.counts == {"images": 37, "classes": 4, "corruptions": 3}
    assert found.details["families"].keys() == {"noise", "weather", "digital"}
    json.dumps(found.details, allow_nan=False)
    assert model.seen == 3 * 16 * 7  # padded batches, clean and six conditions
    assert suite.evaluate(model).metrics == found.metrics


def test_batches_do_not_matter(test_set):
    options = {"corruptions": ["shot_noise", "glass_blur"], "strengths": [3]}
    expected = Robustness(test_set, **options).evaluate(Colourist()).metrics
    other = make_set(batch_size=5)
    assert Robustness(other, **options).evaluate(Colourist()).metrics == pytest.approx(expected)


def test_a_part_of_the_pictures_is_drawn_by_the_seed(test_set):
    options = {"corruptions": ["fog"], "strengths": [1], "num_images": 20}
    suite = Robustness(test_set, **options)
    assert suite.evaluate(Colourist()).counts["images"] == 20
    rows = sorted(np.random.default_rng(0).choice(37, 20, replace=False))
    found = suite.evaluate(Colourist()).metrics
    assert found["clean"] == pytest.approx(top1_by_hand(test_set, rows, "", 0))
    assert found["fog/1"] == pytest.approx(top1_by_hand(test_set, rows, "fog", 1))
    other = Robustness(test_set, **options, seed=1).evaluate(Colourist()).metrics
    rows = sorted(np.random.default_rng(1).choice(37, 20, replace=False))
    assert other["fog/1"] == pytest.approx(top1_by_hand(test_set, rows, "fog", 1, seed=1))
    for num_images in (None, 37, 1000):
        whole = Robustness(test_set, **options | {"num_images": num_images})
        assert whole.evaluate(Colourist()).counts["images"] == 37


def test_every_corruption_runs_and_no_number_is_left_out(test_set):
    found = Robustness(test_set, num_images=4).evaluate(Colourist())
    assert {name for name in found.metrics if name in CORRUPTIONS} == set(CORRUPTIONS)
    assert len(found.metrics) == 3 + len(CORRUPTIONS) * 6
    assert all(np.isfinite(value) for value in found.metrics.values())


def test_several_labels_and_candidates():
    # Grey may also be called blue; every fourth picture has no label.
    def labels(number, name):
        return [] if number % 4 == 0 else ["grey", "blue"] if name == "grey" else [name]

    test = make_set(24, labels=labels)
    options = {"corruptions": ["contrast"], "strengths": [1], "classes": list(COLOURS)}
    found = Robustness(test, **options).evaluate(Colourist())
    assert found.counts["images"] == 18
    assert found.chance["clean"] == pytest.approx(np.mean([1 / 4, 1 / 4, 2 / 4]))
    masked = Robustness(test, **options, candidates=["green", "blue"]).evaluate(Colourist())
    assert masked.counts == {"images": 18, "classes": 2, "corruptions": 1}
    assert masked.chance["clean"] == pytest.approx(0.5)


def test_a_model_that_is_never_right_has_a_finite_ratio(test_set):
    class Wrong(Colourist):
        def embed_images(self, images):
            return -super().embed_images(images)

    options = {
        "corruptions": ["fog"],
        "strengths": [1],
        "classes": {"red": "red", "green": "green"},
    }
    only = make_set(8, labels=lambda number, name: "red" if name == "red" else "green")
    found = Robustness(only, **options, num_images=None).evaluate(Wrong())
    assert found.metrics["clean"] < 0.5
    red = EvalSet(read_records(only.records.source, where={"label": "red"}), only.pictures)
    found = Robustness(red, **options).evaluate(Wrong())
    assert found.metrics["clean"] == 0
    assert found.metrics["relative"] == 0


def test_outputs_that_are_no_vectors(test_set):
    class Trees(Colourist):
        def embed_images(self, images):
            return {"emb": super().embed_images(images)}

        def embed_texts(self, texts):
            return {"emb": super().embed_texts(texts)}

    def score(params, images, texts):
        return images["emb"] @ texts["emb"].T

    model = Trees()
    model.task = type("Task", (), {"score": staticmethod(score)})
    options = {"corruptions": ["shot_noise"], "strengths": [4]}
    expected = Robustness(test_set, **options).evaluate(Colourist()).metrics
    assert Robustness(test_set, **options).evaluate(model).metrics == pytest.approx(expected)


def test_processes_spoil_only_what_they_embed(test_set):
    class Half(Colourist):
        def rows_here(self, batch_size):
            return np.arange(batch_size // 2, batch_size)

        def embed_images(self, images):
            assert not images[: len(images) // 2].any()
            return np.stack([vector(str(image.sum())) for image in images])

        def embed_texts(self, texts):
            return np.stack([vector(text) for text in texts])

    test = make_set(16)
    Robustness(test, corruptions=["brightness"], strengths=[1]).evaluate(Half())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruptions": ["frost"]}, "corruptions: no choice 'frost'"),
        ({"corruptions": ["fogg"]}, "Did you mean 'fog'"),
        ({"corruptions": "fog"}, "needs a list of choices"),
        ({"corruptions": []}, "needs a list of choices"),
        ({"corruptions": ["fog", "fog"]}, "needs each once"),
        ({"strengths": [0]}, "strengths: no choice 0"),
        ({"strengths": [True]}, "strengths: no choice True"),
        ({"strengths": 3}, "strengths = 3: needs a list of choices"),
        ({"num_images": 0}, "num_images = 0: needs a whole number of at least 1"),
        ({"num_images": True}, "num_images = True"),
        ({"seed": -1}, "seed = -1: needs a whole number of at least 0"),
        ({"tile": 0}, "tile = 0: needs a whole number of at least 1"),
        ({"candidates": ["yellow"]}, "'yellow' is no class"),
        ({"classes": {"red": "red"}}, "no class for the label 'green'"),
        ({"templates": ["a picture"]}, "needs exactly one {}"),
        ({"label": "labl"}, "no such metadata key"),
    ],
)
def test_mistakes_are_told_before_any_model(test_set, options, message):
    with pytest.raises(ConfigError, match=message.replace("{", "\\{")):
        Robustness(test_set, **options)
