"""Every rule: what passes, what does not, by which name, and what a mistake is told."""

import io
import pickle

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigclip.config import ConfigError, call
from bigclip.data.filters import RULES, Filter, Rejected
from bigclip.data.image_size import image_size
from bigclip.data.images import decode
from bigclip.data.records import Record

UID = "0123456789abcdef00000000000000ff"
UPRIGHT = PIL.Image.Exif()
UPRIGHT[0x0112] = 1  # orientation


def picture(width, height, kind="JPEG", mode="RGB", **options):
    file = io.BytesIO()
    PIL.Image.new(mode, (width, height)).save(file, kind, **options)
    return file.getvalue()


def record(*texts, size=(30, 20), key="part-0.tar/000007", **metadata):
    return Record(key, picture(*size), {"txt": list(texts or ["a red fox"])}, metadata)


def verdict(given, **rules):
    """Return the rule that rejects a record, or None."""
    found = Filter(**rules)
    try:
        found(given)
    except Rejected as rejected:
        error = rejected
    else:
        return None
    assert error.key == given.key
    assert error.rule in RULES
    assert error.rule in found.rules
    assert str(error) == f"{given.key}: filtered out by {error.rule}"
    assert pickle.loads(pickle.dumps(error)).args == error.args
    return error.rule


def test_nothing_is_on_by_default():
    found = Filter()
    assert not found
    assert found.rules == ()
    broken = Record("k", b"", {"txt": [""]}, {})
    assert found(broken) is broken


@given(
    width=st.integers(1, 64),
    height=st.integers(1, 64),
    side=st.integers(1, 64),
    ratio=st.floats(1, 64),
)
def test_sizes(width, height, side, ratio):
    given = record(size=(width, height))
    short, long = sorted((width, height))
    assert verdict(given, min_side=side) == ("min_side" if short < side else None)
    expected = "max_aspect_ratio" if long > ratio * short else None
    assert verdict(given, max_aspect_ratio=ratio) == expected


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {"progressive": True}),
        ("JPEG", "CMYK", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {"transparency": 0}),
        ("PNG", "I;16", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("WEBP", "RGB", {"exif": UPRIGHT}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {}),
    ],
)
def test_the_size_is_read_from_any_header(kind, mode, options):
    encoded = picture(23, 17, kind, mode, **options)
    assert image_size(encoded) == (23, 17)
    assert decode(encoded).shape[:2] == (17, 23)


def test_the_header_is_enough_and_a_broken_one_is_not_the_filters_business():
    whole = picture(23, 17)
    assert image_size(whole[: whole.index(b"\xff\xda") + 12]) == (23, 17)  # where pixels begin
    for encoded in (b"", b"no picture", whole[:10], b"\x89PNG\r\n\x1a\n" + b"\0" * 40):
        assert image_size(encoded) in (None, (0, 0))
        given = record()._replace(image=encoded)
        assert Filter(min_side=999, max_aspect_ratio=1)(given) is given


def test_captions_of_a_wrong_length_are_taken_away():
    given = record("fox", "a red fox", "a red fox in the snow")
    given.captions["alt"] = ["fox"]
    kept = Filter(min_words=2, max_words=4)(given)
    assert kept.captions == {"txt": ["a red fox"]}
    assert given.captions["alt"] == ["fox"], "the given record is left as it was"
    assert kept._replace(captions=given.captions) == given
    assert Filter(min_characters=3)(given) is given
    assert Filter(max_characters=3)(given).captions == {"txt": ["fox"], "alt": ["fox"]}
    assert verdict(given, min_words=7) == "text_length"
    assert verdict(given, min_words=2, max_characters=5) == "text_length"


@given(
    texts=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4),
    words=st.tuples(st.integers(0, 4), st.integers(1, 4)).filter(lambda two: two[0] <= two[1]),
)
def test_a_record_passes_if_one_caption_does(texts, words):
    low, high = words
    fit = [text for text in texts if low <= len(text.split()) <= high]
    given = Record("k", b"", {"txt": texts}, {})
    if fit:
        assert Filter(min_words=low, max_words=high)(given).captions == {"txt": fit}
    else:
        assert verdict(given, min_words=low, max_words=high) == "text_length"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"clip": {"score": 0.3}}, None),
        ({"clip": {"score": 0.25}}, None),
        ({"clip": {"score": 0.2}}, "score"),
        ({"clip": {"score": 2}}, "score"),
        ({"clip.score": 0.3}, None),
        ({"clip": {"score": "0.3"}}, "score_missing"),
        ({"clip": {"score": True}}, "score_missing"),
        ({"clip": {"score": float("nan")}}, "score_missing"),
        ({"clip": {"score": None}}, "score_missing"),
        ({"clip": 0.3}, "score_missing"),
        ({}, "score_missing"),
    ],
)
def test_scores(metadata, expected):
    given = Record("k", b"", {"txt": ["a"]}, metadata)
    for scores in ({"clip.score": [0.25, 1]}, {"clip": {"score": (0.25, 1)}}):
        assert verdict(given, scores=scores) == expected


def test_scores_of_one_side_and_several():
    given = record(aesthetic=5, nsfw=0.1)
    assert verdict(given, scores={"aesthetic": [4.5, None]}) is None
    assert verdict(given, scores={"aesthetic": [None, 4.5]}) == "score"
    assert verdict(given, scores={"aesthetic": [4.5, None], "nsfw": [None, 0.05]}) == "score"
    assert verdict(given, scores={"aesthetic": [None, None], "punsafe": [0, 1]}) == "score_missing"


def test_id_lists(tmp_path):
    uids, names, other = (str(tmp_path / name) for name in ("uids.npy", "names.txt", "other.txt"))
    np.save(uids, np.array([(0x0123456789ABCDEF, 0xFF)], np.dtype("u8,u8")))
    (tmp_path / "names.txt").write_text("000007\n41\n")
    (tmp_path / "other.txt").write_text("part-3.tar/000008\n")
    with_uid, nameless = record(uid=UID), record()
    elsewhere = record(key="part-3.tar/000008")
    same_name = record(key="part-4.tar/000008")
    numbered = record(id=41)

    assert verdict(with_uid, deny_ids=uids) == "denied"
    assert verdict(with_uid, deny_ids=names) is None, "its uid is its id, not its name"
    assert verdict(nameless, deny_ids=[uids, names]) == "denied"
    assert verdict(elsewhere, deny_ids=other) == "denied"
    assert verdict(same_name, deny_ids=other) is None
    assert verdict(numbered, deny_ids=names, id_field="id") == "denied"

    assert verdict(with_uid, keep_ids=uids) is None
    assert verdict(with_uid, keep_ids=names) == "not_kept"
    assert verdict(elsewhere, keep_ids=[uids, other]) is None
    assert verdict(same_name, keep_ids=[uids, other]) == "not_kept"
    assert verdict(with_uid, keep_ids=uids, deny_ids=uids) == "denied"


def test_an_empty_deny_list_is_no_rule_and_an_empty_keep_list_a_mistake(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("\n")
    assert not Filter(deny_ids=str(path))
    with pytest.raises(ConfigError, match=r"config\.data\.filters\.keep_ids.*no id"):
        Filter(keep_ids=str(path))


def test_cheap_rules_come_first(tmp_path):
    (tmp_path / "ids.txt").write_text("000007\n")
    rules = {
        "deny_ids": str(tmp_path / "ids.txt"),
        "min_words": 9,
        "scores": {"s": [1, None]},
        "min_side": 99,
        "max_aspect_ratio": 1,
    }
    given = record()
    for name, expected in {
        "deny_ids": "denied",
        "min_words": "text_length",
        "scores": "score_missing",
        "min_side": "min_side",
        "max_aspect_ratio": "max_aspect_ratio",
    }.items():
        assert verdict(given, **rules) == expected
        del rules[name]
    assert verdict(given) is None


def test_settings_make_filters_equal_and_survive_pickling(tmp_path):
    (tmp_path / "ids.txt").write_text("000007\n")
    settings = {
        "min_side": 10,
        "min_words": 1,
        "scores": {"clip": {"score": [0.2, None]}},
        "deny_ids": str(tmp_path / "ids.txt"),
    }
    first = Filter(**settings)
    assert first.rules == ("denied", "text_length", "score_missing", "score", "min_side")
    again = Filter(**first.to_dict())
    assert first == again == pickle.loads(pickle.dumps(first))
    assert first != Filter(**{**settings, "min_side": 11})
    assert first != settings
    assert pickle.loads(pickle.dumps(first)).rules == first.rules
    with pytest.raises(Rejected):
        pickle.loads(pickle.dumps(first))(record())
    first.to_dict()["scores"].clear()
    assert first == again


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_side": 0}, "min_side must be a whole number of at least 1"),
        ({"min_side": 1.5}, "min_side must be a whole"),
        ({"max_aspect_ratio": 0.5}, "max_aspect_ratio must be a number of at least 1"),
        ({"max_aspect_ratio": True}, "max_aspect_ratio must be"),
        ({"min_words": 5, "max_words": 4}, "min_words 5 is more than max_words 4"),
        ({"min_characters": "3"}, "min_characters must be"),
        ({"scores": ["clip"]}, "scores must map"),
        ({"scores": {"clip": 0.3}}, r"scores\.clip must be \[least, most\]"),
        ({"scores": {"a": {"b": ["x", 1]}}}, r"scores\.a\.b must hold numbers"),
        ({"scores": {"clip": [1, 0]}}, r"scores\.clip \[1, 0\] lets no number pass"),
        ({"deny_ids": [7]}, "deny_ids must be a path"),
        ({"keep_ids": "/no/such"}, "keep_ids: /no/such cannot be read"),
        ({"id_field": ""}, "id_field must be the name"),
        ({"min_sides": 3}, "unknown key 'min_sides' .*Did you mean 'min_side'"),
    ],
)
def test_mistakes_are_named(options, said):
    with pytest.raises(ConfigError, match=said) as caught:
        call(Filter, options, "data.filters")
    assert "config.data.filters" in str(caught.value)
