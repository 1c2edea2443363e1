"""Ranked consistency: against sets in a loop, against random rankings, and in the suite."""

import json

import fakes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigclip.config import ConfigError
from bigclip.evals.embedding import Pictures
from bigclip.evals.records import read_records
from bigclip.evals.retrieval import suite as retrieval
from bigclip.evals.retrieval.paraphrases import chance_overlaps, overlaps, read_paraphrases
from bigclip.evals.sets import EvalSet


def by_sets(first, second):
    depths = range(1, len(first) + 1)
    average = np.mean([len(set(first[:d]) & set(second[:d])) / d for d in depths])
    return average, len(set(first) & set(second)) / len(set(first) | set(second))


RANKINGS = st.integers(1, 12).flatmap(
    lambda num: st.lists(
        st.tuples(st.permutations(range(num)), st.permutations(range(num))), min_size=1, max_size=5
    ).map(np.array)
)


@given(RANKINGS, st.integers(1, 12))
def test_equals_sets_in_a_loop(rankings, num_ranks):
    first, second = rankings[:, 0, :num_ranks], rankings[:, 1, :num_ranks]
    average, jaccard = overlaps(first, second)
    expected = np.array(
        [by_sets(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    )
    np.testing.assert_allclose(average, expected[:, 0])
    np.testing.assert_allclose(jaccard, expected[:, 1])
    # Consistency has no direction, and is whole for equal rankings.
    np.testing.assert_allclose(overlaps(second, first), (average, jaccard))
    np.testing.assert_allclose(overlaps(first, first), 1.0)


@pytest.mark.parametrize(("num", "num_ranks"), [(50, 10), (13, 10), (10, 10), (4, 1)])
def test_chance_is_the_mean_over_random_rankings(num, num_ranks):
    rng = np.random.default_rng(0)
    drawn = np.stack([[rng.permutation(num)[:num_ranks] for _ in range(2)] for _ in range(8000)])
    found = overlaps(drawn[:, 0], drawn[:, 1])
    for values, expected in zip(found, chance_overlaps(num, num_ranks), strict=True):
        assert values.mean() == pytest.approx(expected, abs=5 * values.std() / 89 + 1e-12)


def test_chance_in_a_large_set_is_small_and_finite():
    average, jaccard = chance_overlaps(10**8, 10)
    assert average == pytest.approx(5.5e-8)
    assert jaccard == pytest.approx(100 / 10**8 / 19, rel=1e-3)  # one in common, of 19


CONCEPTS = [f"thing {i}" for i in range(30)]


def make_suite(source, **options):
    pictures = Pictures(source, batch_size=16, num_threads=1)
    return retrieval.Retrieval(
        EvalSet(read_records(source), pictures), captions=["name"], **options
    )


@pytest.fixture(scope="module")
def reworded():
    source, meaning = fakes.make_source(CONCEPTS, ["noto", "twemoji"])
    source = [
        r._replace(captions=r.captions | {"other": [f"the {r.captions['name'][0]}"]})
        for r in source
    ]
    return source, fakes.FakeModel(meaning, noise=2.0)


def test_the_suite_ranks_the_pictures_for_both_wordings(reworded, tmp_path):
    source, model = reworded
    result = make_suite(source, paraphrases="other", template="a {}").evaluate(model)
    images = np.stack([np.frombuffer(r.image, np.uint8).reshape(8, 8, 3) for r in source])
    emb = model.embed_images(images)
    found = []
    for concept in CONCEPTS:
        first, second = (
            np.argsort(-(emb @ model.embed_texts([text])[0]), kind="stable")[:10].tolist()
            for text in (f"a {concept}", f"a the {concept}")
        )
        found.append(by_sets(first, second))
    for name, value in zip(("AO", "JS"), np.mean(found, axis=0), strict=True):
        assert result.metrics[f"paraphrase/{name}@10"] == pytest.approx(value)
    assert result.chance["paraphrase/AO@10"] == pytest.approx(11 / 120)
    assert result.counts["paraphrases"] == 30
    pairs = [[concept, f"the {concept}"] for concept in CONCEPTS]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    (tmp_path / "pairs.tsv").write_text("\n".join("\t".join(pair) for pair in pairs) + "\n")
    for name in ("pairs.json", "pairs.tsv"):
        read = read_paraphrases(str(tmp_path / name), [], [])
        assert read == [tuple(pair) for pair in pairs]
    again = make_suite(
        source, paraphrases=str(tmp_path / "pairs.tsv"), template="a {}", group_by="style"
    ).evaluate(model)
    for name in ("paraphrase/AO@10", "paraphrase/JS@10"):
        assert again.metrics[name] == pytest.approx(result.metrics[name])


def test_equal_wordings_are_wholly_consistent(reworded, tmp_path):
    source, model = reworded
    (tmp_path / "same.tsv").write_text("thing 1\tthing 1\n")
    result = make_suite(source, paraphrases=str(tmp_path / "same.tsv")).evaluate(model)
    assert result.metrics["paraphrase/AO@10"] == result.metrics["paraphrase/JS@10"] == 1.0


def test_what_is_no_number_is_in_common_with_nothing(reworded):
    none = np.full((2, 10), -1)
    for values in overlaps(none, none):
        np.testing.assert_array_equal(values, 0)
    # Only two candidates of each query have a score that is a number.
    first, second = np.array([[4, 7, -1, -1]]), np.array([[7, 9, -1, -1]])
    average, jaccard = overlaps(first, second)
    assert average[0] == pytest.approx(np.mean([0, 1 / 2, 1 / 3, 1 / 4]))
    assert jaccard[0] == pytest.approx(1 / 7)

    class Diverged(fakes.FakeModel):
        def embed_texts(self, texts):
            return np.full_like(super().embed_texts(texts), np.nan)

    source, model = reworded
    result = make_suite(source, paraphrases="other").evaluate(Diverged(model._meaning))
    assert result.metrics["paraphrase/AO@10"] == result.metrics["paraphrase/JS@10"] == 0
    assert all(np.isfinite(value) for value in result.metrics.values())


def test_mistakes_are_told(reworded, tmp_path):
    (tmp_path / "bad.tsv").write_text("a fox\tthe fox\nan owl\n")
    (tmp_path / "bad.json").write_text("{}")
    for value, message in (
        ("othr", "Did you mean 'other'"),
        ("name", "no record has a text of this caption source beside another"),
        (str(tmp_path / "bad.tsv"), "entry 2 of .* is no pair"),
        (str(tmp_path / "bad.json"), "must hold a list"),
        (str(tmp_path / "absent.json"), "cannot read"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_suite(reworded[0], paraphrases=value)
