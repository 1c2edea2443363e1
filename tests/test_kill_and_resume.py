"""Real processes, killed for real: a run that was stopped ends as one that never was.

Their shards are streamed, since that has a position to lose; test_processes_train.py resumes random
access.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from bigclip import checkpoints

ROOT = pathlib.Path(__file__).parent.parent
TOTAL_STEPS = 60
SAVE_EVERY = 10


def start(module, shards, workdir, *more):
    """Start a command on one device."""
    flags = "--xla_backend_optimization_level=0"  # as for all tests, see conftest.py
    env = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": flags,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [
        sys.executable, "-m", module, f"--config={ROOT}/tests/tiny_config.py:{shards}",
        f"--workdir={workdir}", f"--config.total_steps={TOTAL_STEPS}",
        f"--config.checkpoints.every_steps={SAVE_EVERY}",
        "--config.data.source.access=stream", "--config.data.source.shuffle_window=16", *more,
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def read_until(process, step):
    """Read the progress lines until one of at least `step`."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("step ") and int(line.split()[1].split("/")[0]) >= step:
            return
    raise AssertionError(f"no step {step}:\n" + "".join(lines))


def finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def final_arrays(workdir):
    """Everything that the last checkpoint holds of the model."""
    device = SingleDeviceSharding(jax.devices()[0])
    assert checkpoints.steps(workdir)[-1] == TOTAL_STEPS
    return [
        checkpoints.restore_params(workdir, item=item, shardings=device)
        for item in ("params", "ema")
    ]


def children_of(pid):
    """Processes whose parent is `pid`, from /proc."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue  # it has just ended
            if parent == pid:
                found.append(int(entry.name))
    return found


def is_running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(is_running, pids)):
        time.sleep(0.2)
    return [pid for pid in pids if is_running(pid)]


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    finish(start("bigclip.train", shards, workdir))
    return workdir


def test_killed_and_resumed_is_bit_identical(undisturbed, shards, tmp_path):
    # Two kills: before the first checkpoint, and in the middle (perhaps while one is written), with
    # a worker process that must not outlive its trainer. The workers change nothing either.
    for step, more in ((2, []), (3 * SAVE_EVERY, ["--config.data.num_workers=1"])):
        process = start("bigclip.train", shards, tmp_path, *more)
        read_until(process, step)
        children = children_of(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert wait_until_gone(children) == []
        if more:
            assert children, "the worker process was not there to begin with"
    finish(start("bigclip.train", shards, tmp_path))
    for got, wanted in zip(final_arrays(tmp_path), final_arrays(undisturbed), strict=True):
        jax.tree.map(np.testing.assert_array_equal, got, wanted)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, TOTAL_STEPS + 1))


def test_sigterm_saves_and_asks_to_be_restarted(undisturbed, shards, tmp_path):
    process = start("bigclip.train", shards, tmp_path)
    read_until(process, 7)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 42
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["status"] == "stopped"
    assert run["step"] == checkpoints.steps(tmp_path)[-1] < TOTAL_STEPS
    output = finish(start("bigclip.train", shards, tmp_path))
    assert f"from step {run['step']}" in output
    for got, wanted in zip(final_arrays(tmp_path), final_arrays(undisturbed), strict=True):
        jax.tree.map(np.testing.assert_array_equal, got, wanted)


def test_the_launcher_leaves_nothing_behind(shards, tmp_path):
    process = start("launch.local", shards, tmp_path)
    read_until(process, 3)
    children = children_of(process.pid)
    assert len(children) == 2  # the trainer and the evaluation job
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_until_gone(children) == []
    # Started again, both go on and end, and the report is there.
    finish(start("launch.local", shards, tmp_path))
    lines = (tmp_path / "evaluations.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["suite"] == "retrieval"
    assert TOTAL_STEPS in {json.loads(line)["step"] for line in lines}
    assert (tmp_path / "report.html").stat().st_size > 1000
