import base64
import io
import json
import re

import numpy as np
import PIL.Image
import pytest
from fakes import Fake, vector

from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.evals import suites
from bigclip.evals.limits.casts import CASTS
from bigclip.evals.limits.scenes import draw
from bigclip.evals.limits.suite import SKILLS, Limits

SIZE = 24
WINOGROUND = ("text_score", "image_score", "group_score")


class Seeing(Fake):
    """Knows which text belongs to which picture, but for noise that the pixels decide."""

    def __init__(self, suite, *, sign=1.0, noise=0.0):
        self.preprocess = Preprocess(size=SIZE)
        painter = CASTS["shapes"].make_painter()
        self.text_of = {
            draw(scene, SIZE, painter).tobytes(): text
            for sets in suite.sets.values()
            for entry in sets
            for scene, text in zip(entry.scenes, entry.texts, strict=True)
        }
        self.sign, self.noise = sign, noise
        self.shapes, self.strange = set(), 0

    def embed_images(self, images):
        self.shapes.add(images.shape)
        pixels = [image.tobytes() for image in images]
        self.strange += sum(one not in self.text_of for one in pixels)
        emb = np.stack([vector(self.text_of.get(one, "")) for one in pixels])
        if self.noise:
            emb = emb + self.noise * np.stack([vector(one.hex()) for one in pixels])
        return self.sign * emb

    def embed_texts(self, texts):
        return np.stack([vector(text) for text in texts])


class Blind(Fake):
    """Embeds by texts alone, or by pictures alone, or everything alike."""

    def __init__(self, *, sees, reads):
        self.preprocess = Preprocess(size=SIZE)
        self.sees, self.reads = sees, reads

    def embed_images(self, images):
        if self.sees:
            return images.reshape(len(images), -1)[:, ::97].astype(np.float32) / 255
        return np.ones((len(images), 18), np.float32)

    def embed_texts(self, texts):
        if self.reads:
            return np.stack([vector(text, 18) for text in texts])
        return np.ones((len(texts), 18), np.float32)


@pytest.fixture(scope="module")
def small():
    return Limits(num_sets=12, counts=(1, 3, 9))


def test_who_knows_all_is_always_right_and_who_reverses_it_never(small):
    model = Seeing(small)
    found = small.evaluate(model)
    assert set(found.metrics.values()) == {1.0}
    assert found.metrics.keys() == found.chance.keys()
    assert found.metrics.keys() == {
        "mean",
        *SKILLS,
        *(f"{skill}/{score}" for skill in SKILLS for score in WINOGROUND),
    }
    assert model.shapes == {(64, SIZE, SIZE, 3)}
    sets = [entry for sets in small.sets.values() for entry in sets]
    num_images = sum(len(entry.scenes) for entry in sets)
    assert found.counts == {
        "images": num_images,
        "sets": len(sets),
        "texts": len({text for entry in sets for text in entry.texts}),
    }
    assert model.strange == 0
    opposed = small.evaluate(Seeing(small, sign=-1.0)).metrics
    # Of two texts the reversed order takes the wrong one; of three it may take any but the right.
    assert {opposed[skill] for skill in SKILLS} == {0.0}


@pytest.mark.parametrize("sees", [True, False])
@pytest.mark.parametrize("objects", CASTS)
def test_a_model_of_texts_alone_or_pictures_alone_is_exactly_at_chance(limits, objects, sees):
    suite = limits[objects]
    found = suite.evaluate(Blind(sees=sees, reads=not sees))
    for skill in SKILLS:
        chance = 1 / 5 if skill == "counting" else 1 / 2
        assert found.chance[skill] == chance
        assert found.metrics[skill] == pytest.approx(chance, abs=1e-12)
        for condition in {entry.condition for entry in suite.sets[skill]}:
            by = found.details["skills"][skill]["by"][condition]
            assert by == pytest.approx(chance, abs=1e-12)
    assert found.metrics["mean"] == pytest.approx((0.2 + 4 * 0.5) / 5)
    assert found.chance["mean"] == pytest.approx((0.2 + 4 * 0.5) / 5)


def test_a_model_that_says_one_thing_is_at_chance_in_winogrounds_scores_too(small):
    found = small.evaluate(Blind(sees=False, reads=False))
    for name, value in found.metrics.items():
        assert value == pytest.approx(found.chance[name], abs=1e-12), name


def test_outputs_that_are_no_vectors_score_the_same(small):
    class Trees(Seeing):
        def embed_images(self, images):
            return {"emb": super().embed_images(images), "more": np.zeros((len(images), 2, 3))}

        def embed_texts(self, texts):
            return {"emb": super().embed_texts(texts)}

        def score(self, image_outputs, text_outputs):
            self.most = max(getattr(self, "most", 0), len(text_outputs["emb"]))
            return super().score(image_outputs["emb"], text_outputs["emb"])

    model = Trees(small, noise=1.5)
    expected, found = small.evaluate(Seeing(small, noise=1.5)), small.evaluate(model)
    assert 0.6 < expected.metrics["mean"] < 1
    assert found.metrics == pytest.approx(expected.metrics)
    assert model.most == 3  # a decoder scores only what is asked


def test_a_skill_alone_gives_what_it_gives_among_others(small):
    alone = Limits(skills=("counting", "spatial"), num_sets=12, counts=(1, 3, 9))
    assert alone.sets == {skill: small.sets[skill] for skill in ("counting", "spatial")}
    assert Limits(skills=["spatial"], num_sets=12, seed=1).sets["spatial"] != alone.sets["spatial"]
    control = Limits(skills=["control"], num_sets=12)
    assert control.sets["control"] == small.sets["control"]
    assert "mean" not in control.evaluate(Seeing(control)).metrics


def test_details_for_the_report(small):
    suite = Limits(num_sets=12, counts=(1, 3, 9), num_examples=1)
    found = suite.evaluate(Seeing(suite, noise=1.5))
    json.dumps(found.details, allow_nan=False)
    counting = found.details["skills"]["counting"]
    assert counting["items"] == 2 * 12 * 3
    assert counting["by"].keys() == {"equal_size", "equal_ink", "one", "three", "nine"}
    mean = np.mean([counting["by"][name] for name in ("one", "three", "nine")])
    assert counting["accuracy"] == pytest.approx(mean, abs=1e-3)
    assert counting["accuracy"] == pytest.approx(found.metrics["counting"], abs=1e-4)
    assert 0 < counting["standard_error"] < 0.1
    skills = [(entry["skill"], entry["is_right"]) for entry in found.details["examples"]]
    assert skills == [(skill, is_right) for skill in SKILLS for is_right in (True, False)]
    for entry in found.details["examples"]:
        prefix, _, data = entry["image"].partition(",")
        assert prefix == "data:image/webp;base64"
        assert PIL.Image.open(io.BytesIO(base64.b64decode(data))).size == (72, 72)
        right, *wrong = entry["scores"]
        assert len(wrong) == len(entry["wrong_texts"])
        assert (right > max(wrong)) == entry["is_right"]
        texts = {entry["right_text"], *entry["wrong_texts"]}
        sets = [one for one in suite.sets[entry["skill"]] if set(one.texts) == texts]
        assert entry["condition"] in {one.condition for one in sets}
    none = Limits(num_sets=12, skills=["spatial"], num_examples=0)
    assert none.evaluate(Seeing(none)).details["examples"] == []


def test_the_template_is_put_around_every_text(small):
    suite = Limits(num_sets=12, skills=["spatial"], template="a drawing of {}.")
    asked = []

    class Asked(Seeing):
        def embed_texts(self, texts):
            asked.extend(texts)
            return super().embed_texts(texts)

    suite.evaluate(Asked(suite))
    texts = {text for entry in suite.sets["spatial"] for text in entry.texts}
    assert set(asked) == {f"a drawing of {text}." for text in texts}


def test_processes_draw_only_what_they_embed(small):
    class Half(Seeing):
        def rows_here(self, batch_size):
            return np.arange(batch_size // 2)

        def embed_images(self, images):
            assert images[: len(images) // 2].any(axis=(1, 2, 3)).all()
            assert not images[len(images) // 2 :].any()
            return super().embed_images(images)

    suite = Limits(num_sets=12, skills=["negation"], counts=(1, 2))
    suite.sets["negation"] = suite.sets["negation"][:32]
    suite.evaluate(Half(suite))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skills": ["countng"]}, "skills: no choice 'countng'. Did you mean 'counting'"),
        ({"skills": "counting"}, "skills = 'counting': needs a list"),
        ({"skills": ["spatial", "spatial"]}, "needs each once"),
        ({"objects": "emojis"}, "objects: no choice 'emojis'. Did you mean 'emoji'"),
        ({"num_sets": 10}, "positive multiple of 12, not 10"),
        ({"num_sets": 0}, "num_sets = 0: needs a whole number"),
        ({"num_sets": 12.0}, "num_sets = 12.0: needs a whole number"),
        ({"counts": [3]}, "counts = [3]: needs at least 2"),
        ({"counts": [3, 3]}, "counts = [3, 3]: needs each once"),
        ({"counts": [3, 10]}, "counts = 10: needs a whole number from 1 to 9"),
        ({"counts": 3}, "counts = 3: needs at least 2"),
        ({"template": "a picture"}, "needs exactly one {}"),
        ({"template": 3}, "template = 3: needs a "),
        ({"num_examples": -1}, "num_examples = -1: needs a whole number of at least 0"),
        ({"seed": 0.5}, "seed = 0.5: needs a whole number"),
        ({"source": {"kind": "webdataset"}}, "unknown key 'source' in config.evals.x"),
    ],
)
def test_mistakes_are_told_before_any_model(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        suites.open_suites({"x": {"suite": "limits", **options}})


def test_the_definition_follows_the_options():
    def definition(**options):
        (suite,) = suites.open_suites({"x": {"suite": "limits", "num_sets": 12, **options}})
        return suite.definition({"size": 1})

    assert definition() == definition(objects="shapes")
    assert len({definition(), definition(seed=1), definition(objects="emoji")}) == 3
