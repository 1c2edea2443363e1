"""The first record with a text, against a dict."""

from hypothesis import given
from hypothesis import strategies as st

from bigclip.data.first_texts import FirstTexts


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text("xX \n", max_size=3)), max_size=30))
def test_the_first_keeps_its_text(pairs):
    texts, owners = FirstTexts(), {}
    for key, text in pairs:
        owner = owners.setdefault(" ".join(text.lower().split()), key)
        assert texts.add(key, text) == (owner == key)
    assert len(texts) == len(owners)


def test_case_and_white_space_do_not_tell_texts_apart():
    texts = FirstTexts()
    assert texts.add("1", "  Straße\tim Schnee ")
    assert not texts.add("2", "STRASSE im\nschnee")
    assert texts.add("2", "strasse imschnee")
    assert len(texts) == 2


def test_many_texts_stay_known_in_little_memory():
    texts = FirstTexts()
    assert all(texts.add(str(number), f"text {number}") for number in range(20_000))
    assert not any(texts.add("other", f"text {number}") for number in range(20_000))
    assert len(texts) == 20_000
    assert sum(8 * len(slots) for slots in (texts._texts, texts._owners)) <= 48 * 20_000
