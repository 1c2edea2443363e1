"""Real processes under jax.distributed train as one does, stop as one, and fall as one."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import numpy as np
import pytest
import tiny_config
from jax.sharding import SingleDeviceSharding

from bigclip import checkpoints
from bigclip.train import train
from bigclip.training.writers import read_metrics

ROOT = pathlib.Path(__file__).parent.parent
TOTAL_STEPS = 20
SAVE_EVERY = 5
# float32 sums in another order; the updates amplify it a little from step to step. Measured: below
# 1e-6 after 36 steps.
TOLERANCE = 1e-5
PATIENCE_SECONDS = 400  # much more than it takes; cores may be shared with other tests
# The same in two tests, so that the second need not compile it again.
ACROSS = {"mesh.data": 1, "mesh.fsdp": 4, "micro_batch_size": 4}


class Runs(NamedTuple):
    """Starts processes of one configuration; what they compile is kept from one to the next."""

    shards: str
    cache: pathlib.Path

    def environment(self, devices):
        # Processes that share cores reach a collective at different times: XLA waits 30 s.
        flags = "--xla_backend_optimization_level=0 --xla_cpu_collective_timeout_seconds=300"
        return {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
            "XLA_FLAGS": flags,
            "JAX_COMPILATION_CACHE_DIR": str(self.cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

    def arguments(self, workdir, changes):
        return [
            f"--config={ROOT}/tests/tiny_config.py:{self.shards}",
            f"--workdir={workdir}",
            f"--config.total_steps={TOTAL_STEPS}",
            f"--config.checkpoints.every_steps={SAVE_EVERY}",
            *(f"--config.{key}={value}" for key, value in changes.items()),
        ]

    def in_process(self, workdir, **changes):
        """Run in this process, with its 8 devices."""
        config = tiny_config.get_config(self.shards)
        config.total_steps = TOTAL_STEPS
        config.checkpoints.every_steps = SAVE_EVERY
        config.update(changes)
        assert train(config, workdir) == "complete"

    @contextlib.contextmanager
    def start(self, workdir, layout, changes, *, heartbeat_seconds=100, only=None):
        """Start N processes of D devices each, layout = (N, D); kills what is left at the end.

        Args:
            workdir: of the run; the logs go beside it.
            layout: (N, D).
            changes: values of the configuration.
            heartbeat_seconds: after which a silent process counts as dead.
            only: {process: values of the configuration of that process alone}.
        """
        count, devices = layout
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{found.getsockname()[1]}"
        started = []
        try:
            for index in range(count):
                own = {**changes, **(only or {}).get(index, {})}
                command = [
                    sys.executable, "-m", "bigclip.train", *self.arguments(workdir, own),
                    f"--coordinator_address={address}", f"--num_processes={count}",
                    f"--process_id={index}", f"--heartbeat_timeout_seconds={heartbeat_seconds}",
                ]  # fmt: skip
                log = workdir.with_name(f"{workdir.name}-{index}.log")
                process = self._begin(command, log, devices=devices)
                started.append(process)
            yield started
        finally:
            for process in started:
                process.kill()
                process.wait()

    @contextlib.contextmanager
    def launch(self, workdir, layout, changes):
        """Start `launch.local` with N processes of D devices each, layout = (N, D)."""
        count, devices = layout
        command = [
            sys.executable, "-m", "launch.local", f"--num_processes={count}",
            f"--devices_per_process={devices}", *self.arguments(workdir, changes),
        ]  # fmt: skip
        launcher = self._begin(command, workdir.with_name("launcher.log"), devices=1)
        try:
            yield launcher
        finally:
            launcher.kill()  # takes the processes along
            launcher.wait()

    def _begin(self, command, log, *, devices):
        with log.open("w") as out:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment(devices),
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        process.log = log
        return process


@pytest.fixture(scope="module")
def runs(shards, tmp_path_factory):
    return Runs(shards, tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def undisturbed(runs, tmp_path_factory):
    """One process, from the first step to the last."""
    workdir = tmp_path_factory.mktemp("one") / "run"
    runs.in_process(workdir)
    return workdir


def rewound(workdir, copy, step):
    """Copy a run as if it had been killed after the checkpoint of `step`."""
    shutil.copytree(workdir, copy)
    for later in checkpoints.steps(copy):
        if later > step:
            shutil.rmtree(checkpoints.folder(copy) / str(later))
    return copy


def read_until(processes, step):
    """Wait for the line of a step in the log of process 0."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        lines = processes[0].log.read_text().splitlines()
        told = [int(line.split()[1].split("/")[0]) for line in lines if line.startswith("step ")]
        if told and told[-1] >= step:
            return
        assert all(process.poll() is None for process in processes), logs(processes)
        time.sleep(0.05)
    raise AssertionError(f"no step {step}:\n{logs(processes)}")


def logs(processes):
    return "\n".join(
        f"--- process {index}, code {process.poll()}\n{process.log.read_text()[-6000:]}"
        for index, process in enumerate(processes)
    )


def codes(processes):
    """Exit codes of all; fails if one does not end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for process in processes:
        try:
            process.wait(timeout=max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired as expired:
            raise AssertionError(f"one hangs:\n{logs(processes)}") from expired
    return [process.returncode for process in processes]


def status(workdir):
    return json.loads((workdir / "run.json").read_text())


def assert_same_curve(workdir, wanted, steps=TOTAL_STEPS):
    """The same metrics at the same steps, each step once."""
    rows, reference = read_metrics(workdir), read_metrics(wanted)[:steps]
    assert [row["step"] for row in rows] == list(range(1, steps + 1))
    for name in ("loss", "logit_scale", "param_norm/image", "param_norm/text", "examples_seen"):
        np.testing.assert_allclose(
            [row[name] for row in rows],
            [row[name] for row in reference],
            rtol=TOLERANCE,
            err_msg=name,
        )


def final_params(workdir):
    device = SingleDeviceSharding(jax.devices()[0])
    return checkpoints.restore_params(workdir, TOTAL_STEPS, shardings=device)


@pytest.mark.slow
def test_two_processes_train_save_and_are_evaluated(runs, undisturbed, tmp_path):
    # Parameters and batch sharded over the devices of both, the batch in two slices, and an
    # evaluation job beside them.
    workdir = tmp_path / "run"
    with runs.launch(workdir, (2, 2), ACROSS) as launcher:
        assert codes([launcher]) == [0], logs([launcher])
        told = launcher.log.read_text()
    assert f"from step 0 of {TOTAL_STEPS}; batch 8 on 4 cpu, mesh fsdp 4" in told
    assert_same_curve(workdir, undisturbed)
    assert (status(workdir)["status"], status(workdir)["num_processes"]) == ("complete", 2)
    # Adam divides by the root of a mean square, which for parameters with hardly any gradient
    # makes much of a rounding error: a part of the learning rate (1e-3) per step.
    jax.tree.map(
        lambda got, wanted: np.testing.assert_allclose(got, wanted, atol=2e-4),
        final_params(workdir),
        final_params(undisturbed),
    )
    # Only process 0 tells the story, and what both have written together can be evaluated.
    assert "step " not in (workdir / "process-1.log").read_text()
    assert sorted(path.name for path in workdir.glob("*.json*")) == [
        "config.json", "evaluations.jsonl", "metrics.jsonl", "run.json",
    ]  # fmt: skip
    lines = [json.loads(line) for line in (workdir / "evaluations.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines} == set(checkpoints.steps(undisturbed))
    assert (workdir / "report.html").exists()


def test_a_signal_to_one_stops_both_and_a_killed_one_takes_the_other_along(
    runs, undisturbed, tmp_path
):
    workdir = rewound(undisturbed, tmp_path / "run", step=SAVE_EVERY)
    with runs.start(workdir, (2, 2), ACROSS) as processes:
        read_until(processes, SAVE_EVERY + 1)
        processes[1].send_signal(signal.SIGTERM)
        assert codes(processes) == [42, 42], logs(processes)
    stopped = status(workdir)
    assert (stopped["status"], stopped["num_processes"]) == ("stopped", 2)
    assert SAVE_EVERY < stopped["step"] == checkpoints.steps(workdir)[-1] < TOTAL_STEPS

    with runs.start(workdir, (2, 2), ACROSS, heartbeat_seconds=20) as processes:
        read_until(processes, stopped["step"] + 1)
        processes[1].send_signal(signal.SIGKILL)
        # The other notices by the broken connection (and asks to be restarted), or by the
        # heartbeat (and is aborted by JAX); it does not wait for ever.
        assert codes(processes)[0] in (42, -signal.SIGABRT), logs(processes)
    assert status(workdir)["step"] < TOTAL_STEPS

    # Nothing that they left stands in the way of one process.
    runs.in_process(workdir)
    assert_same_curve(workdir, undisturbed)
    assert status(workdir)["num_processes"] == 1
    assert status(workdir)["run_id"] == status(undisturbed)["run_id"]


@pytest.mark.slow
def test_streamed_shards_pass_from_killed_processes_to_one(runs, tmp_path):
    streamed = {"data": {"source": {"access": "stream", "shuffle_window": 16}}}
    runs.in_process(tmp_path / "undisturbed", **streamed)
    workdir = tmp_path / "run"
    told = {"data.source.access": "stream", "data.source.shuffle_window": 16}
    with runs.start(workdir, (2, 2), {**ACROSS, **told}, heartbeat_seconds=20) as processes:
        read_until(processes, SAVE_EVERY + 1)
        for process in processes:
            process.send_signal(signal.SIGKILL)
        codes(processes)
    saved = checkpoints.steps(workdir)
    assert saved
    assert saved[-1] < TOTAL_STEPS
    # Two streams, each of which has given out half of every batch of 8.
    position = checkpoints.read_manifest(workdir)["data_position"]
    assert (position["num_streams"], position["taken"]) == (2, 4 * saved[-1])
    runs.in_process(workdir, **streamed)
    assert_same_curve(workdir, tmp_path / "undisturbed")


def test_what_one_cannot_do_none_does(runs, tmp_path):
    workdir = tmp_path / "run"
    mistake = {1: {"data.source.shards": "/nowhere/part-0.tar"}}
    with runs.start(workdir, (2, 1), {}, only=mistake) as processes:
        assert codes(processes) == [2, 2], logs(processes)
        alone, told = (process.log.read_text() for process in reversed(processes))
    assert "/nowhere/part-0.tar" in alone
    assert "error: process 1 cannot go on, so none does: " in told
    assert "/nowhere/part-0.tar" in told
    assert not checkpoints.steps(workdir)


@pytest.mark.slow
def test_four_two_two_other_layouts_and_one_curve(runs, undisturbed, tmp_path):
    workdir = tmp_path / "run"
    layouts = [
        # Shards and copies of the parameters both cross processes.
        ((4, 2), {"mesh.data": 2, "mesh.fsdp": 4}),
        ((2, 4), {"mesh.data": 2, "mesh.fsdp": 2, "mesh.tensor": 2}),
        # Both processes hold the same rows of a batch, because `tensor` crosses them.
        ((2, 1), {"mesh.data": 1, "mesh.tensor": 2, "micro_batch_size": 4}),
    ]
    for layout, changes in layouts:
        last = checkpoints.steps(workdir)[-1] if workdir.exists() else 0
        with runs.launch(workdir, layout, changes) as launcher:
            read_until([launcher], last + 2)
            launcher.send_signal(signal.SIGTERM)
            assert codes([launcher]) == [42], logs([launcher])
        assert status(workdir)["num_processes"] == layout[0]
        assert checkpoints.steps(workdir)[-1] > last
        assert_same_curve(workdir, undisturbed, steps=status(workdir)["step"])
    runs.in_process(workdir)
    assert_same_curve(workdir, undisturbed)
