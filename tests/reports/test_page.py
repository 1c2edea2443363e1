"""The whole page, from workdirs of every kind of incompleteness."""

import html.parser
import io
import json
import re
import tarfile

import PIL.Image
import pytest

from bigclip import report
from bigclip.config import ConfigError
from bigclip.reports import write_report
from bigclip.reports.pictures import PictureBook

EVIL = "<script>alert('fox')</script> & \"fox\""


class Page(html.parser.HTMLParser):
    """Reads a page, checks that its elements close, and keeps what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self._open = [], "", []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def write_shard(path):
    with tarfile.open(path, "w") as tar:
        for number, colour in enumerate(("red", "green", "blue")):
            buffer = io.BytesIO()
            PIL.Image.new("RGB", (300, 200), colour).save(buffer, "PNG")
            about = {"style": "flat", "captions": {"name": [f"{colour} {EVIL}"]}}
            for suffix, data in (("png", buffer.getvalue()), ("json", json.dumps(about).encode())):
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def hit(number, right):
    return {"record": number, "key": f"test.tar/{number}", "score": 0.5, "right": right}


@pytest.fixture
def workdir(tmp_path):
    """A complete run with both kinds of suites."""
    write_shard(tmp_path / "test.tar")
    source = {"kind": "webdataset", "shards": [str(tmp_path / "test.tar")]}
    config = {
        "batch_size": 256,
        "task": {"name": "contrastive", "loss": "softmax"},
        "data": {"source": source},
        "evals": {
            "concepts": {"suite": "retrieval", "source": source},
            "classes": {"suite": "zero_shot", "source": source},
        },
    }
    status = {"run_id": "r", "status": "complete", "step": 20, "total_steps": 20}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "run.json").write_text(json.dumps(status | {"versions": {"jax": EVIL}}))
    rows = [
        {"step": s, "loss": 27.0 / s, "logit_scale": 14.0 + s, "examples_per_second": 100.0 * s}
        for s in (5, 10, 20)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ways = ("image_to_text", "text_to_image")
    names = [f"{way}/{key}" for way in ways for key in ("R@1", "R@5", "median_rank", "mrr")]
    lines = []
    for step in (10, 20):
        metrics = {name: step / 40 for name in names}
        pools = {f"style=flat/{name}": step / 40 for name in names}
        chance = {f"{way}/R@1": 0.005 for way in ways}
        common = {"step": step, "run_id": "r", "definition": "d"}
        counts = {"images": 3, "texts": 3, "pools": 1}
        retrieval = {"metrics": metrics | pools, "chance": chance, "counts": counts}
        lines.append({"suite": "concepts", "kind": "retrieval", **common, **retrieval})
        top = {"metrics": {"top1": 0.25, "top5": 0.5}, "chance": {"top1": 0.1}, "counts": {}}
        lines.append({"suite": "classes", "kind": "zero_shot", **common, **top})
    (tmp_path / "evaluations.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (tmp_path / "evaluations").mkdir()
    shared = {"pool": "style=flat", "candidates": 3, "right": 1, "best": 0.1}
    said = [{"text": 1, "score": 0.4, "right": False}, {"text": 0, "score": 0.1, "right": True}]
    picture = hit(0, True) | shared | {"rank": 2.0, "right_texts": [0], "ranked": said}
    texts = {"0": f"red {EVIL}", "1": "owl"}
    details = {
        "seed": 0,
        "texts": texts,
        "text_to_image": [
            shared | {"text": 0, "rank": 1.0, "ranked": [hit(0, True), hit(1, False)]}
        ],
        "image_to_text": [picture],
        "mistakes": [picture | {"ranked": said[:1], "rank": 3.0}],
    }
    (tmp_path / "evaluations" / "concepts-20.json").write_text(json.dumps(details))
    classes = {"a": {"name": EVIL, "images": 3, "top1": 1.0}}
    (tmp_path / "evaluations" / "classes-20.json").write_text(
        json.dumps({"per_class": classes, "texts": texts, "seed": 0, "image_to_text": [picture]})
    )
    return tmp_path


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


def test_the_command(workdir, tmp_path, capsys):
    assert report.main([str(workdir)]) == 0
    assert capsys.readouterr().out.strip() == str(workdir / "report.html")
    assert report.main([str(tmp_path / "nothing")]) == 2
    assert "holds no run" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        write_report(tmp_path / "nothing")
