"""Worker processes, as real processes: the same batches, and nobody left behind."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import hashlib, json, sys, time
from bigclip.data.batches import open_batches
from bigclip.data.preprocess import Preprocess
from bigclip.data.sources import open_source
from bigclip.data.tokenizer import train_tokenizer

def main(shard, num_workers, end):
    batches = open_batches(
        open_source(kind="webdataset", shards=shard),
        preprocess=Preprocess(size=16),
        tokenizer=train_tokenizer(["fox owl red blue"] * 3, vocab_size=300, context_length=8),
        batch_size=8,
        seed=1,
        start_batch=3,
        augment={"crop": "resized", "flip": 0.5},
        num_workers=num_workers,
    )
    digest = hashlib.sha256()
    for _ in range(7):
        for name, array in sorted(next(batches).items()):
            digest.update(name.encode() + array.tobytes())
    print(json.dumps(digest.hexdigest()), flush=True)
    if end == "close":
        batches.close()
    elif end == "wait":
        sys.stdin.readline()
        for _ in range(50):
            next(batches)
        print("still there", flush=True)
        batches.close()

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
"""


@pytest.fixture
def start(tmp_path, write_shards):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    [shard] = write_shards(20)
    started = []

    def run(num_workers, end):
        process = subprocess.Popen(
            [sys.executable, program, shard, str(num_workers), end],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def children(pid):
    """Find the living descendants of a process: pid -> command line."""
    found, parents = {}, {}
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
            with open(f"/proc/{entry}/cmdline") as file:
                command = file.read().replace("\0", " ")
        except OSError:
            continue
        if state != "Z":
            parents[int(entry)] = int(parent), command
    wave = {pid}
    while wave:
        wave = {child for child, (parent, _) in parents.items() if parent in wave}
        found.update({child: parents[child][1] for child in wave})
    return found


def wait_until_gone(pids, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = []
        for pid in pids:
            try:
                with open(f"/proc/{pid}/stat") as file:
                    alive += [pid] if file.read().rpartition(")")[2].split()[0] != "Z" else []
            except OSError:
                continue
        if not alive:
            return []
        time.sleep(0.05)
    return alive


def test_workers_do_not_matter_and_go_quietly(start):
    ends = ((0, "close"), (0, "leave"), (2, "close"), (2, "leave"))
    runs = [start(workers, end) for workers, end in ends]
    outputs = [(*run.communicate(timeout=120), run.returncode) for run in runs]
    digests = {json.loads(output) for output, _, _ in outputs}
    assert len(digests) == 1
    assert [(errors, code) for _, errors, code in outputs] == [("", 0)] * 4


def test_workers_of_a_killed_trainer_go_by_themselves(start):
    trainer = start(2, "wait")
    assert trainer.stdout.readline()
    workers = [pid for pid, command in children(trainer.pid).items() if "spawn_main" in command]
    assert len(workers) == 2
    everyone = list(children(trainer.pid))
    trainer.send_signal(signal.SIGKILL)
    # They look once a second; the rest is for a busy machine.
    assert wait_until_gone(everyone, seconds=20) == []


def test_signals_to_the_group_leave_workers_to_the_trainer(start):
    trainer = start(2, "wait")
    assert trainer.stdout.readline()
    workers = [pid for pid, command in children(trainer.pid).items() if "spawn_main" in command]
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
        os.kill(worker, signal.SIGINT)
    output, errors = trainer.communicate("go on\n", timeout=120)
    assert (output, errors, trainer.returncode) == ("still there\n", "", 0)
    assert wait_until_gone(workers, seconds=5) == []


def test_a_worker_that_dies_ends_the_run_with_a_clear_error(start):
    trainer = start(2, "wait")
    assert trainer.stdout.readline()
    workers = [pid for pid, command in children(trainer.pid).items() if "spawn_main" in command]
    os.kill(workers[0], signal.SIGKILL)
    since = time.monotonic()
    output, errors = trainer.communicate("go on\n", timeout=120)
    # At once, but for a busy machine: far below the minutes of a collective's time-out.
    assert time.monotonic() - since < 60
    assert (output, trainer.returncode) == ("", 1)
    assert "a data worker ended unexpectedly" in errors
    assert "exit code -9" in errors
    assert wait_until_gone(workers, seconds=10) == []
