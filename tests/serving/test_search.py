"""Answers compared with plain numpy over all pairs."""

import threading

import numpy as np
import pytest
import stand_ins
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import COLOURS, SCALE, ColourModel, colour_vector

from bigclip.data.images import BadImage
from bigclip.serving.labels import BadInput
from bigclip.serving.recent import Recent
from bigclip.serving.search import best_rows


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    stand_ins.fill_folder(folder)
    for number in range(20):
        colour = np.random.default_rng(number).integers(0, 256, 3)
        (folder / f"{number}.png").write_bytes(stand_ins.picture(colour, noise=number))
    return stand_ins.search_in(folder)


def name(search, hit):
    return search.pictures.entries[hit.row].name.rpartition("/")[2].partition(".")[0]


@pytest.mark.parametrize("colour", COLOURS)
def test_a_text_finds_its_picture(search, colour):
    best = search.by_text(f"a {colour} picture", 0, 1)[0]
    wanted = search.pictures.outputs @ colour_vector(COLOURS[colour])
    assert best.row == wanted.argmax()
    assert best.score == pytest.approx(wanted.max(), abs=1e-6)
    assert name(search, best) == colour


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(COLOURS)), st.integers(1, 30), st.integers(0, 40))
def test_pages_make_up_the_whole_ranking(search, text, count, start):
    whole = search.by_text(text, 0, 1000)
    assert sorted(hit.row for hit in whole) == list(range(len(search.pictures)))
    assert all(a.score >= b.score - 1e-6 for a, b in zip(whole, whole[1:], strict=False))
    pages = [hit for k in range(0, 60, count) for hit in search.by_text(text, k, count)]
    assert [hit.row for hit in pages] == [hit.row for hit in whole]
    np.testing.assert_allclose([h.score for h in pages], [h.score for h in whole], atol=1e-6)
    page = search.by_text(text, start, count)
    assert [hit.row for hit in page] == [hit.row for hit in whole[start : start + count]]


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 50))
def test_the_best_rows_are_those_of_a_whole_sort(values, most):
    scores = np.array(values, np.float32)  # many of them equal
    expected = np.argsort(-scores, kind="stable")[:most]
    assert best_rows(scores, most).tolist() == expected.tolist()


def test_similar_pictures_are_the_nearest_by_cosine(search):
    emb = search.pictures.outputs
    for row in (0, 7, len(emb) - 1):
        found = search.by_picture(search.picture(row), 0, 1000, without=row)
        order = [i for i in np.argsort(-(emb @ emb[row]), kind="stable") if i != row]
        assert [hit.row for hit in found] == order
    upload = search.embed(stand_ins.picture(COLOURS["pink"]))
    assert name(search, search.by_picture(upload, 0, 1)[0]) == "pink"


def test_labels_are_a_softmax_over_ensembled_templates(search):
    labels, templates = list(COLOURS), ["{}", "pink {}", "some {} thing"]
    output = search.picture(3)
    found = search.labels(output, labels, templates)
    expected = []
    for label in labels:
        texts = [template.replace("{}", label).split() for template in templates]
        named = [np.mean([COLOURS[w] for w in words if w in COLOURS], axis=0) for words in texts]
        mean = np.mean([colour_vector(colour) for colour in named], axis=0)
        expected.append(SCALE * float(output[0] @ mean) / np.linalg.norm(mean))
    share = np.exp(expected) / np.exp(expected).sum()
    assert {f.label: pytest.approx(f.share, abs=1e-5) for f in found} == dict(
        zip(labels, share, strict=True)
    )
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)


def test_each_prompt_counts_alike_however_long_its_embedding_is(tmp_path):
    class Uneven(ColourModel):
        def embed_texts(self, texts):
            lengths = np.array([[50.0 if "pink" in text else 1.0] for text in texts], np.float32)
            return lengths * super().embed_texts(texts)

    stand_ins.fill_folder(tmp_path)
    even, uneven = (stand_ins.search_in(tmp_path, model()) for model in (ColourModel, Uneven))
    templates = ["{}", "pink {}"]
    expected, found = (s.labels(s.picture(2), list(COLOURS), templates) for s in (even, uneven))
    assert [one.label for one in found] == [one.label for one in expected]
    np.testing.assert_allclose([f.score for f in found], [e.score for e in expected], atol=1e-4)


def test_a_sigmoid_model_tells_probabilities(tmp_path):
    stand_ins.fill_folder(tmp_path)
    search = stand_ins.search_in(tmp_path, ColourModel(loss="sigmoid"))
    found = search.labels(search.picture(0), list(COLOURS), ["{}"])
    for label in found:
        assert label.share == pytest.approx(1 / (1 + np.exp(-label.score)))


def test_outputs_that_are_no_vectors_are_scored_by_the_task(tmp_path):
    stand_ins.fill_folder(tmp_path)
    search = stand_ins.search_in(tmp_path, ColourModel(trees=True))
    assert not search.has_vectors
    emb, bias = search.pictures.outputs["emb"], search.pictures.outputs["bias"][:, 0]
    wanted = emb @ colour_vector(COLOURS["red"]) + bias
    found = search.by_text("red", 0, 10)
    assert [hit.row for hit in found] == list(np.argsort(-wanted))
    assert found[0].score == pytest.approx(wanted.max(), abs=1e-6)
    assert search.by_picture(search.picture(0), 0, 10) == []
    templates = ["{}", "grey {}"]
    best = search.labels(search.picture(0), list(COLOURS), templates)[0]
    texts = [template.replace("{}", best.label).split() for template in templates]
    vectors = [colour_vector(np.mean([COLOURS[w] for w in t], axis=0)) for t in texts]
    assert best.score == pytest.approx(np.mean([emb[0] @ v for v in vectors]) + bias[0], abs=1e-5)


def test_texts_are_embedded_once_and_in_few_sizes(tmp_path):
    stand_ins.fill_folder(tmp_path)
    search = stand_ins.search_in(tmp_path, model := ColourModel())
    labels = [f"label {i}" for i in range(70)]
    search.labels(search.picture(0), labels, ["{}"])
    search.labels(search.picture(1), labels[:3] + ["another"], ["{}"])
    search.by_text("label 5", 0, 3)
    assert model.text_batches == {64, 8, 1}
    assert set(model.texts) == {*labels, "another"}


def test_threads_take_turns_at_the_model(search):
    """`ColourModel` fails when two are in it at once."""
    wrong = []

    def ask(number):
        for turn in range(15):
            text = f"{turn} {number} blue"
            if name(search, search.by_text(text, 0, 1)[0]) != "blue":
                wrong.append(text)
            search.labels(search.picture(turn), [text, "red"], ["{}"])
            search.embed(stand_ins.picture((turn, number, 9)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert search._model.inside == 0


def test_impossible_questions_are_told(search):
    with pytest.raises(BadImage):
        search.embed(b"no picture")
    with pytest.raises(BadInput, match="too many texts"):
        search.labels(search.picture(0), ["a"] * 600, ["{}"] * 10)


def test_recent_forgets_the_oldest_beyond_its_bound():
    recent = Recent(10, size=len)
    recent.put("a", "1234")
    recent.put("b", "1234")
    assert recent.get("a") == "1234"
    recent.put("c", "12")
    recent.put("d", "1")
    assert [recent.get(key) for key in "abcd"] == ["1234", None, "12", "1"]
    recent.put("a", "123456789")
    assert [recent.get(key) for key in "abcd"] == ["123456789", None, None, "1"]
