"""Runs as they lie on disk, and a reader of pages, for the tests of the report."""

import html.parser
import io
import json
import tarfile

import PIL.Image

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
        if tag not in ("meta", "img", "br", "input"):
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


def write_run(tmp_path, run_id="r", definition="d", boost=1.0, **changes):
    """Write a workdir whose results grow with the steps, `boost` times as high as others'."""
    tmp_path.mkdir(exist_ok=True)
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
    status = {"run_id": run_id, "status": "complete", "step": 20, "total_steps": 20}
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
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
        metrics = {name: boost * step / 40 for name in names}
        pools = {f"style=flat/{name}": step / 40 for name in names}
        chance = {f"{way}/R@1": 0.005 for way in ways}
        common = {"step": step, "run_id": run_id, "definition": definition}
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
