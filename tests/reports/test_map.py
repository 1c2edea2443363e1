"""The map of the embeddings: pictures where their coordinates say."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import EVIL, Page, write_shard

from bigclip.reports.details import guarded
from bigclip.reports.details.atlas import SIDE, draw_map
from bigclip.reports.pictures import PictureBook
from bigclip.reports.run import SuiteHistory


def suite(points):
    line = {"step": 20, "metrics": {}, "chance": {}, "counts": {}}
    return SuiteHistory("health", "health", [line], {"map": points})


def point(number, x, y, label=""):
    return {"record": number, "key": f"test.tar/{number}", "x": x, "y": y, "label": label}


def places(markup):
    found = re.findall(r'class="spot" transform="translate\(([-\d.]+) ([-\d.]+)\)"', markup)
    return [(float(x), float(y)) for x, y in found]


@pytest.fixture
def book(tmp_path):
    write_shard(tmp_path / "test.tar")
    return PictureBook({"kind": "webdataset", "shards": [str(tmp_path / "test.tar")]})


coordinate = st.floats(-1e6, 1e6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=20))
def test_all_points_are_inside_and_both_axes_have_one_scale(points):
    shown = draw_map(suite([point(0, x, y) for x, y in points]), PictureBook(None))
    found = places(shown)
    assert len(found) == len(points)
    assert all(0 <= x <= SIDE and 0 <= y <= SIDE for x, y in found)
    spans = [max(c) - min(c) for c in zip(*points, strict=True)]
    drawn = [max(c) - min(c) for c in zip(*found, strict=True)]
    if max(spans) > 1e-3:
        scale = max(drawn) / max(spans)
        assert abs(drawn[0] - scale * spans[0]) < 0.3
        assert abs(drawn[1] - scale * spans[1]) < 0.3


def test_upwards_is_upwards(book):
    (_, below), (_, above) = places(draw_map(suite([point(0, 0, 0), point(1, 1, 2)]), book))
    assert above < below


def test_pictures_are_small_named_and_within_the_page(book):
    points = [point(0, 0, 0, "warm"), point(1, 1, 0, "cold"), point(2, 0, 1, "cold")]
    shown = draw_map(suite(points), book)
    page = Page(shown)
    images = page.all("image")
    assert len(images) == 3
    assert all(image["href"].startswith("data:image/webp;base64,") for image in images)
    assert all(len(image["href"]) < 2000 for image in images)  # 300 x 200 as they were: more
    titles = [
        title.text for title in ET.fromstring(re.search("<svg.*?</svg>", shown)[0]).iter("title")
    ]
    assert titles[0] == f"red {EVIL} (flat), warm"
    # Two labels: a colour each, and a legend with their numbers, the most frequent first.
    assert re.findall(r"</span>(\w+ \(\d\))", shown) == ["cold (2)", "warm (1)"]
    assert len(re.findall('class="frame first"', shown)) == 2


def test_many_labels_have_no_colours(book):
    shown = draw_map(suite([point(0, n, n, f"label {n}") for n in range(9)]), book)
    assert "legend" not in shown
    assert 'class="frame"' in shown


def test_lost_pictures_are_dots_with_their_keys():
    shown = draw_map(suite([point(0, 0, 0), point(7, 1, 1, "cold")]), PictureBook(None))
    assert "<image" not in shown
    assert shown.count("<circle") == 2
    assert "test.tar/7, cold" in shown


def test_it_has_a_keyboard(book):
    page = Page(draw_map(suite([point(0, 0, 0)]), book))
    (drawing,) = page.all("svg")
    assert drawing["tabindex"] == "0"
    assert "Arrow keys" in drawing["aria-label"]
    assert all(button["aria-label"] for button in page.all("button"))
    assert all(field["aria-label"] for field in page.all("input"))
    # Buttons that only a script can serve are shown by the script.
    assert any(
        "hidden" in element and element.get("class") == "controls" for element in page.all("div")
    )


@pytest.mark.parametrize("points", [3, [3], [{"x": 1}], [{"x": None, "y": 0}], [point("a", 0, 0)]])
def test_a_map_of_another_format_is_named(points, book):
    assert "another format" in guarded("map", draw_map, suite(points), book)


@pytest.mark.parametrize("points", [None, [], [point(0, float("nan"), 0.0)]])
def test_without_points_there_is_no_map(points, book):
    assert draw_map(suite(points), book) is None
