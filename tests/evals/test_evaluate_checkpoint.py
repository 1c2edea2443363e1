"""One checkpoint evaluated once, on any mesh; and a job of two processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import fakes
import pytest
import saved_model

from bigclip import evaluate as job
from bigclip.config import ConfigError
from bigclip.evals.job.results import read_lines

PATIENCE_SECONDS = 300  # much more than it takes; cores may be shared with other tests
CONCEPTS = [f"{colour} {shape}" for colour in ("red", "blue", "green") for shape in "abcd"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir with one checkpoint of a run that goes on, and suites in a file beside it."""
    workdir = tmp_path_factory.mktemp("folder") / "run"
    saved_model.save_run(workdir)
    shard = workdir.parent / "test.tar"
    fakes.write_tar(shard, CONCEPTS, ["noto", "twemoji"])
    source = {"kind": "webdataset", "shards": [str(shard)]}
    evals = {"names": {"suite": "retrieval", "source": source, "captions": ["name"]}}
    (workdir / "config.json").write_text(json.dumps({"evals": evals}))
    (workdir / "run.json").write_text(json.dumps({"run_id": "r", "status": "running", "step": 7}))
    other = evals["names"] | {"captions": ["keywords"]}
    file = workdir.parent / "suites.py"
    file.write_text(f"def get_config(arg=''):\n    return {{'words' + arg: {other!r}}}\n")
    return workdir


def lines_of(folder):
    return {line["suite"]: line for line in read_lines(folder / "evaluations.jsonl")}


def test_suites_of_a_file_on_any_mesh(run, tmp_path, capsys):
    place, file = str(run / "checkpoints" / "7"), run.parent / "suites.py"
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert job.main(["--checkpoint", place, "--evals", str(file), "--out", str(whole)]) == 0
    shown = capsys.readouterr().out
    assert "evaluated step 7  words" in shown
    assert "chance" in shown
    assert (whole / "report.html").exists()
    arguments = ["--checkpoint", place, "--evals", f"{file}:_b", "--out", str(cut)]
    assert job.main([*arguments, "--mesh", "data=2,fsdp=2,tensor=2"]) == 0
    found, other = lines_of(whole)["words"], lines_of(cut)["words_b"]
    assert found["definition"] == other["definition"]
    # 24 pictures; one may change places: sums in another order.
    assert other["metrics"] == pytest.approx(found["metrics"], abs=1.01 / 24, rel=0.1)


def test_what_is_there_is_not_computed_again(run, tmp_path):
    evals = json.loads((run / "config.json").read_text())["evals"]
    assert job.evaluate_checkpoint(str(run), evals=evals, out=tmp_path) == 1
    assert job.evaluate_checkpoint(str(run), evals=evals, out=tmp_path) == 0
    both = evals | {"more": evals["names"] | {"group_by": "style"}}
    assert job.evaluate_checkpoint(str(run), evals=both, out=tmp_path) == 1
    assert lines_of(tmp_path).keys() == {"names", "more"}


def test_a_run_is_not_replaced_by_results(run, tmp_path):
    evals = json.loads((run / "config.json").read_text())["evals"]
    before = (run / "run.json").read_bytes()
    with pytest.raises(ConfigError, match="is the folder of a run"):
        job.evaluate_checkpoint(str(run), evals=evals, out=run)
    (tmp_path / "run.json").write_text(json.dumps({"status": "running"}))
    with pytest.raises(ConfigError, match="is the folder of a run"):
        job.evaluate_checkpoint(str(run), evals=evals, out=tmp_path)
    assert (run / "run.json").read_bytes() == before
    (tmp_path / "run.json").write_text(json.dumps({"status": "evaluated", "run_id": "other"}))
    with pytest.raises(ConfigError, match="holds the results of another model"):
        job.evaluate_checkpoint(str(run), evals=evals, out=tmp_path)


def test_mistakes_are_told(run, tmp_path, capsys):
    with pytest.raises(ConfigError, match="had no suites: give some with --evals"):
        job.evaluate_checkpoint(str(run))
    for arguments, message in (
        (["--evals", "none.py"], "--evals: none.py"),
        (["--evals", str(run.parent / "suites.py"), "--suites", "word"], "Did you mean 'words'"),
        (["--mesh", "data:2"], "write data=4,tensor=2"),
        (["--mesh", "date=2"], "no axis 'date'"),
    ):
        assert job.main(["--checkpoint", str(run), *arguments]) == 2
        assert message in capsys.readouterr().err
    for arguments in (["--checkpoint", str(run), "--follow"], ["--workdir", "x", "--out", "y"], []):
        with pytest.raises(SystemExit):
            job.main(arguments)


def start_two(arguments):
    """Start two evaluation processes of two devices each that know each other."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    command = [sys.executable, "-m", "bigclip.evaluate", *arguments, "--num_processes=2"]
    return [
        subprocess.Popen(
            [*command, f"--coordinator_address={address}", f"--process_id={index}"],
            env=os.environ | {"JAX_NUM_CPU_DEVICES": "2", "XLA_FLAGS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]


def test_two_processes_give_the_results_of_one(run):
    """They follow the run, wait together, and ask to be started again when they are told to go."""
    started = start_two(["--workdir", str(run), "--follow"])
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (run / "report.html").exists():  # which is written when nothing is left to do
            assert all(process.poll() is None for process in started), [
                process.communicate()[0] for process in started
            ]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for process in started:
            process.send_signal(signal.SIGTERM)
        told = [process.communicate(timeout=60)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [42, 42], told
    assert "evaluated step 7" in told[0]
    assert "evaluated" not in told[1]
    evals = json.loads((run / "config.json").read_text())["evals"]
    job.evaluate_checkpoint(str(run), evals=evals, out=run.parent / "alone")
    (line,) = read_lines(run / "evaluations.jsonl")
    alone = lines_of(run.parent / "alone")["names"]
    assert line["definition"] == alone["definition"]
    assert line["metrics"] == pytest.approx(alone["metrics"], abs=1.01 / 24, rel=0.1)


@pytest.mark.slow
def test_every_suite_in_two_processes(run, tmp_path):
    source = {"kind": "webdataset", "shards": [str(run.parent / "test.tar")]}
    noto = {"source": source, "where": {"style": "noto"}}
    learned = noto | {"train": {"source": source, "where": {"style": "twemoji"}}}
    corrupted = {"num_images": 8, "corruptions": ("fog", "glass_blur"), "strengths": (1, 5)}
    evals = {
        "retrieval": {"suite": "retrieval", **noto, "captions": ("name",)},
        "zero_shot": {"suite": "zero_shot", **noto},
        "linear_probe": {"suite": "linear_probe", **learned, "strength": 1.0},
        "few_shot": {"suite": "few_shot", **learned, "shots": (1,)},
        "knn": {"suite": "knn", **learned, "ks": (1,)},
        "health": {"suite": "health", **noto, "captions": ("name",)},
        "limits": {"suite": "limits", "skills": ("counting",)},
        "robustness": {"suite": "robustness", **noto, **corrupted},
    }
    (tmp_path / "suites.py").write_text(f"def get_config():\n    return {evals!r}\n")
    both, alone = tmp_path / "both", tmp_path / "alone"
    arguments = ["--checkpoint", str(run), "--evals", str(tmp_path / "suites.py")]
    started = start_two([*arguments, "--out", str(both)])
    try:
        told = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], told
    assert job.main([*arguments, "--out", str(alone)]) == 0
    found, expected = lines_of(both), lines_of(alone)
    assert found.keys() == expected.keys() == evals.keys()
    for name, line in found.items():
        # Shares of 12 pictures, of which one may change places: sums in another order.
        close = pytest.approx(expected[name]["metrics"], abs=1.01 / 12, rel=0.05)
        assert line["metrics"] == close, name
