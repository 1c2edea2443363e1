"""Several runs on one page, compared only where they may be."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import EVIL, Page, write_run

from bigclip import report
from bigclip.config import ConfigError
from bigclip.reports import write_comparison
from bigclip.reports.charts import line_of
from bigclip.reports.compared import chance_margin
from bigclip.reports.comparison import MOST_RUNS, distinct_names


def written(*runs, out):
    text = write_comparison(runs, out).read_text(encoding="utf-8")
    return text, Page(text)


def edit_lines(run, change):
    path = run / "evaluations.jsonl"
    lines = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def rows_of(text, caption):
    """Return the cells of the tables whose caption begins so, markup removed."""
    tables = [t for t in re.findall(r"<table.*?</table>", text, re.DOTALL) if caption in t]
    rows = re.findall(r"<tr>(.*?)</tr>", tables[0].split("<tbody>")[1], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells], tables


@pytest.fixture
def runs(tmp_path):
    first = write_run(tmp_path / "first", "a")
    second = write_run(tmp_path / "second", "b", boost=1.5, batch_size=256, seed=1)
    return first, second


def test_the_last_and_the_best_step_of_each_run_and_the_winner(runs, tmp_path):
    edit_lines(runs[0], lambda line: line | {"metrics": _lowered(line)})
    text, page = written(*runs, out=tmp_path / "c.html")
    rows, tables = rows_of(text, "concepts, in percent")
    assert rows == [
        ["first", "20", "10.0", "25.0 at 10", "10.0", "25.0 at 10"],
        ["second", "20", "75.0", "75.0 at 20", "75.0", "75.0 at 20"],
    ]
    assert tables[0].count('class="best"') == 2
    assert "Not to be compared" not in page.text


def _lowered(line):
    """Let the last step fall below the one before."""
    if line["suite"] != "concepts" or line["step"] == 10:
        return line["metrics"]
    return dict.fromkeys(line["metrics"], 0.1)


def test_equal_values_have_no_winner(runs, tmp_path):
    text, _ = written(*runs, out=tmp_path / "c.html")
    _, tables = rows_of(text, "classes, in percent")
    assert "best" not in tables[0].split("<tbody>")[1]


def test_other_definitions_are_set_apart_with_what_differs(runs, tmp_path):
    source = {"kind": "webdataset", "shards": [str(runs[1] / "test.tar")]}
    config = json.loads((runs[1] / "config.json").read_text())
    config["evals"]["concepts"] = {"suite": "retrieval", "source": source, "template": "a {}"}
    (runs[1] / "config.json").write_text(json.dumps(config))
    change = {"concepts": "other"}
    edit_lines(runs[1], lambda line: line | {"definition": change.get(line["suite"], "d")})
    text, page = written(*runs, out=tmp_path / "c.html")
    warnings = re.findall(r'<p class="warning">(.*?)</p>', text)
    assert len(warnings) == 1
    assert "evals.concepts.template" in warnings[0]
    for definition in ("d", "other"):
        rows, tables = rows_of(text, f"concepts, in percent; definition {definition}<")
        assert len(rows) == 1
        assert 'class="best"' not in tables[0]
    assert "concepts (first)" in page.text
    assert "concepts (second)" in page.text
    # The suite with one definition is compared in one table.
    assert len(rows_of(text, "classes, in percent; definition d")[0]) == 2


def test_results_without_a_definition_are_compared_with_none(runs, tmp_path):
    for run in runs:
        edit_lines(run, lambda line: {k: v for k, v in line.items() if k != "definition"})
    text, page = written(*runs, out=tmp_path / "c.html")
    assert text.count('class="warning"') == 2
    assert "definition unknown" in page.text
    assert 'class="best"' not in text


def test_runs_are_told_apart_without_colour(runs, tmp_path):
    text, page = written(*runs, out=tmp_path / "c.html")
    charts = [json.loads(svg["data-chart"]) for svg in page.all("svg") if "data-chart" in svg]
    loss = next(chart for chart in charts if chart["lines"][0]["points"][0][3] == "5.4")
    assert [line["label"] for line in loss["lines"]] == ["first", "second"]
    assert "dash-1" in text
    looks = {line_of(number) for number in range(40)}
    assert len(looks) == 40
    shapes = {number % 20 for number in range(MOST_RUNS)}
    assert len(shapes) == MOST_RUNS  # dash and mark alone tell so many apart


def test_runs_of_different_batch_sizes_are_drawn_over_examples(tmp_path):
    runs = [write_run(tmp_path / "one", "a"), write_run(tmp_path / "two", "b", batch_size=512)]
    _, page = written(*runs, out=tmp_path / "c.html")
    assert "drawn over examples seen" in page.text
    charts = [json.loads(svg["data-chart"]) for svg in page.all("svg") if "data-chart" in svg]
    assert {chart["axis"] for chart in charts} == {"examples"}
    ends = [line["points"][-1][2] for line in charts[0]["lines"]]
    assert ends == ["5,120", "10.2k"]


def test_settings_that_differ_are_listed(runs, tmp_path):
    text, _ = written(*runs, out=tmp_path / "c.html")
    rows, _ = rows_of(text, "Configuration: what differs")
    assert ["seed", "\u2013", "1"] in rows
    assert not any(row[0] == "batch_size" for row in rows)


def test_the_page_is_whole_safe_and_alone(runs, tmp_path):
    (runs[0] / "metrics.jsonl").unlink()
    (runs[1] / "evaluations.jsonl").unlink()
    text, page = written(*runs, out=tmp_path / "c.html")
    assert len(page.all("script")) == 1
    assert EVIL not in text
    for _, attributes in page.elements:
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith(("data:image/", "#"))
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    targets = {a["href"][1:] for a in page.all("a")}
    assert targets <= set(identifiers)
    assert "No result of second" in page.text


@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=2, unique_by=str)
)
def test_names_are_the_shortest_ends_that_differ(parts):
    paths = [Path("/", *path) for path in parts]
    names = distinct_names(paths)
    assert len(set(names)) == len(paths)
    assert all(str(path).endswith(name) for path, name in zip(paths, names, strict=True))


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.05, 0.95), num=st.integers(200, 5000), seed=st.integers(0, 99))
def test_equally_good_runs_differ_by_less_than_the_margin(share, num, seed):
    first, second = np.random.default_rng(seed).binomial(num, share, (2, 20_000)) / num
    inside = np.mean(np.abs(first - second) <= chance_margin(share, num))
    assert 0.93 < inside < 0.97


def test_the_margin_is_told(runs, tmp_path):
    edit_lines(runs[0], lambda line: line | {"counts": {"images": 704}})
    edit_lines(runs[1], lambda line: line | {"counts": {"images": 704}})
    _, page = written(*runs, out=tmp_path / "c.html")
    # 1.96 * sqrt(2 * 0.25 * 0.75 / 704) of the classes' top-1
    assert "differ in zero-shot, top-1 by up to 4.5 points" in page.text


def test_the_command(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [str(run) for run in runs]
    assert report.main(names) == 0
    assert capsys.readouterr().out.strip() == "comparison.html"
    assert (tmp_path / "comparison.html").stat().st_size > 10_000
    assert report.main([*names, "--out", "both.html"]) == 0
    assert (tmp_path / "both.html").exists()
    assert report.main([names[0], "--out", "one.html"]) == 0
    assert "bigclip run" in (tmp_path / "one.html").read_text()
    assert not (runs[0] / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["first", "first"], "named twice"),
        (["first", "nothing"], "holds no run"),
        (["first", "--out", "no/such/place.html"], "there is no directory"),
        (["first", "--out", "second"], "is a directory"),
    ],
)
def test_mistakes_are_named_before_any_work(runs, tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert report.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_too_many_runs_for_one_page(tmp_path):
    with pytest.raises(ConfigError, match="at most 12"):
        write_comparison([tmp_path / str(number) for number in range(MOST_RUNS + 1)])
