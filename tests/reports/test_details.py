"""What a suite tells beside its numbers: shown as it is, and never fatal."""

import base64
import io
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import EVIL, Page

from bigclip.reports.details import (
    SECTIONS,
    classes,
    health,
    limits,
    probes,
    robustness,
    sections_of,
)
from bigclip.reports.results import evaluated_on
from bigclip.reports.run import SuiteHistory


def suite(kind, details, metrics=None, chance=None):
    line = {"step": 20, "metrics": metrics or {}, "chance": chance or {}, "counts": {}}
    return SuiteHistory("things", kind, [line], details)


def cells(markup):
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", markup.split("<tbody>")[1], re.DOTALL)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]+>", "", cell) for cell in row] for row in found]


def chart_of(markup):
    figure = ET.fromstring(markup).find("figure")
    return json.loads(figure.find("svg").get("data-chart"))


def test_confusions_say_what_the_worst_classes_are_taken_for():
    entry = {"label": "1", "name": EVIL, "images": 8, "top1": 0.125}
    taken = [
        {"name": n, "share": s} for n, s in (("cat", 0.5), ("dog", 0.25), ("x", 0.1), ("y", 0))
    ]
    shown = classes.confusions(
        suite("zero_shot", {"confusions": [entry | {"confused_with": taken}]})
    )
    ((name, images, top1, others),) = cells(shown)
    assert (images, top1) == ("8", "12.5")
    assert others.replace("\u2009", "") == "cat 50.0%dog 25.0%x 10.0%"
    assert EVIL not in shown
    assert EVIL in Page(shown).text
    assert name


def test_classes_of_a_multi_label_set_are_ordered_by_precision():
    per_class = {
        "a": {"name": "low", "images": 2, "average_precision": 0.1},
        "b": {"name": "high", "images": 1, "average_precision": 0.9},
        "c": {"name": "empty", "images": 0, "average_precision": None},
    }
    shown = classes.every_class(suite("zero_shot", {"per_class": per_class}))
    assert cells(shown) == [["high", "90.0", "1"], ["low", "10.0", "2"], ["empty", "", "0"]]
    assert "always right" not in shown


def test_templates_stand_beside_their_ensemble():
    entries = [{"template": "a {}.", "top1": 0.2}, {"template": "{}", "top1": 0.3}]
    shown = classes.templates(suite("zero_shot", {"per_template": entries}, {"top1": 0.35}))
    assert cells(shown) == [["{}", "30.0"], ["a {}.", "20.0"], ["all of them, averaged", "35.0"]]


def test_calibration_is_drawn_against_the_diagonal():
    bins = [
        {"confidence": 0.25, "accuracy": 0.5, "share": 0.9},
        {"confidence": 0.75, "accuracy": 0.6, "share": 0.1},
        {"confidence": 0.5, "accuracy": 0.0, "share": 0.0},
    ]
    chart = chart_of(classes.calibration(suite("zero_shot", {"calibration": bins}, {"ece": 0.24})))
    lines = {line["label"]: line["points"] for line in chart["lines"]}
    assert [point[3] for point in lines["measured"]] == ["50", "60"]
    # The diagonal passes through (x, y) where confidence and accuracy are equal.
    (x0, y0, *_), (x1, y1, *_) = lines["perfect"]
    x, y = lines["measured"][0][:2]
    assert abs((x - x0) / (x1 - x0) - 0.25) < 0.01
    assert abs((y - y0) / (y1 - y0) - 0.5) < 0.01


@pytest.mark.parametrize(("key", "axis"), [("strength", "strength"), ("learning_rate", "rate")])
def test_a_sweep_is_drawn_over_factors(key, axis):
    entries = [{"layer": "pooled", key: 10.0**k, "val": 0.1 * k} for k in (3, 1, 2)]
    shown = probes.sweep(suite("linear_probe", {"sweep": entries}))
    chart = chart_of(shown)
    assert chart["axis"] == axis
    xs = [point[0] for point in chart["lines"][0]["points"]]
    assert xs == sorted(xs)
    assert abs((xs[1] - xs[0]) - (xs[2] - xs[1])) < 0.2
    assert "Best pooled: 30\u2009% at 1,000" in shown


def test_of_equal_strengths_the_suites_own_choice_is_named():
    entries = [{"layer": "pooled", "strength": s, "val": 0.5} for s in (1.0, 2.0, 4.0)]
    for chosen in (1.0, 2.0, 4.0):
        details = {"sweep": entries, "strength": {"pooled": [chosen]}}
        assert f"at {chosen:g}." in str(probes.sweep(suite("linear_probe", details)))


def test_a_sweep_of_folds_is_drawn_by_its_means():
    tried = ((1.0, 0.2, "a"), (1.0, 0.4, "b"), (10.0, 0.1, "a"))
    entries = [{"layer": "x", "strength": s, "val": v, "fold": f} for s, v, f in tried]
    chart = chart_of(probes.sweep(suite("linear_probe", {"sweep": entries})))
    assert [point[2:] for point in chart["lines"][0]["points"]] == [["1", "30"], ["10", "10"]]


def test_folds_stand_beside_the_strengths_that_they_chose():
    details = {
        "layer": "pooled",
        "strength": {"pooled": [0.5, 1000.0], "tokens": [1.0, 1.0]},
        "per_fold": [{"top1": 0.5, "roc_auc": 0.75}, {"top1": 0.25}],
        "sweep": [{"layer": "pooled", "strength": 1.0, "val": 0.5, "fold": f} for f in "abab"],
    }
    shown = probes.folds(suite("linear_probe", details))
    assert cells(shown) == [["a", "0.5", "50.0", "75.0"], ["b", "1,000", "25.0", ""]]
    unnamed = details | {"sweep": [], "strength": {}}
    shown = probes.folds(suite("linear_probe", unnamed))
    assert [row[:2] for row in cells(shown)] == [["1", ""], ["2", ""]]
    assert probes.folds(suite("linear_probe", {"per_fold": []})) is None


def test_what_was_left_out_and_what_did_not_converge_is_told():
    one = suite("linear_probe", {"layer": "pooled"})
    one.last["counts"].update(images=10, not_converged=2, folds=1, images_without_text=0)
    assert evaluated_on(one) == "10 pictures, 2 fits that did not converge, layer pooled"


def test_shots_have_whiskers_of_one_standard_deviation():
    curve = [{"shots": n, "mean": 0.1 * n, "std": 0.05} for n in (5, 1)]
    shown = probes.shots(suite("few_shot", {"curve": curve}))
    svg = ET.fromstring(shown).find("figure").find("svg")
    whiskers = [line for line in svg.findall("line") if line.get("class") == "line first"]
    dots = svg.findall("circle")
    assert len(whiskers) == len(dots) == 2
    for whisker, dot in zip(whiskers, dots, strict=True):
        middle = (float(whisker.get("y1")) + float(whisker.get("y2"))) / 2
        assert abs(middle - float(dot.get("cy"))) < 0.02
    lengths = {round(float(w.get("y1")) - float(w.get("y2")), 1) for w in whiskers}
    assert len(lengths) == 1
    assert min(lengths) > 5


def picture():
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def limits_details(image):
    skills = {
        "counting": {
            "accuracy": 0.5,
            "chance": 0.25,
            "standard_error": 0.02,
            "items": 80,
            "by": {"two": 0.4, "at_most": 0.6},
        },
        "word_order": {"accuracy": 0.75, "chance": 0.5, "items": 40, "by": {}},
    }
    example = {
        "skill": "counting",
        "image": image,
        "right_text": "two foxes",
        "wrong_texts": ["three foxes", "one fox"],
        "scores": [1.0, 2.0, None],
        "is_right": False,
    }
    ranked = example | {"scores": [1.0, 2.0, 0.5]}
    return {"skills": skills, "examples": [example, ranked]}


def test_limits_stand_beside_chance_and_by_condition():
    metrics = {"word_order/text_score": 0.4, "word_order/group_score": 0.3}
    shown = limits.skills(suite("limits", limits_details(picture()), metrics))
    first, rest = shown.split("</table>", 1)
    assert cells(first) == [
        ["counting", "50.0 \u00b1 2.0", "25.0", "", "", "", "80"],
        ["word order", "75.0", "50.0", "", "40.0", "30.0", "40"],
    ]
    marks = [float(x) for x in re.findall(r'by-chance" x1="([\d.]+)"', first)]
    assert marks == [50.0, 100.0]  # of a bar of 200
    assert [row[:2] for row in cells(rest)] == [["two", "40.0"], ["at most", "60.0"]]


def test_examples_of_limits_are_ranked_and_marked():
    shown = limits.examples(suite("limits", limits_details(picture())))
    page = Page(shown)
    assert [image["src"] for image in page.all("img")] == [picture()] * 2
    ranked = shown.split('class="card"')[2]
    said = re.findall(r'class="said" title="([^"]+)"', ranked)
    assert said == ["three foxes", "two foxes", "one fox"]
    assert page.text.count("A wrong text is preferred.") == 2


@pytest.mark.parametrize(
    "image", ["https://example.org/a.png", "data:text/html;base64,AAAA", 'x" onerror="', None, 3]
)
def test_only_pictures_within_the_page_are_shown(image):
    page = Page(limits.examples(suite("limits", limits_details(image))))
    assert page.all("img") == []


def test_histograms_have_area_one_each():
    rng = np.random.default_rng(0)
    found = {}
    for name, size in (("positive", 50), ("negative", 1000)):
        counts, edges = np.histogram(rng.normal(size=size), bins=12, range=(-3, 3))
        found[name] = {"edges": edges.tolist(), "counts": counts.tolist()}
    chart = chart_of(health.histograms(suite("health", {"histograms": found})))
    assert [line["label"] for line in chart["lines"]] == ["right pairs", "wrong pairs"]
    for line in chart["lines"]:
        densities = [float(point[3]) for point in line["points"]]
        assert abs(sum(densities) * 0.5 - 1) < 0.01


def test_robustness_is_a_table_of_strengths():
    metrics = {"clean": 0.5, "mean": 0.25, "relative": 0.5}
    metrics |= {f"fog/{s}": 0.1 * (6 - s) for s in range(1, 6)} | {"blur/3": 0.2}
    rows = cells(robustness.strengths(suite("robustness", {}, metrics)))
    assert rows[0] == ["fog", "50.0", "40.0", "30.0", "20.0", "10.0", "30.0"]
    assert rows[1] == ["blur", "", "", "20.0", "", "", "20.0"]
    assert rows[2] == ["mean", "50.0", "40.0", "25.0", "20.0", "10.0", "25.0"]


def every_detail():
    """Details of every section, as the suites write them."""
    entry = {"name": "fox", "images": 8, "top1": 0.5}
    histogram = {"edges": [0.0, 1.0, 2.0], "counts": [1, 2]}
    return limits_details(picture()) | {
        "per_class": {"a": entry},
        "confusions": [entry | {"confused_with": [{"name": "cat", "share": 0.5}]}],
        "per_template": [{"template": "{}", "top1": 0.3}],
        "calibration": [{"confidence": 0.25, "accuracy": 0.5, "share": 0.9}],
        "sweep": [{"layer": "pooled", "strength": 0.1, "val": 0.5}],
        "per_fold": [{"top1": 0.5}, {"top1": 0.25}],
        "strength": {"pooled": [0.1, 1.0]},
        "layer": "pooled",
        "curve": [{"shots": n, "mean": 0.1, "std": 0.05} for n in (1, 5)],
        "histograms": {"positive": histogram, "negative": histogram},
    }


def paths(value, at=()):
    """Give the path of every part of nested data."""
    yield at
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from paths(part, (*at, key))


def test_every_section_has_something_for_its_details():
    metrics = {"clean": 0.5, "mean": 0.2, "fog/1": 0.2}
    assert len(sections_of(suite("any", every_detail(), metrics))) == len(SECTIONS)


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**400),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@settings(max_examples=150, deadline=None)
@given(where=st.sampled_from(list(paths(every_detail()))[1:]), value=junk)
def test_details_of_any_other_format_are_no_obstacle(where, value):
    details = every_detail()
    at = details
    for key in where[:-1]:
        at = at[key]
    at[where[-1]] = value
    for part in sections_of(suite("zero_shot", details, {"top1": 0.5})):
        Page(part)
