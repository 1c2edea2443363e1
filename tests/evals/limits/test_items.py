"""The sets themselves: true, balanced, and without a way around the question."""

import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from reader import is_true
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from bigclip.evals.limits import counting, spatial
from bigclip.evals.limits.casts import CASTS
from bigclip.evals.limits.scenes import draw
from bigclip.evals.limits.suite import SKILLS

CASES = [(cast, skill) for cast in CASTS for skill in SKILLS]
SAME_WORDS = {("attributes", None), ("word_order", None), ("negation", "but_no")}
RELATION_WORDS = (
    *("to the left of", "to the right of", "above", "below", "behind", "in front of"),
    *("larger than", "smaller than", "around", "inside"),
)


@pytest.mark.parametrize(("objects", "skill"), CASES)
def test_each_text_is_true_of_its_own_picture_and_of_no_other(limits, objects, skill):
    for entry in limits[objects].sets[skill]:
        for i, scene in enumerate(entry.scenes):
            for j, text in enumerate(entry.texts):
                assert is_true(text, scene, CASTS[objects].plurals) == (i == j), (text, scene)


@pytest.mark.parametrize(("objects", "skill"), CASES)
def test_pictures_of_a_set_share_their_background_and_what_is_not_asked(limits, objects, skill):
    conditions = Counter()
    for entry in limits[objects].sets[skill]:
        conditions[entry.condition] += 1
        assert len(entry.scenes) == len(entry.texts) == len(set(entry.texts))
        assert len({scene.background for scene in entry.scenes}) == 1
        for scene in entry.scenes:
            for thing in scene.things:
                assert min(thing.centre) > 0.1
                assert max(thing.centre) < 0.9
    assert set(conditions.values()) == {24}
    backgrounds = {entry.scenes[0].background for entry in limits[objects].sets[skill]}
    assert len(backgrounds) == sum(conditions.values())


@pytest.mark.parametrize("objects", CASTS)
def test_texts_of_a_pair_are_the_same_words_where_order_is_asked(limits, objects):
    checked = 0
    for skill, sets in limits[objects].sets.items():
        for entry in sets:
            if (skill, None) in SAME_WORDS or (skill, entry.condition) in SAME_WORDS:
                words = {
                    tuple(sorted(re.sub(r"\ban\b", "a", text).split())) for text in entry.texts
                }
                assert len(words) == 1
                checked += 1
    assert checked > 100


@pytest.mark.parametrize(("objects", "skill"), CASES)
def test_every_noun_colour_and_style_appears_equally_often(limits, objects, skill):
    nouns, looks = defaultdict(Counter), defaultdict(Counter)
    for entry in limits[objects].sets[skill]:
        for place, thing in enumerate(entry.scenes[0].things[:1]):
            nouns[entry.condition, place][thing.entity.kind] += 1
            looks[entry.condition, place][thing.entity.look] += 1
    cast = CASTS[objects]
    for kinds, values in ((nouns, cast.plurals), (looks, cast.looks)):
        for found in kinds.values():
            assert found == dict.fromkeys(values, 24 // len(values))


def test_relations_and_reverse_relations_are_equally_often_said(limits):
    for suite in limits.values():
        said = defaultdict(Counter)
        for entry in suite.sets["word_order"]:
            (relation,) = (words for words in RELATION_WORDS if words in entry.texts[0])
            said[entry.condition][relation] += 1
        assert all(set(found.values()) == {12} and len(found) == 2 for found in said.values())
        places = [entry for entry in suite.sets["spatial"] if entry.condition == "place"]
        assert Counter(entry.texts[0].split()[-1] for entry in places) == {"left": 12, "top": 12}


def _features(pictures):
    """What a look without understanding tells: colours, their spread, and the brighter side."""
    pictures = np.asarray(pictures, np.float64)
    return np.concatenate(
        [
            pictures.mean(axis=(1, 2)),
            pictures.std(axis=(1, 2)),
            pictures.reshape(len(pictures), -1).min(axis=1, keepdims=True),
            pictures.reshape(len(pictures), -1).max(axis=1, keepdims=True),
        ],
        axis=1,
    )


def _held_out_accuracy(train, train_labels, test, test_labels):
    scale = StandardScaler().fit(train)
    probe = LogisticRegression(C=10.0, max_iter=2000).fit(scale.transform(train), train_labels)
    return probe.score(scale.transform(test), test_labels)


# Where the pictures of a set have the same area of every colour; see docs/limits.md.
EQUAL_PAINT = {
    "control": {"shape"},
    "counting": {"equal_ink"},
    "spatial": {"horizontal", "vertical", "place"},
    "word_order": {"horizontal", "vertical", "depth"},
    "attributes": {"colour"},
    "negation": set(),
}
TWO_AREAS = {("word_order", "size"), ("word_order", "inside"), ("attributes", "size")}


def _paint(scene):
    """The area of each colour, as drawn; of things that overlap, both whole."""
    found = Counter()
    for thing in scene.things:
        found[thing.entity.look] += thing.area
    return {look: pytest.approx(area) for look, area in found.items()}


@pytest.mark.parametrize("skill", SKILLS)
def test_paint_is_equal_exactly_where_the_manual_says_so(limits, skill):
    is_equal = defaultdict(list)
    for entry in limits["shapes"].sets[skill]:
        first, *others = entry.scenes
        areas = Counter()
        for thing in first.things:
            areas[thing.entity.look] += thing.area
        is_equal[entry.condition].append(all(areas == _paint(scene) for scene in others))
        for scene in entry.scenes:
            one_area = len({thing.area for thing in scene.things}) == 1
            assert one_area == ((skill, entry.condition) not in TWO_AREAS)
    assert all(len(set(found)) == 1 for found in is_equal.values())
    assert {name for name, found in is_equal.items() if found[0]} == EQUAL_PAINT[skill]


@pytest.mark.parametrize("skill", [skill for skill in SKILLS if skill != "counting"])
def test_colours_of_the_picture_do_not_tell_which_text_is_right(limits, skill):
    sets = limits["shapes"].sets[skill]
    size, painter = 32, CASTS["shapes"].make_painter()
    features = _features([draw(s, size, painter) for entry in sets for s in entry.scenes])
    answers = np.tile([0, 1], len(sets))
    half = np.repeat(np.arange(len(sets)) % 2 == 0, 2)
    found = _held_out_accuracy(features[half], answers[half], features[~half], answers[~half])
    assert abs(found - 0.5) < 4 * 0.5 / np.sqrt((~half).sum())


def test_pictures_of_a_pair_have_the_same_colours_where_only_places_differ():
    cast = CASTS["shapes"]
    sets = spatial.make_sets(24, cast, np.random.default_rng(1))
    for entry in sets:
        means = [draw(scene, 64, cast.make_painter()).mean(axis=(0, 1)) for scene in entry.scenes]
        np.testing.assert_allclose(*means, atol=1.2)  # the edges fall otherwise on the pixels


def test_neither_paint_nor_size_tells_the_number_in_both_halves():
    cast, counts = CASTS["shapes"], (2, 3, 4, 5, 6)
    sets = counting.make_sets(24, cast, np.random.default_rng(2), counts=counts)
    by_half = defaultdict(list)
    for entry in sets:
        for count, scene in zip(counts, entry.scenes, strict=True):
            ink = sum(thing.area for thing in scene.things)
            by_half[entry.condition].append((count, ink, scene.things[0].area))
    number, ink, size = np.array(by_half["equal_size"]).T
    assert abs(np.corrcoef(number, size)[0, 1]) < 1e-6 < 0.9 < np.corrcoef(number, ink)[0, 1]
    number, ink, size = np.array(by_half["equal_ink"]).T
    assert abs(np.corrcoef(number, ink)[0, 1]) < 1e-6 < 0.8 < -np.corrcoef(number, size)[0, 1]

    # The same from pixels: a probe of the paint, learned where it tells, is lost where it is equal.
    painter, probes = cast.make_painter(), {}
    for half in ("equal_size", "equal_ink"):
        chosen = [entry for entry in sets if entry.condition == half]
        pictures = np.array([draw(s, 32, painter) for entry in chosen for s in entry.scenes])
        coloured = (np.ptp(pictures, axis=3) > 60).mean(axis=(1, 2))[:, None]
        probes[half] = coloured, np.tile(counts, len(chosen))
    assert _held_out_accuracy(*probes["equal_size"], *probes["equal_size"]) > 0.5
    assert abs(_held_out_accuracy(*probes["equal_size"], *probes["equal_ink"]) - 0.2) < 0.11
    assert abs(_held_out_accuracy(*probes["equal_ink"], *probes["equal_ink"]) - 0.2) < 0.15


def test_things_that_are_counted_do_not_touch():
    for objects, cast in CASTS.items():
        sets = counting.make_sets(12, cast, np.random.default_rng(3), counts=(1, 9))
        for entry in sets:
            assert [len(scene.things) for scene in entry.scenes] == [1, 9]
            places = np.array([thing.centre for thing in entry.scenes[1].things])
            apart = np.linalg.norm(places[:, None] - places, axis=2)[~np.eye(9, dtype=bool)]
            reach = 0.95 * np.sqrt(entry.scenes[1].things[0].area)
            assert apart.min() > 2 * reach, objects
            assert places.min() > reach
            assert places.max() < 1 - reach
