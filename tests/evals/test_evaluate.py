"""The evaluation job on a real run, in real processes: followed, killed, started again."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import fakes
import numpy as np
import pytest

import bigclip
from bigclip import evaluate as job
from bigclip.config import ConfigError
from bigclip.data.sources import open_source
from bigclip.evals.job.results import read_lines

TESTS = Path(__file__).parents[1]
CONCEPTS = [f"{colour} {shape}" for colour in ("red", "blue", "green") for shape in "abcdef"]
STEPS = [3, 6, 9, 12]


CONFIG = """
import sys
sys.path.insert(0, {tests!r})
import tiny_config

def get_config():
    config = tiny_config.get_config({shard!r})
    config.evals = {evals!r}
    return config
"""


def start(module, workdir, *arguments):
    command = [sys.executable, "-m", f"bigclip.{module}", "--workdir", str(workdir), *arguments]
    # One device, which compiles faster than the eight of this process.
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def lines_of(workdir):
    return read_lines(workdir / "evaluations.jsonl")


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A finished run, and the job that followed it from before its beginning."""
    folder = tmp_path_factory.mktemp("evaluate")
    shard = str(folder / "test.tar")
    fakes.write_tar(shard, CONCEPTS, ["noto", "twemoji"])
    source = {"kind": "webdataset", "shards": [shard]}
    names = {"suite": "retrieval", "source": source, "captions": ["name"], "group_by": "style"}
    evals = {
        "names": names,
        "names_ema": names | {"weights": "ema"},
        "classes": {"suite": "zero_shot", "source": source, "templates": ["{}", "a {}"]},
    }
    config = folder / "config.py"
    config.write_text(CONFIG.format(tests=str(TESTS), shard=shard, evals=evals))
    follower = start("evaluate", folder / "run", "--follow", "--timeout", "120")
    trainer = start("train", folder / "run", "--config", str(config))
    try:
        _, err = trainer.communicate(timeout=240)
        assert trainer.returncode == 0, err
        out, err = follower.communicate(timeout=120)
    finally:
        trainer.kill()
        follower.kill()
    return folder / "run", follower.returncode, out, err


def test_follows_a_run_from_beginning_to_end(followed):
    workdir, code, out, err = followed
    assert code == 0, err
    found = sorted((line["step"], line["suite"]) for line in lines_of(workdir))
    assert found == [(step, name) for step in STEPS for name in ("classes", "names", "names_ema")]
    assert "chance" in out
    assert (workdir / "report.html").exists()


def test_the_numbers_are_those_of_the_loaded_model(followed):
    workdir = followed[0]
    source = open_source(kind="webdataset", shards=[str(workdir.parent / "test.tar")])
    records = [source[i] for i in range(len(source)) if source[i].metadata["style"] == "noto"]
    for suite, ema in (("names", False), ("names_ema", True)):
        model = bigclip.load(workdir, step=6, ema=ema)
        image_emb = model.embed_images([record.image for record in records])
        text_emb = model.embed_texts([record.captions["name"][0] for record in records])
        scores = model.score(image_emb, text_emb)
        rank = (scores > np.diag(scores)[:, None]).sum(axis=1)
        (line,) = (x for x in lines_of(workdir) if (x["step"], x["suite"]) == (6, suite))
        for k in (1, 5, 10):
            found = line["metrics"][f"style=noto/image_to_text/R@{k}"]
            # One of 18 pictures may change places: the towers' sums differ in order between 8
            # devices and one.
            assert found == pytest.approx((rank < k).mean(), abs=1.01 / 18)
        assert line["chance"]["style=noto/image_to_text/R@1"] == pytest.approx(1 / 18, abs=1e-6)


def test_killed_at_any_moment_and_started_again(followed, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(followed[0], workdir)
    (workdir / "evaluations.jsonl").unlink()
    shutil.rmtree(workdir / "evaluations")
    victim = start("evaluate", workdir)
    deadline = time.monotonic() + 120
    while not lines_of(workdir):
        assert victim.poll() is None, victim.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    victim.kill()
    victim.communicate()
    before = lines_of(workdir)
    assert 0 < len(before) < 12
    with open(workdir / "evaluations.jsonl", "a") as file:
        file.write('{"step": 9, "suite": "na')  # as if killed in the middle of a line
    again = start("evaluate", workdir)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    after = lines_of(workdir)
    assert after[: len(before)] == before
    expected = {(line["step"], line["suite"]): line["metrics"] for line in lines_of(followed[0])}
    assert len(after) == 12
    assert {(line["step"], line["suite"]): line["metrics"] for line in after} == expected


def test_a_second_time_writes_nothing_new(followed):
    workdir = followed[0]
    before = (workdir / "evaluations.jsonl").read_bytes()
    outcome = job.evaluate(workdir, follow=True)
    assert outcome.complete
    assert outcome.evaluated == 0
    assert (workdir / "evaluations.jsonl").read_bytes() == before


def test_mistakes_are_told(followed, tmp_path, capsys):
    assert job.main(["--workdir", str(tmp_path / "none")]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert job.main(["--workdir", str(followed[0]), "--suites", "nams"]) == 2
    assert "Did you mean 'names'" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(json.dumps({"evals": {}}))
    with pytest.raises(ConfigError, match="no `evals` block"):
        job.evaluate(tmp_path)
    config = json.loads((followed[0] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="no complete checkpoint"):
        job.evaluate(tmp_path)
    assert job.main(["--workdir", str(tmp_path), "--follow", "--timeout", "0.1"]) == 3
    assert "is the trainer alive" in capsys.readouterr().err
