"""The whole page, from workdirs of every kind of incompleteness."""

import base64
import io
import json
import re

import PIL.Image
import pytest
from pages import EVIL, Page

from bigclip import report
from bigclip.config import ConfigError
from bigclip.data import embedded, sources
from bigclip.reports import write_report
from bigclip.reports.page import render
from bigclip.reports.pictures import PictureBook
from bigclip.reports.run import read_run


def read(workdir):
    return Page(write_report(workdir).read_text(encoding="utf-8"))


def test_nothing_of_the_data_becomes_markup(workdir):
    page = read(workdir)
    assert len(page.all("script")) == 1  # ours
    assert f"red {EVIL}" in page.text
    assert any(image["alt"] == f"red {EVIL} (flat)" for image in page.all("img"))


def test_the_page_needs_nothing_beside_it(workdir):
    page = read(workdir)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "srcset"):
            if name in attributes:
                assert attributes[name].startswith(("data:image/", "#")), (tag, attributes[name])
    style = re.search(r"<style>(.*?)</style>", (workdir / "report.html").read_text(), re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(m["content"] for m in page.all("meta") if "content" in m and "http-equiv" in m)
    assert "default-src 'none'" in policy


def test_it_can_be_read_without_seeing_it(workdir):
    page = read(workdir)
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert all(image.get("alt") for image in page.all("img"))
    assert all(cell.get("scope") for cell in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    charts = [svg for svg in page.all("svg") if "data-chart" in svg]
    assert charts
    assert all(svg["aria-label"] and svg["tabindex"] == "0" for svg in charts)
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))


def test_numbers_stand_beside_chance(workdir):
    text = read(workdir).text.replace("\u2009", " ")
    assert "50.0%" in text
    assert "100 \u00d7 chance (0.50 %)" in text
    assert "guessing: ln 256" in text


def test_large_pictures_are_made_small(workdir):
    images = read(workdir).all("img")
    assert images
    assert all(len(image["src"]) < 4000 for image in images)  # 300 x 200 as it was: more


@pytest.mark.parametrize(
    "lost",
    ["run.json", "metrics.jsonl", "evaluations.jsonl", "evaluations/concepts-20.json", "test.tar"],
)
def test_whatever_is_missing_the_rest_is_shown(workdir, lost):
    (workdir / lost).unlink()
    page = read(workdir)
    assert page.all("h1")
    if lost == "test.tar":
        assert "cannot be opened on this machine" in page.text


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluations.jsonl"])
def test_a_half_written_line_is_no_obstacle(workdir, name):
    path = workdir / name
    path.write_text(path.read_text()[:-9])
    read(workdir)


def test_results_of_another_run_or_definition_are_left_out(workdir):
    path = workdir / "evaluations.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    stranger = lines[0] | {"run_id": "other", "step": 77_777}
    older = lines[0] | {"definition": "old", "step": 5}
    path.write_text("".join(json.dumps(x) + "\n" for x in [stranger, older, *lines]))
    text = read(workdir).text
    assert "77,777" not in text
    steps = re.findall(r'<th scope="row">([\d,]+)</th>', (workdir / "report.html").read_text())
    assert "5" not in steps


def test_a_replaced_picture_is_not_shown_for_another(workdir):
    source = {"kind": "webdataset", "shards": [str(workdir / "test.tar")]}
    book = PictureBook(source)
    assert "<img" in book.picture(0, "test.tar/0")
    assert "<img" not in book.picture(0, "test.tar/1")
    assert "<img" not in book.picture(99, "test.tar/99")


def test_pictures_bring_nothing_but_pixels(tmp_path):
    """Small originals, too: what a camera wrote beside the pixels is not for the page."""
    image = PIL.Image.new("RGB", (40, 20), "red")
    exif = image.getexif()
    exif[0x0112], exif[0x010E] = 6, "where I live"  # turned, and a description
    image.save(tmp_path / "a.jpg", exif=exif)
    uri = PictureBook({"kind": "folder", "path": str(tmp_path)}).uri(0, "a.jpg", 128)
    shown = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    assert b"where I live" not in shown
    assert PIL.Image.open(io.BytesIO(shown)).size == (20, 40)  # upright


def training_row(workdir, source):
    config = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps(config | {"data": {"source": source}}))
    return re.search(
        r'<th scope="row">training</th><td>(.*?)</td>', render(read_run(workdir)), re.DOTALL
    )[1]


def test_the_training_set_is_told_without_opening_it(workdir, monkeypatch):
    """A thousand tars are a minute of headers, and a follower writes the page at every step."""

    def refuse(*args, **options):
        raise AssertionError("opened")

    monkeypatch.setitem(sources.SOURCES, "webdataset", refuse)
    far = {"kind": "webdataset", "shards": [f"/far/{i:03}.tar" for i in range(1000)]}
    assert training_row(workdir, far) == "webdataset 000.tar and 999 more"
    known = far | {"num_records": 12_000_000}
    assert training_row(workdir, known).startswith("12,000,000 records, webdataset")
    folder = {"kind": "folder", "path": "/data/x"}
    mixed = {"kind": "mixture", "sources": {"a": far, "b": folder}}
    told = "a: webdataset 000.tar and 999 more; b: folder /data/x"
    assert training_row(workdir, mixed) == told
    assert training_row(workdir, {}) == "unknown"


def test_of_the_embedded_data_the_records_are_counted(workdir):
    source = {"kind": "webdataset", "shards": embedded.shards("train")}
    num = embedded.summary()["splits"]["train"]["records"]
    assert training_row(workdir, source).startswith(f"{num:,} records")


def test_the_command(workdir, tmp_path, capsys):
    assert report.main([str(workdir)]) == 0
    assert capsys.readouterr().out.strip() == str(workdir / "report.html")
    assert report.main([str(tmp_path / "nothing")]) == 2
    assert "holds no run" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        write_report(tmp_path / "nothing")


def test_suites_stand_in_the_order_of_kinds_unknown_ones_at_the_end(workdir):
    path = workdir / "evaluations.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    strange = lines[0] | {"suite": "a", "kind": "strange"}
    probe = lines[1] | {"suite": "b", "kind": "linear_probe"}
    path.write_text("".join(json.dumps(x) + "\n" for x in [strange, probe, *lines]))
    kinds = [suite.kind for suite in read_run(workdir).suites]
    assert kinds == ["retrieval", "zero_shot", "linear_probe", "strange"]


def test_numbers_that_are_none_are_left_out(workdir):
    path = workdir / "evaluations.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    odd = {"top1": None, "top5": "0.5", "mean_per_class": True, "mAP": 0.25, "ece": float("nan")}
    lines = [line | {"metrics": odd, "chance": 3, "counts": None} for line in lines]
    path.write_text("".join(json.dumps(x) + "\n" for x in lines))
    run = read_run(workdir)
    assert all(suite.last["metrics"] == {"mAP": 0.25} for suite in run.suites)
    assert "25.0" in read(workdir).text


def test_a_suite_that_ran_once_has_a_table_and_no_curve(workdir):
    path = workdir / "evaluations.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(x) + "\n" for x in lines if x["step"] == 20))
    page = read(workdir)
    assert "concepts at one step" in page.text
    assert not any(section.get("id") == "curves" for section in page.all("section"))
