"""The texts of a set of records."""

import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.evals.texts import set_texts

RECORDS = [
    {"txt": ["a fox", "Fuchs"], "name": ["fox"]},
    {"txt": [], "name": ["owl"]},
    {"txt": ["an owl", "a fox", "a bird"]},
]


def test_equal_texts_are_one_and_records_without_text_stay_out():
    found = set_texts(RECORDS, ["txt"], template="see {}")
    assert found.of == [["a fox", "Fuchs"], [], ["an owl", "a fox", "a bird"]]
    assert found.images == [0, 2]
    assert found.num_without == 1
    assert found.texts == ["a fox", "Fuchs", "an owl", "a bird"]
    assert found.prompts == ["see a fox", "see Fuchs", "see an owl", "see a bird"]
    expected = [(i, found.texts.index(text)) for i, texts in enumerate(found.of) for text in texts]
    np.testing.assert_array_equal(found.pairs, sorted(expected))


def test_the_first_texts_of_each_record():
    found = set_texts(RECORDS, ["txt", "name"], captions_per_image=1)
    assert found.of == [["a fox"], ["owl"], ["an owl"]]
    assert found.num_without == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"captions": ["text"]}, "Did you mean 'txt'"),
        ({"captions": "txt"}, "must be a list of caption sources"),
        ({"captions": ["txt"], "captions_per_image": 1.5}, "captions_per_image = 1.5"),
        ({"captions": ["txt"], "template": "{} {}"}, "exactly one {}"),
        ({"captions": ["{txt}: {none}"]}, "no record has the caption source 'none'"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(ConfigError, match=message):
        set_texts(RECORDS, **options)


def test_sources_that_no_record_has_together():
    apart = [{"name": ["fox"]}, {"txt": ["an owl"]}]
    with pytest.raises(ConfigError, match="gives no record a text"):
        set_texts(apart, ["{name}: {txt}"])
