"""The retrieval suite on sets whose right answer is known."""

import fakes
import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.evals.embedding import Pictures
from bigclip.evals.records import read_records
from bigclip.evals.retrieval import suite as retrieval
from bigclip.evals.sets import EvalSet
from bigclip.evals.texts import pair_up

CONCEPTS = [f"thing {i}" for i in range(30)]


def make_suite(source, *, where=None, batch_size=16, **options):
    options = {"captions": ["name"]} | options
    pictures = Pictures(source, batch_size=batch_size, num_threads=1)
    return retrieval.Retrieval(EvalSet(read_records(source, where=where), pictures), **options)


def test_a_perfect_model_is_always_right():
    source, meaning = fakes.make_source(CONCEPTS, ["noto", "twemoji"])
    result = make_suite(source).evaluate(fakes.FakeModel(meaning))
    for name in ("image_to_text/R@1", "text_to_image/R@1", "image_to_text/mrr"):
        assert result.metrics[name] == 1.0
    assert result.metrics["text_to_image/median_rank"] == 1.0
    assert result.counts == {
        "images": 60,
        "texts": 30,
        "pairs": 60,
        "pools": 1,
        "images_without_text": 0,
    }
    assert result.chance["image_to_text/R@1"] == pytest.approx(1 / 30)
    assert result.chance["text_to_image/R@1"] == pytest.approx(2 / 60)


def test_a_constant_model_is_at_chance():
    source, meaning = fakes.make_source(CONCEPTS, ["noto", "twemoji"])
    result = make_suite(source).evaluate(fakes.FakeModel(meaning, constant=True))
    for name, value in result.chance.items():
        assert result.metrics[name] == pytest.approx(value), name


def test_equals_brute_force_with_several_texts_an_image():
    source, meaning = fakes.make_source(CONCEPTS, ["noto", "twemoji"])
    model = fakes.FakeModel(meaning, noise=3.0)
    result = make_suite(source, captions=["name", "keywords"], tile=64).evaluate(model)

    texts = sorted(
        {text for record in source for s in ("name", "keywords") for text in record.captions[s]}
    )
    image_emb = np.stack(
        [
            model._embed(
                meaning[record.image], np.frombuffer(record.image, np.uint8).reshape(8, 8, 3)
            )
            for record in source
        ]
    )
    scores = image_emb @ model.embed_texts(texts).T
    right = np.array(
        [
            [text in record.captions["name"] + record.captions["keywords"] for text in texts]
            for record in source
        ]
    )
    for name, s, r in (("image_to_text", scores, right), ("text_to_image", scores.T, right.T)):
        order = np.argsort(-s, axis=1)
        first = np.array([np.flatnonzero(r[i][order[i]])[0] for i in range(len(s))])
        for k in (1, 5, 10):
            assert result.metrics[f"{name}/R@{k}"] == pytest.approx((first < k).mean()), (name, k)
        assert result.metrics[f"{name}/median_rank"] == np.median(first + 1)
        assert result.metrics[f"{name}/mrr"] == pytest.approx((1 / (first + 1)).mean())


def test_equal_texts_are_one_text():
    texts, pairs = pair_up([["fox", "a fox"], ["fox"], ["owl", "owl"]])
    assert texts == ["fox", "a fox", "owl"]
    assert pairs.tolist() == [[0, 0], [0, 1], [1, 0], [2, 2]]


def test_groups_are_pools_of_their_own():
    source, meaning = fakes.make_source(CONCEPTS, ["noto", "twemoji"])
    model = fakes.FakeModel(meaning, noise=3.0)
    both = make_suite(source, group_by="style").evaluate(model)
    alone = {
        style: make_suite(source, where={"style": style}).evaluate(model)
        for style in ("noto", "twemoji")
    }
    for style, result in alone.items():
        for name, value in result.metrics.items():
            assert both.metrics[f"style={style}/{name}"] == value
    for name in alone["noto"].metrics:
        expected = np.mean([result.metrics[name] for result in alone.values()])
        assert both.metrics[name] == pytest.approx(expected)
    assert both.counts["pools"] == 2


def test_batches_have_one_shape_and_pictures_are_decoded_once():
    source, meaning = fakes.make_source(CONCEPTS, ["noto", "twemoji"])
    suite = make_suite(source, batch_size=16)
    first, second = fakes.FakeModel(meaning), fakes.FakeModel(meaning)
    suite.evaluate(first)
    suite.evaluate(second)
    assert first.batch_shapes == second.batch_shapes == {(16, 8, 8, 3)}
    assert first.preprocess.calls == 60
    assert second.preprocess.calls == 0


def test_the_cache_is_bounded():
    source, meaning = fakes.make_source(CONCEPTS, ["noto"])
    pictures = Pictures(source, cache_bytes=10 * 8 * 8 * 3, batch_size=8, num_threads=1)
    suite = retrieval.Retrieval(EvalSet(read_records(source), pictures), captions=["name"])
    suite.evaluate(fakes.FakeModel(meaning))
    again = fakes.FakeModel(meaning)
    suite.evaluate(again)
    assert again.preprocess.calls == 20


def test_examples_do_not_depend_on_the_model_and_mark_right_answers():
    source, meaning = fakes.make_source(CONCEPTS, ["noto", "twemoji"])
    suite = make_suite(source, group_by="style", num_examples=6, num_candidates=5)
    noisy = suite.evaluate(fakes.FakeModel(meaning, noise=3.0)).details
    perfect = suite.evaluate(fakes.FakeModel(meaning)).details
    for name, query in (("image_to_text", "record"), ("text_to_image", "text")):
        assert [e[query] for e in noisy[name]] == [e[query] for e in perfect[name]]
        assert len(noisy[name]) == 6
        assert all(entry["ranked"][0]["right"] for entry in perfect[name])
        for entry in noisy[name]:
            assert len(entry["ranked"]) == 5
            place = [hit["right"] for hit in entry["ranked"]]
            assert (True in place) == (entry["rank"] <= 5)
    for entry in noisy["image_to_text"] + noisy["mistakes"]:
        record = source[entry["record"]]
        names = [noisy["texts"][str(text)] for text in entry["right_texts"]]
        assert names == record.captions["name"]
        assert entry["pool"] == f"style={record.metadata['style']}"
    assert perfect["mistakes"] == []
    margins = [e["ranked"][0]["score"] - e["best"] for e in noisy["mistakes"]]
    assert margins == sorted(margins, reverse=True)
    assert all(not e["ranked"][0]["right"] for e in noisy["mistakes"])


def test_composed_texts_and_templates():
    source, _ = fakes.make_source(["fox"], ["noto"])
    suite = make_suite(source, captions=["{name}: {keywords}"], template="a photo of {}")
    assert suite._prompts == ["a photo of fox: fox a, shared"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"captions": ["nam"]}, "no record has the caption source 'nam'. Did you mean 'name'"),
        ({"captions": "name"}, "must be a list"),
        ({"group_by": "styl"}, "Did you mean 'style'"),
        ({"template": "a photo"}, "exactly one {}"),
        ({"where": {"style": "nato"}}, "style: noto"),
        ({"tile": 0}, "tile = 0: needs a whole number of at least 1"),
        ({"tile": "x"}, "tile = 'x': needs a whole number"),
        ({"captions_per_image": 0}, "captions_per_image = 0: needs a whole number"),
        ({"captions": [3]}, "captions must be a list of caption sources"),
        ({"num_examples": -1}, "num_examples = -1"),
        ({"num_candidates": 0}, "num_candidates = 0"),
        ({"example_seed": None}, "example_seed = None"),
        ({"template": None}, "exactly one {}"),
        ({"group_by": ["style"]}, "group_by = .* needs a name"),
        ({"paraphrases": 3}, "paraphrases = 3: needs a name"),
    ],
)
def test_mistakes_are_told(options, message):
    source, _ = fakes.make_source(["fox"], ["noto"])
    with pytest.raises(ConfigError, match=message):
        make_suite(source, **options)


def test_a_broken_picture_is_named():
    source, meaning = fakes.make_source(["fox", "owl"], ["noto"])
    source[1] = source[1]._replace(image=b"no picture")
    with pytest.raises(ValueError, match="test-00000.tar/000001 cannot be decoded"):
        make_suite(source).evaluate(fakes.FakeModel(meaning))
