"""Escaping by construction, and numbers as a reader wants them."""

import html.parser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigclip.reports import numbers
from bigclip.reports.markup import element, join


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.data, self.attributes = [], "", {}

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.update(attrs)

    def handle_data(self, data):
        self.data += data


@given(text=st.text(st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"])))
def test_no_text_becomes_markup(text):
    reader = Reader()
    reader.feed(element("p", [text], title=text))
    reader.close()
    assert reader.tags == ["p"]
    assert reader.data == text
    assert reader.attributes == {"title": text}


def test_elements_nest_and_attributes_are_named_as_in_html():
    inner = element("b", 3, class_="x", aria_label="a", hidden=True, id=None, open=False)
    assert inner == '<b class="x" aria-label="a" hidden>3</b>'
    assert element("p", "a<b", inner, None) == f"<p>a&lt;b{inner}</p>"
    assert element("svg", viewBox="0 0 1 1", x1=0.5) == '<svg viewBox="0 0 1 1" x1="0.5"></svg>'
    assert join(inner, "<") == f"{inner}&lt;"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (5.5413, "5.54"),
        (0.003, "0.003"),
        (0.00012, "1.2e\u22124"),
        (-2.5, "\u22122.5"),
        (1234, "1,234"),
        (25_000, "25k"),
        (1_870_000, "1.87M"),
        (100, "100"),
        (float("nan"), "\u2013"),
    ],
)
def test_short_numbers(value, text):
    assert numbers.short(value) == text


def test_durations_and_sizes():
    assert numbers.duration(75).replace(numbers.THIN, " ") == "1 min 15 s"
    assert numbers.duration(59.6).replace(numbers.THIN, " ") == "1 min 0 s"
    assert numbers.duration(90_061).replace(numbers.THIN, " ") == "1 d 1 h"
    assert numbers.size(3 << 30).replace(numbers.THIN, " ") == "3 GiB"


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6), most=st.integers(2, 8))
def test_ticks_are_few_round_and_inside(low, width, most):
    found = numbers.ticks(low, low + width, most)
    assert len(found) <= most + 1
    slack = 1e-6 * max(abs(low), width)
    assert all(low - slack <= tick <= low + width + slack for tick in found)
    assert found == sorted(found)
