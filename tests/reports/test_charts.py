"""Charts: what is drawn is what was measured, and it stays inside the frame."""

import json
import math
import re
import xml.etree.ElementTree as ET

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bigclip.reports.charts import HEIGHT, WIDTH, Level, Line, line_chart


def parse(chart):
    figure = ET.fromstring(chart)
    return figure.find("svg"), json.loads(figure.find("svg").get("data-chart"))


def test_points_lie_where_their_values_say():
    points = [(0, 1.0), (50, 3.0), (100, 2.0)]
    _, data = parse(line_chart("Loss", [Line("", points)]))
    xs = [p[0] for p in data["lines"][0]["points"]]
    ys = [p[1] for p in data["lines"][0]["points"]]
    assert xs[0] == data["left"]
    assert xs[1] == (xs[0] + xs[2]) / 2
    # Values grow upwards, and equal steps of value are equal steps on the page (to 0.1 pixel,
    # to which coordinates are rounded).
    assert math.isclose(ys[0] - ys[2], ys[2] - ys[1], abs_tol=0.21)
    assert [p[2:] for p in data["lines"][0]["points"]] == [["0", "1"], ["50", "3"], ["100", "2"]]


value = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True, width=32))


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(value, max_size=400),
    other=st.lists(st.floats(-1, 1), max_size=3),
    from_zero=st.booleans(),
)
@example(values=[], other=[1.0, 5e-324], from_zero=False)
@example(values=[], other=[5e-324], from_zero=True)
@example(values=[1.17e-38, 0.0], other=[-1e-300, 1.2e-300], from_zero=False)
def test_whatever_the_values_the_drawing_is_whole(values, other, from_zero):
    lines = [Line("one", list(enumerate(values))), Line("two", list(enumerate(other)), "second")]
    chart = line_chart("T", lines, levels=[Level("chance", 0.5)], from_zero=from_zero)
    finite = [v for v in values if v is not None and math.isfinite(v)] + other
    if not finite:
        assert chart is None
        return
    svg, data = parse(chart)
    assert "nan" not in chart
    assert "inf" not in chart.replace("info", "")
    for line in data["lines"]:
        assert len(line["points"]) <= 300
        for x, y, *_ in line["points"]:
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    for text in svg.iter("text"):
        assert -20 <= float(text.get("y")) <= HEIGHT + 20


def label_places(chart):
    svg, _ = parse(chart)
    found = {t.text: float(t.get("y")) for t in svg.iter("text") if "end" in t.get("class", "")}
    dots = {
        t: line["points"][-1][1] for t, line in zip(found, parse(chart)[1]["lines"], strict=True)
    }
    return found, dots


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12))
@example([1.0, 1.001, 0.99])
@example([0.0] * 12)
def test_labels_do_not_cover_each_other_and_keep_the_order_of_their_lines(values):
    lines = [Line(f"line {n}", [(0, 0.0), (1, v)]) for n, v in enumerate(values)]
    found, dots = label_places(line_chart("T", lines))
    places = sorted(found.values())
    assert all(below - above > 12.9 for above, below in zip(places, places[1:], strict=False))
    assert all(0 < place < HEIGHT - 20 for place in places)
    by_label = sorted(found, key=found.get)
    assert [dots[label] for label in by_label] == sorted(dots.values())


def test_a_label_with_room_stands_at_the_end_of_its_line():
    lines = [Line(name, [(0, 0.0), (1, v)]) for name, v in (("a", 1.0), ("b", 0.5), ("c", 0.0))]
    found, dots = label_places(line_chart("T", lines))
    assert all(abs(found[name] - 3.5 - dots[name]) < 0.1 for name in "abc")


def test_a_chart_tells_its_story_in_words():
    chart = line_chart("Loss", [Line("", [(10, 5.5), (1000, 2.25)])], unit="nats")
    label = re.search(r'aria-label="([^"]+)"', chart)[1]
    assert label == "Loss in nats. from 5.5 at step 10 to 2.25 at step 1,000."
