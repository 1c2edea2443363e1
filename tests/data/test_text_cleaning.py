"""Cleaning, against what published models do with their texts."""

import json
import pathlib
import string

import hypothesis
import pytest
from caption_texts import invented

from bigclip.data.text_cleaning import CLEANERS, clean_canonical, clean_lower

GOLDEN = json.loads(pathlib.Path(__file__).with_name("cleaning_golden.json").read_text())


@pytest.mark.parametrize(("place", "name"), [(1, "clip"), (2, "cased"), (3, "canonical")])
def test_cleans_as_open_clip(place, name):
    """The golden file: open_clip 3.3.0's "lower", "whitespace" and "canonicalize" cleaners."""
    assert len(GOLDEN) > 200
    assert sum(row[0] != row[place] for row in GOLDEN) > 20
    for row in GOLDEN:
        assert CLEANERS[name](row[0]) == row[place], row[0]


def test_canonical_turns_underscores_into_blanks_and_drops_other_ascii_punctuation_only():
    assert clean_canonical("snake_case, it's!") == "snake case its"
    assert clean_canonical(string.punctuation) == ""
    assert clean_canonical("a - b") == "a b"  # blanks are joined after the punctuation went
    assert clean_canonical("«Ÿ»…") == "«ÿ»…"


def test_lower_changes_letters_and_nothing_else():
    assert clean_lower(" It's  A &AMP;\tŠÉ_\x00!") == " it's  a &amp;\tšé_\x00!"


@hypothesis.given(invented(max_size=60))
@hypothesis.settings(deadline=None)
def test_canonical_text_stays_as_it_is(text):
    once = clean_canonical(text)
    assert not set(once) & set(string.punctuation)
    assert once.split() == once.split(" ") or once == ""


def test_a_saved_name_means_the_same_for_ever():
    """Checkpoints name their cleaner: none may be taken away or renamed."""
    assert {"clip", "cased", "canonical", "lower", "none"} <= set(CLEANERS)
