"""Streamed shards that fail: what is passed over, what is replaced, what ends the run."""

import collections
import concurrent.futures
import itertools
import pathlib
import threading
import time

import fsspec
import numpy as np
import pytest
from batch_taking import LENGTHS, assert_equal, stream, stream_options, take

from bigclip.config import ConfigError
from bigclip.data import files
from bigclip.data.batches import open_batches
from bigclip.data.selection import apply_filters
from bigclip.data.shard_streams import Place
from bigclip.data.sources import open_source
from bigclip.data.stream_reader import StreamReader


@pytest.fixture
def options(tokenizer):
    return stream_options(tokenizer)


@pytest.fixture
def shards(write_shards):
    return write_shards(*LENGTHS)


def test_remote_shards_are_streamed_over_failures(shards, options, monkeypatch):
    memory = fsspec.filesystem("memory")
    for path in shards:
        with open(path, "rb") as file:
            memory.pipe(f"/bucket/{path.rpartition('/')[2]}", file.read())
    failures = itertools.cycle([True, False, False])

    def broken_read(self, path, start=None, end=None, **kwargs):
        if next(failures):
            raise ConnectionError("reset by peer")
        return fsspec.AbstractFileSystem.cat_file(self, path, start, end, **kwargs)

    monkeypatch.setattr(type(memory), "cat_file", broken_read)
    monkeypatch.setattr(files, "_FIRST_WAIT_SECONDS", 0.001)
    files._retrying.cache_clear()
    source = open_source(
        kind="webdataset", shards="memory://bucket/part-*.tar", num_streams=8, shuffle_window=32
    )
    found = take(source, 10, **options)
    files._retrying.cache_clear()
    memory.rm("/bucket", recursive=True)
    assert_equal(found, take(stream(shards), 10, **options))


def test_a_shard_that_cannot_be_read_any_more_ends_the_run(shards, options, monkeypatch):
    monkeypatch.setattr(files, "_FIRST_WAIT_SECONDS", 0.0)
    files._retrying.cache_clear()
    read = files.Files.read

    def gone(self, path, offset, size):
        if path.endswith("003.tar"):
            raise OSError("the disk is on fire")
        return read(self, path, offset, size)

    source = stream(shards)
    batches = open_batches(source, **options)
    monkeypatch.setattr(files.Files, "read", gone)
    with pytest.raises(OSError, match="the disk is on fire"):
        collections.deque(itertools.islice(batches, 40), maxlen=0)
    with pytest.raises(StopIteration):
        next(batches)


def spoil(number, parts):
    if number == 3:
        parts["webp"] = b""
    if number == 11:
        parts["json"] = b"{"
    if number == 20:
        del parts["txt"], parts["json"]
    if number == 44:
        parts["webp"] = parts["webp"][:40]
    if number == 50:
        parts["json"], parts["txt"] = b"{}", b"\xff\xfe"


def test_bad_records_are_passed_over_or_replaced_and_counted_by_name(write_shards, options):
    paths = write_shards(7, 5, 9, 6, 8, 7, 5, 9, change=spoil)
    with open(paths[4], "r+b") as file:
        file.truncate(9 * 512)  # inside of its first sample or second
    open(paths[5], "wb").close()
    source = stream(paths[:5] + paths[5:6] + paths[6:])
    whole = {**options, "max_bad_fraction": 0.9}
    with open_batches(source, **whole) as batches:
        found = list(itertools.islice(batches, 30))
        tally = batches.tally
    assert set(tally.bad) == {
        "empty_image", "broken_json", "incomplete_sample", "broken_image", "broken_shard",
        "caption_not_utf8",
    }  # fmt: skip
    # Windows of 4 that were begun: 480 records are 120 of them, and up to one more a stream.
    assert 480 <= tally.num_seen - tally.bad.total() <= 480 + 8 * 4
    # What decoding alone can tell is replaced, the rest passed over.
    assert sum(b["bad"].sum() for b in found) == tally.bad["broken_image"] > 0
    # The same on two hosts, which count their own.
    shares = []
    for index in range(2):
        share = {"process_index": index, "process_count": 2}
        with open_batches(stream(paths), **whole, **share) as batches:
            collections.deque(itertools.islice(batches, 30), maxlen=0)
            shares.append(batches.tally.bad)
    # Windows are read ahead of the batches, so none is told before a record of it is used.
    assert shares[0] + shares[1] == tally.bad


@pytest.mark.parametrize("num_streams", [1, 16])
def test_a_missing_shard_is_passed_over(write_shards, options, num_streams):
    paths = write_shards(*[3] * 20)
    pathlib.Path(paths[7]).unlink()  # none of those that are looked at beforehand
    source = stream(paths, num_streams=num_streams, shuffle_window=16)
    with open_batches(source, **options, max_bad_fraction=0.1) as batches:
        found = np.concatenate([b["record"] for b in itertools.islice(batches, 16)])
    assert set(batches.tally.bad) == {"missing_shard"}
    assert len(set(found.tolist())) == 57
    pathlib.Path(paths[0]).unlink()
    with pytest.raises(ConfigError, match="part-000.tar: No such file"):
        open_batches(source, **options)


def test_a_crowd_of_bad_pictures_is_passed(write_shards, options):
    def change(number, parts):
        if number // 8 == 2:  # a whole shard, and with it whole windows
            parts["webp"] = parts["webp"][:50]

    paths = write_shards(*[8] * 6, change=change)
    source = stream(paths, num_streams=2, shuffle_window=8)
    whole = {**options, "max_bad_fraction": 0.9}
    found = take(source, 12, **whole)
    bad = np.concatenate([b["bad"] for b in found])
    assert bad.max() >= 4  # past the window of 4
    assert not (np.concatenate([b["record"] for b in found]) >> 40 == 2).any()
    # The same where threads use windows up in another order, and on resumption.
    assert_equal(take(source, 12, **whole, num_threads=1), found)
    with open_batches(source, **whole) as batches:
        collections.deque(itertools.islice(batches, 3), maxlen=0)
        position = batches.position()
    assert_equal(take(source, 9, **whole, start_batch=3, position=position), found[3:])


def test_what_a_large_window_passed_over_is_held_against_the_whole_window(write_shards, options):
    def change(number, parts):
        if number % 40 == 1:
            parts["txt"], parts["json"] = b"", b"{}"

    source = stream(write_shards(*[200] * 8, change=change), shuffle_window=8 * 190)
    with open_batches(source, **options, max_bad_fraction=0.05) as batches:
        next(batches)
        # The first batch begins all windows: 40 bad records in 1,520, not in 16.
        assert batches.tally.bad == {"no_caption": 40}
        assert batches.tally.num_seen == 1560


def test_closing_in_the_middle_leaves_no_thread_waiting(shards, options):
    before = set(threading.enumerate())
    for stop in range(6):
        with open_batches(stream(shards, shuffle_window=8), **options) as batches:
            collections.deque(itertools.islice(batches, stop), maxlen=0)
    deadline = time.monotonic() + 20
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()


def test_a_window_whose_forerunner_was_cancelled_does_not_wait_for_ever(shards):
    # What closing does when a thread takes a window just as those before it are cancelled.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reader = StreamReader(
            stream(shards).sources[0], stream=0, num_streams=8, seed=0, window=4, filter=None,
            first=0, place=Place(0, 0), pool=pool,
        )  # fmt: skip
        late = pool.submit(reader._read, 1)
        reader.close()
        with pytest.raises(RuntimeError, match="closed"):
            late.result(timeout=20)


def test_too_many_bad_records_stop_the_run_and_name_the_worst_shards(write_shards, options):
    def change(number, parts):
        if number >= 50:
            parts["webp"] = b"<html>"

    paths = write_shards(*[10] * 6, change=change)
    with pytest.raises(ConfigError, match="of 60 records looked at are bad"):
        take(stream(paths), 1, **options)
    batches = open_batches(stream(paths), **options, max_bad_fraction=0.17)
    batches.tally._max_bad_fraction = 0.01
    with pytest.raises(ConfigError, match=r"unknown_image \d+; worst shards: part-005.tar \d+"):
        collections.deque(itertools.islice(batches, 70), maxlen=0)


def test_a_stream_in_which_nothing_passes_any_more_ends_the_run(shards, options):
    source = stream(shards)
    batches = open_batches(source, **options)
    batches.close()
    source = apply_filters(source, {"scores": {"number": [1000, None]}})
    source.sample = lambda num: stream(shards).sample(num)
    batches = open_batches(source, **options)
    with pytest.raises(
        ConfigError, match=r"without one record that passes \(\d+ rejected by score"
    ):
        next(batches)
