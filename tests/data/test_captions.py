"""The choice of captions, by literal cases and by counting."""

import collections

import numpy as np
import pytest
import scipy.stats

from bigclip.config import ConfigError
from bigclip.data.captions import CaptionChooser, NoCaption

FOX = {
    "txt": ["fox face"],
    "name": ["fox", "red fox"],
    "keywords": ["animal", "face", "fox"],
    "de": ["Fuchs"],
}


def draws(options, captions=FOX, count=4000):
    choose, rng = CaptionChooser(**options), np.random.default_rng(0)
    return collections.Counter(tuple(choose(captions, rng)) for _ in range(count))


def test_without_rules_it_takes_the_first_source():
    assert set(draws({})) == {("fox face",)}


def test_weights_are_frequencies():
    found = draws({"weights": {"txt": 1, "name": 2, "de": 5}})
    # 4,000 draws: a frequency p has a standard deviation of at most 0.008.
    share = {text: count / 4000 for (text,), count in found.items()}
    expected = {"fox face": 1 / 8, "fox": 1 / 8, "red fox": 1 / 8, "Fuchs": 5 / 8}
    assert share == pytest.approx(expected, abs=0.03)


def test_weights_of_missing_sources_go_to_the_others():
    found = draws({"weights": {"txt": 1, "de": 3, "ja": 96}})
    assert found[("Fuchs",)] / 4000 == pytest.approx(0.75, abs=0.03)
    assert set(found) == {("Fuchs",), ("fox face",)}


def test_join_takes_every_choice_in_every_order():
    found = draws({"weights": {"keywords": 1}, "join": ["keywords"]})
    singles = {(word,) for word in FOX["keywords"]}
    assert singles < set(found)
    assert ("face, fox, animal",) in found
    assert ("fox, animal",) in found
    assert len(found) == 3 + 6 + 6
    assert sum(found[single] for single in singles) / 4000 == pytest.approx(1 / 3, abs=0.03)


def test_compose_joins_parts_without_repeats():
    options = {
        "weights": {"both": 1},
        "compose": {"both": ["name", "keywords"]},
        "join": ["keywords"],
        "separator": " | ",
    }
    found = {text for (text,) in draws(options)}
    assert "fox" in found  # name fox, keyword fox
    assert "fox | animal" in found
    assert "red fox | face | fox | animal" in found
    assert all(text.split(" | ")[0] in FOX["name"] for text in found)
    assert not any(text.split(" | ").count("fox") > 1 for text in found)


def test_compose_makes_do_with_the_parts_there_are():
    options = {"weights": {"both": 1}, "compose": {"both": ["name", "ja"]}}
    assert set(draws(options)) == {("fox",), ("red fox",)}


def test_templates_wrap_what_was_drawn():
    options = {"weights": {"de": 1}, "templates": {"de": ["{}", "ein Bild: {}."]}}
    assert set(draws(options)) == {("Fuchs",), ("ein Bild: Fuchs.",)}
    odd = {"weights": {"de": 1}, "templates": {"de": ["a {}"]}}
    assert set(draws(odd, {"de": ["{0} {x"]})) == {("a {0} {x",)}


def test_all_gives_one_text_a_source_in_order():
    options = {"policy": "all", "weights": {"de": 1, "txt": 1}}
    assert set(draws(options)) == {("Fuchs", "fox face")}
    assert CaptionChooser(**options).num_captions == 2
    lacking = draws(options, {"txt": ["only"]})
    assert set(lacking) == {("only", "only")}


# The rules of papers, as captions.py says them, with a record and what each text must come out as.
RECIPES = {
    "LaCLIP": (
        {"weights": {"txt": 1, "rewrites": 4}, "fallback": {"min_words": 2, "source": "txt"}},
        {"txt": ["a fox"], "rewrites": ["red fox", "snow fox", "fox", "one fox"]},
        {"a fox": 2 / 5, "red fox": 1 / 5, "snow fox": 1 / 5, "one fox": 1 / 5},
    ),
    "VeCLIP": (
        {"weights": {"txt": 1, "vecap": 1}},
        {"txt": ["fox"], "vecap": ["a red fox in snow"]},
        {"fox": 1 / 2, "a red fox in snow": 1 / 2},
    ),
    "RWKV-CLIP": (
        {"weights": {"txt": 1, "synthetic": 1, "generated": 1}},
        {"txt": ["fox"], "synthetic": ["a fox"], "generated": ["a red fox"]},
        {"fox": 1 / 3, "a fox": 1 / 3, "a red fox": 1 / 3},
    ),
}


@pytest.mark.parametrize("paper", RECIPES)
def test_recipes_of_papers_draw_with_their_probabilities(paper):
    options, record, expected = RECIPES[paper]
    found = draws(options, record, count=6000)
    assert {text for (text,) in found} == set(expected)
    counts = [found[(text,)] for text in expected]
    # The seed is fixed: 3% by chance would be a bad seed, a wrong weight gives 1e-20.
    fit = scipy.stats.chisquare(counts, [6000 * p for p in expected.values()])
    assert fit.pvalue > 0.03
    shifted = [p + 0.05 * (-1) ** i for i, p in enumerate(expected.values())]
    wrong = scipy.stats.chisquare(counts, [6000 * p / sum(shifted) for p in shifted])
    assert wrong.pvalue < 1e-3  # so many draws can tell


def test_recipe_of_datacompdr_gives_the_original_and_one_synthetic_caption():
    options = {"policy": "all", "weights": {"txt": 1, "syn_text": 1}}
    record = {"txt": ["fox"], "syn_text": [f"fox {i}" for i in range(5)]}
    found = draws(options, record, count=5000)
    assert {original for original, _ in found} == {"fox"}
    assert len(found) == 5
    assert scipy.stats.chisquare(list(found.values())).pvalue > 0.03


def test_fallback_takes_the_place_of_short_texts_with_its_own_rules():
    options = {
        "policy": "all",
        "weights": {"de": 1, "name": 1, "txt": 1},
        "templates": {"de": ["ein Bild: {}"], "txt": ["alt: {}"]},
        "fallback": {"min_words": 2, "source": "txt"},
    }
    # "Fuchs" and "fox" are short, whatever a template adds; "red fox" is not.
    assert set(draws(options)) == {
        ("alt: fox face", "alt: fox face", "alt: fox face"),
        ("alt: fox face", "red fox", "alt: fox face"),
    }
    short = {"de": ["Fuchs"], "txt": ["fox"]}
    # The fallback itself may be short; without it, short texts stay.
    assert set(draws({**options, "weights": {"de": 1, "txt": 1}}, short)) == {("alt: fox",) * 2}
    one = {"weights": {"de": 1}, "fallback": {"min_words": 2, "source": "txt"}}
    assert set(draws(one, {"de": ["Fuchs"], "en": ["a fox"]})) == {("Fuchs",)}
    # It is looked for in the records, although it has no weight.
    assert CaptionChooser(**one).stored_sources == {"de", "txt"}


def test_fallback_counts_words_of_joined_and_composed_texts():
    options = {
        "weights": {"both": 1},
        "compose": {"both": ["name", "de"]},
        "fallback": {"min_words": 3, "source": "txt"},
    }
    # "fox, Fuchs" has two words, "red fox, Fuchs" three.
    assert set(draws(options)) == {("fox face",), ("red fox, Fuchs",)}


def test_fallback_leaves_the_draws_of_longer_texts_as_they_were():
    plain = CaptionChooser(weights={"txt": 1, "keywords": 1}, join=["keywords"])
    careful = CaptionChooser(
        weights={"txt": 1, "keywords": 1},
        join=["keywords"],
        fallback={"min_words": 2, "source": "txt"},
    )
    for seed in range(50):
        (first,) = plain(FOX, np.random.default_rng(seed))
        (second,) = careful(FOX, np.random.default_rng(seed))
        assert second == (first if " " in first else "fox face")


def test_is_a_function_of_captions_and_random_numbers():
    choose = CaptionChooser(
        weights={"name": 1, "keywords": 1},
        join=["keywords"],
        fallback={"min_words": 2, "source": "de"},
    )
    texts = [choose(FOX, np.random.default_rng(seed)) for seed in [*range(20), *range(20)]]
    assert texts[:20] == texts[20:]


def test_a_record_without_any_weighted_source_says_what_it_has():
    choose = CaptionChooser(weights={"title": 1, "alt": 1})
    with pytest.raises(NoCaption, match=r"\(title, alt\), only txt, name, keywords, de"):
        choose(FOX, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "some"}, '"one_of" or "all"'),
        ({"policy": "all"}, "needs weights"),
        ({"weights": {}}, "weights is empty"),
        ({"weights": {"name": 0}}, "weights.name must be a positive number"),
        ({"weights": {"name": "much"}}, "weights.name must be a positive number"),
        ({"join": "keywords"}, "must be a list"),
        ({"weights": {"name": 1}, "join": ["keywords"]}, "keywords has rules but no weight"),
        ({"fallback": {"min_words": 2}}, "captions.fallback.source is missing"),
        ({"fallback": {"min_words": 2, "source": "txt", "max": 1}}, "unknown key 'max'"),
        ({"fallback": {"min_words": 0, "source": "txt"}}, "min_words must be 1 or more"),
        ({"fallback": {"min_words": 2, "source": 3}}, "must name a caption source"),
        (
            {"compose": {"all": ["txt"]}, "fallback": {"min_words": 2, "source": "all"}},
            "'all' is composed",
        ),
        ({"templates": {"name": ["a picture"]}}, r"must hold \{\} once"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        CaptionChooser(**options)
