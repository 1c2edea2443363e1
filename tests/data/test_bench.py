"""The bench of the input pipeline: what it counts, that its parts add up, and its verdict."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import tiny_config

from bigclip.config import ConfigError
from bigclip.data import images
from bigclip.data.bench import stages, verdict
from bigclip.data.bench.stages import STAGES, Stopwatch, time_stages
from bigclip.data.bench.throughput import measure
from bigclip.data.bench.verdict import Need, host_cores, judge, read_need
from bigclip.data.process_tree import cpu_seconds, memory_bytes, process_tree
from bigclip.data.run_records import open_run

ROOT = pathlib.Path(__file__).parents[2]
TINY = str(pathlib.Path(tiny_config.__file__))


@pytest.fixture
def run_of(write_shards):
    """Open 27 records; `change` may spoil them."""

    def open_it(*, change=None, access="random"):
        config = tiny_config.get_config("none")
        shards = write_shards(7, 5, 9, 6, change=change)
        config.data.source = {"kind": "webdataset", "shards": shards, "access": access}
        if access == "stream":
            config.data.source.update(num_streams=4, shuffle_window=8)
        config.data.max_bad_fraction = 0.5
        return open_run(config)

    return open_it


class Clock:
    """Ticks once each time it is looked at; CPU time ticks in tenths."""

    def __init__(self):
        self.ticks = 0

    def perf_counter(self):
        self.ticks += 1
        return float(self.ticks)

    def thread_time(self):
        return self.ticks / 10


def test_a_moment_counts_for_the_innermost_stage(monkeypatch):
    monkeypatch.setattr(stages, "time", Clock())
    watch = Stopwatch()
    with watch.during("assemble"):  # looked at 1
        with watch.during("read"):  # 2
            pass  # 3
        with watch.during("crop, resize, augment"), watch.during("decode"):  # 4, 5
            pass  # 6, 7
    # 8
    expected = dict.fromkeys(STAGES, 0.0)
    expected |= {"assemble": 3.0, "read": 1.0, "crop, resize, augment": 2.0, "decode": 1.0}
    assert watch.wall == expected
    assert watch.cpu == pytest.approx({stage: ticks / 10 for stage, ticks in expected.items()})
    with pytest.raises(ZeroDivisionError), watch.during("read"):
        _ = 1 / 0
    assert watch.wall["read"] == 2.0
    watch.reset()
    assert watch.wall == dict.fromkeys(STAGES, 0.0)


@pytest.mark.parametrize("access", ["random", "stream"])
def test_every_part_of_an_example_is_timed(run_of, monkeypatch, access):
    monkeypatch.setattr(stages, "time", Clock())
    decode = images.decode
    run = run_of(access=access)
    found = time_stages(run, 20)
    assert images.decode is decode
    assert found.num_examples == 24  # pieces of 8
    # By the clock: one tick for each beginning or end of a stage inside of another.
    per_example = {stage: ticks * 24 for stage, ticks in found.wall_seconds.items()}
    assert per_example["read"] == per_example["decode"] == per_example["captions"] == 24
    assert per_example["crop, resize, augment"] == 2 * 24
    assert per_example["tokens"] == 3
    # Before and after each of the three parts of an example, and twice around the tokens.
    assert per_example["assemble"] == 3 * 24 + 2 * 3
    records = [run.pipeline.source[i] for i in range(27)] if access == "random" else []
    if records:
        sizes = [len(record.image) for record in records]
        assert min(sizes) <= found.encoded_bytes <= max(sizes)


def spoil(number, members):
    if number in (2, 11):
        members["webp"] = b"no picture"
    if number == 7:
        members["json"] = b"{"


@pytest.mark.parametrize("access", ["random", "stream"])
def test_bad_records_are_passed_over_and_counted(run_of, access):
    run = run_of(access=access, change=spoil)
    assert time_stages(run, 40).num_examples == 40
    found = measure(run, seconds=60, batches=10)
    assert (found.num_batches, found.num_examples) == (10, 80)
    assert found.bad["broken_json"] > 0
    assert found.bad.keys() == {"broken_json", "unknown_image"}
    # Two batches more were made before measuring.
    assert found.num_seen == 96 + sum(found.bad.values())
    assert found.rejected == {}
    assert found.examples_per_second == 80 / found.seconds
    assert found.cores == found.cpu_seconds / found.seconds
    assert 0 < found.begin_memory <= found.peak_memory


def test_the_rows_of_one_host_are_made(run_of):
    found = measure(run_of(), seconds=60, batches=3, num_hosts=4)
    assert (found.num_batches, found.num_examples, found.num_seen) == (3, 6, 10)


def test_the_time_ends_it(run_of):
    found = measure(run_of(), seconds=1e-6, batches=None)
    assert found.num_batches == 1


@pytest.mark.parametrize(
    ("need", "keeps_up", "said"),
    [
        (None, None, "With all of its 8 cores this host makes about 1,600 examples/s"),
        (300.0, "yes", "It keeps up, 1.7 times over."),
        (500.0, "yes", "It keeps up, 1 times over."),
        (1000.0, "with all cores", "--config.data.num_workers=5."),
        (1601.0, "no", "all cores together make 100% of that"),
        (6400.0, "no", "all cores together make 25% of that"),
    ],
)
def test_the_verdict(need, keeps_up, said):
    found = judge(
        measured=500.0, per_core_second=200.0, cores=8.0, need=need and Need(need, "as told")
    )
    assert (found.most, found.keeps_up) == (1600.0, keeps_up)
    assert said in found.sentences(num_workers=2)[-1]


def test_what_was_measured_is_possible():
    """Short measurements round CPU time down."""
    assert judge(measured=500.0, per_core_second=1.0, cores=2.0, need=None).most == 500.0


FLAGS = {"chips": None, "chips_per_host": 4, "step_seconds": None, "examples_per_second": None}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, None),
        ({"examples_per_second": 70.0}, (70.0, 1)),
        ({"chips": 4, "step_seconds": 0.5}, (2048.0, 1)),
        ({"chips": 1, "step_seconds": 0.5}, (2048.0, 1)),
        ({"chips": 32, "step_seconds": 0.5}, (256.0, 8)),
        ({"chips": 32, "step_seconds": 0.5, "chips_per_host": 8}, (512.0, 4)),
    ],
)
def test_what_is_needed(flags, expected):
    need = read_need(batch_size=1024, **{**FLAGS, **flags})
    assert (need and (need.examples_per_second, need.num_hosts)) == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"chips": 4}, "--chips and --step_seconds belong together"),
        ({"step_seconds": 1.0}, "--chips and --step_seconds belong together"),
        ({"chips": 0, "step_seconds": 1.0}, "--chips must be positive, not 0"),
        ({"chips": 6, "step_seconds": 1.0}, "--chips 6 is no multiple of --chips_per_host 4"),
        ({"examples_per_second": float("nan")}, "--examples_per_second must be positive"),
        (
            {"chips": 4, "step_seconds": 1.0, "examples_per_second": 1.0},
            "give --examples_per_second, or --chips",
        ),
    ],
)
def test_needs_that_make_no_sense(flags, message):
    with pytest.raises(ConfigError, match=message):
        read_need(batch_size=1024, **{**FLAGS, **flags})


def test_cores_of_a_container(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr(verdict, "_QUOTA", tmp_path / "cpu.max")
    assert host_cores() == 16
    for content, cores in (("max 100000", 16), ("250000 100000", 2.5), ("9900000 100000", 16)):
        (tmp_path / "cpu.max").write_text(content)
        assert host_cores() == cores


def test_a_tree_is_its_processes_their_time_and_their_memory():
    burn = "import time\nwhile time.process_time() < 0.5: pass\nx = bytearray(b'1' * 60_000_000)\n"
    code = f"{burn}\nprint('ready', flush=True)\ninput()"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {code!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        pids = process_tree(process.pid)
        assert pids[0] == process.pid
        assert len(pids) == 2
        assert set(pids) < set(process_tree(os.getpid()))
        assert cpu_seconds(process.pid) >= 0.45  # the kernel counts in hundredths
        assert memory_bytes(process.pid) > 60_000_000
    finally:
        process.communicate("\n", timeout=60)
    # Gone, and its time is now that of this process.
    assert process_tree(process.pid) == [process.pid]
    assert memory_bytes(process.pid) == 0
    assert cpu_seconds(os.getpid()) >= 0.45


def command(*words):
    words = [sys.executable, "-m", "bigclip.data.bench", *words]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=dict(os.environ))


def test_the_command_with_workers_and_streams(shards, tmp_path):
    path = tmp_path / "new" / "bench.json"
    done = command(
        f"--config={TINY}:{shards}", "--config.data.num_workers=1", "--batches=4", "--sample=16",
        "--chips=8", "--step_seconds=1000", f"--json={path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in ("examples/s per core", "where the time goes", "It keeps up"):
        assert words in done.stdout
    data = json.loads(path.read_text())
    assert (data["num_batches"], data["num_examples"]) == (4, 16)  # of 8, by two hosts
    assert data["needed_examples_per_second"] == 0.004
    assert data["keeps_up"] == "yes"
    found = data["stages"]
    parts = found["cpu_seconds_per_example"]
    assert list(parts) == list(STAGES)
    assert min(parts.values()) > 0
    total = sum(parts.values()) + found["hand_over_cpu_seconds_per_example"]
    assert total == pytest.approx(found["run_cpu_seconds_per_example"])
    assert data["memory_bytes"]["begin"] > 50_000_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config={config}", "--seconds=0"], "--seconds must be positive, not 0"),
        (["--config={config}", "--config.data.sorce.kind=x"], "sorce"),
        ([], "--config is missing"),
    ],
)
def test_mistakes_exit_with_2_and_one_message(shards, words, message):
    done = command(*(word.replace("{config}", f"{TINY}:{shards}") for word in words))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
