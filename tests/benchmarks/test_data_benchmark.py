"""The comparison of input pipelines: its shards, its measures, its tables, and bigclip's side."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import data, data_sides
from benchmarks.data_bigclip_worker import PARTS, shares
from benchmarks.data_shards import make_shards, read_pictures
from benchmarks.data_turns import pull
from benchmarks.holding import hold, resume
from benchmarks.peers import PeerMissing
from bigclip.data.images import decode
from bigclip.data.process_tree import cpu_seconds, memory_bytes, process_tree
from bigclip.data.sources import open_source

_CHILD = """
import subprocess, sys
held = bytearray(int(sys.argv[1]))
held[::4096] = b"1" * len(held[::4096])  # every page is touched
child = None
if len(sys.argv) > 2:
    child = subprocess.Popen([sys.executable, "-c", open(sys.argv[2]).read(), sys.argv[1]])
print("ready", flush=True)
while True:
    pass
"""


@pytest.fixture
def family(tmp_path):
    """Start a process with a child, both busy and of at least 50 MB; give the parent's pid."""
    script = tmp_path / "child.py"
    script.write_text(_CHILD)
    command = [sys.executable, str(script), "50000000", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        # One line from each; the child has its parent's stdout.
        assert [parent.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        yield parent.pid
        for pid in process_tree(parent.pid):
            os.kill(pid, 9)


def test_a_tree_is_counted_as_a_whole(family):
    assert len(process_tree(family)) == 2
    assert process_tree(family)[0] == family
    assert 100e6 < memory_bytes(family) < 200e6
    before = cpu_seconds(family)
    while cpu_seconds(family) < before + 0.1:  # both are busy for ever
        time.sleep(0.01)


def test_a_held_tree_does_nothing_until_it_is_resumed(family):
    hold(family)
    deadline = time.monotonic() + 10
    while any(_state(pid) != "T" for pid in process_tree(family)):  # a signal takes a moment
        assert time.monotonic() < deadline
    before = cpu_seconds(family)
    time.sleep(0.05)
    assert cpu_seconds(family) == before
    resume(family)
    while cpu_seconds(family) == before:
        assert time.monotonic() < deadline


def _state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_ended_processes_are_passed_over():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert process_tree(done.pid) == [done.pid]
    assert memory_bytes(done.pid) == cpu_seconds(done.pid) == 0
    hold(done.pid)


@pytest.mark.parametrize("extension", ["jpg", "webp"])
def test_shards_are_what_img2dataset_writes(extension, tmp_path):
    (path,) = make_shards(tmp_path, records=8, extension=extension)
    source = open_source(kind="webdataset", shards=path)
    assert len(source) == 8
    for number, record in enumerate(source[i] for i in range(8)):
        assert record.metadata["key"] == f"{number:09d}"
        assert record.captions["txt"] == [record.metadata["caption"]]
        height, width, _ = decode(record.image).shape
        assert (width, height) == (record.metadata["width"], record.metadata["height"])
        assert abs(width - 500) <= 40
        assert abs(height - 375) <= 40
    pictures = read_pictures(path, 5)
    assert pictures == [source[i].image for i in range(5)]
    # As photographs of this size and quality.
    assert 55e3 < np.mean([len(picture) for picture in pictures]) < 80e3
    written = os.stat(path).st_mtime_ns
    assert make_shards(tmp_path, records=8, extension=extension) == [path]
    assert os.stat(path).st_mtime_ns == written


def test_a_turn_takes_whole_batches_and_at_least_one():
    taken = []
    batches = iter(lambda: taken.append(1) or time.sleep(0.002), 0)
    assert pull(batches, seconds=0, batch_size=8)["examples"] == 8
    turn = pull(batches, seconds=0.02, batch_size=8)
    assert turn["examples"] == 8 * (len(taken) - 1) > 8
    assert turn["seconds"] >= 0.02


def test_shares_of_functions():
    found = shares(
        {
            "~:0 <imdecode>": 4.0,
            "~:0 <resize>": 2.0,
            "resizing.py:9 _sampled": 1.0,
            "webdataset.py:80 __getitem__": 1.0,
            "~:0 <method 'encode' of 'tokenizers.Tokenizer' objects>": 1.0,
            "somewhere.py:1 else": 1.0,
        }
    )
    assert list(found) == [*PARTS, "rest"]
    assert sum(found.values()) == pytest.approx(1)
    expected = {"decode": 0.4, "crop and resize": 0.3, "read": 0.1, "tokens": 0.1, "rest": 0.1}
    assert {part: share for part, share in found.items() if share} == pytest.approx(expected)


def _row(name, cores, speeds, *, peak=2**20):
    turns = [{"examples": speed, "seconds": 1.0, "cpu_seconds": 0.5 * cores} for speed in speeds]
    return {"name": name, "cores": cores, "turns": turns, "peak_bytes": peak, "difference": 0.5}


def test_ratios_are_taken_round_by_round_and_within_the_same_cores():
    rows = [
        _row("ours", 1, [100, 10, 100]),  # the machine was slow in the second round
        _row("theirs", 1, [50, 5, 25], peak=3 * 2**20),
        _row("ours", 2, [300, 300, 300]),
        _row("theirs", 2, [150, 100, 100]),
    ]
    lines = [line.strip("| ").split(" | ") for line in data.speed_table(rows).splitlines()[2:]]
    assert lines == [
        ["ours", "1", "100", "100", "1.00", "200", "1.00", "1", "0.50"],
        ["theirs", "1", "25", "25", "2.00", "50", "2.00", "3", "0.50"],
        ["ours", "2", "300", "150", "1.00", "300", "1.00", "1", "0.50"],
        ["theirs", "2", "100", "50", "3.00", "100", "3.00", "1", "0.50"],
    ]


def test_an_absent_peer_is_told_with_the_mend():
    with pytest.raises(PeerMissing, match=r"tf.data.*--tf_python /no/python does not run"):
        data_sides.find_peer("tf.data", "/no/python")
    if "open_clip" not in sys.modules:
        with pytest.raises(PeerMissing, match=r"has no .*webdataset.* --peers_python PATH"):
            data_sides.find_peer("open_clip", sys.executable)


def test_cores_are_given_back():
    allowed = os.sched_getaffinity(0)
    with data.bound_to(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == allowed
    with pytest.raises(SystemExit, match="may use"), data.bound_to(10_000):
        pass


def test_sides_use_the_cores_that_they_get():
    options = data._parse([])
    alone = data_sides.sides_on(1, [], options)
    threads = {"num_threads": 1, "num_workers": 0}
    assert [side.options for side in alone] == [
        {**threads, "interpolation": "area"},
        {**threads, "interpolation": "bilinear_aliased"},
    ]
    names = [side.name for side in data_sides.sides_on(2, ["open_clip", "tf.data"], options)]
    assert names[:2] == ["bigclip, 2 threads", "bigclip, 2 workers"]
    assert names[2:4] == ["bigclip, 2 threads, aliased", "open_clip, 2 workers"]
    assert len(names) == 6


def test_bigclips_side_runs_and_the_others_are_said_to_be_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "_NUM_PROFILED", 16)
    figures = tmp_path / "figures.json"
    data.main(
        [
            *("--cores", "1", "--rounds", "2", "--seconds", "0.01", "--batch_size", "8"),
            *("--records", "16", "--cache", str(tmp_path), "--memory_examples", "8"),
            *("--peers_python", "/no/python", "--tf_python", "/no/python"),
            *("--json", str(figures)),
        ]
    )
    output = capsys.readouterr()
    for peer in ("open_clip", "tf.data"):
        assert f"{peer} is not measured" in output.err
    assert "| bigclip, 1 thread | 1 |" in output.out
    assert "Where bigclip's time goes" in output.out
    found = json.loads(figures.read_text())
    side, aliased = found["sides"]
    assert aliased["name"] == "bigclip, 1 thread, aliased"
    assert aliased["difference"] > 1
    assert [turn["examples"] % 8 for turn in side["turns"]] == [0, 0]
    assert all(turn["examples"] >= 8 for turn in side["turns"])
    assert 50e6 < side["peak_bytes"] < 4e9
    # Antialiased: without, these pictures come out more than a grey level off.
    assert side["difference"] < 1
    assert side["profile"]["microseconds"] > 0
    assert sum(side["profile"]["shares"].values()) == pytest.approx(1)
    # The words of PARTS fit the code as it is.
    assert side["profile"]["shares"]["rest"] < 0.25
    assert all(side["profile"]["shares"][part] > 0 for part in PARTS)
    assert found["memory"][-1][0] >= 8
