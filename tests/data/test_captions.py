"""The choice of captions, by literal cases and by counting."""

import collections

import numpy as np
import pytest

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


def test_is_a_function_of_captions_and_random_numbers():
    choose = CaptionChooser(weights={"name": 1, "keywords": 1}, join=["keywords"])
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
        ({"templates": {"name": ["a picture"]}}, r"must hold \{\} once"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        CaptionChooser(**options)
