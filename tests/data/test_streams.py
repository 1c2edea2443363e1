"""Streamed shards: one sequence for any hosts and workers, resumed at the exact next record."""

import collections
import concurrent.futures
import itertools
import json
import pathlib
import threading
import time

import fsspec
import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.data import files
from bigclip.data.batches import open_batches
from bigclip.data.preprocess import Preprocess
from bigclip.data.selection import apply_filters
from bigclip.data.shard_streams import Place
from bigclip.data.sources import open_source
from bigclip.data.stream_reader import StreamReader
from bigclip.data.tokenizer import train_tokenizer

LENGTHS = (7, 5, 9, 6, 8, 7, 5, 9, 6, 8)  # of the shards: 70 records
SHARDS = [3, 3, 8, 8, 0, 0, 9, 9, 2, 2, 6, 6, 7, 7, 1, 1]
PLACES = [
    [1, 0, 2, 1, 1, 0, 0, 1, 0, 2, 0, 2, 1, 0, 3, 1],
    [3, 2, 3, 0, 2, 3, 3, 2, 1, 3, 3, 1, 2, 3, 2, 0],
    [5, 4, 5, 4, 4, 6, 4, 7, 7, 4, 0, 1, 4, 6, 2, 1],
]
AUGMENT = {"crop": "resized", "scale": (0.5, 1.0), "flip": 0.5}


@pytest.fixture(scope="module")
def tokenizer():
    words = "fox owl red blue house tree moon boat cup key"
    return train_tokenizer([words] * 3, vocab_size=330, context_length=16)


@pytest.fixture
def options(tokenizer):
    return {
        "preprocess": Preprocess(size=16),
        "tokenizer": tokenizer,
        "batch_size": 16,
        "seed": 5,
        "augment": AUGMENT,
    }


def stream(shards, **options):
    """Open shards of 5 to 9 records as 8 streams with windows of 4."""
    settings = {"num_streams": 8, "shuffle_window": 32, **options}
    return open_source(kind="webdataset", access="stream", shards=shards, **settings)


@pytest.fixture
def shards(write_shards):
    return write_shards(*LENGTHS)


def take(source, count, **options):
    with open_batches(source, **options) as batches:
        return list(itertools.islice(batches, count))


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def numbers(batches):
    """The numbers of the samples, which the colour tells; lossy WebP moves it by a few levels."""
    return [int(b["image"][row].mean((0, 1))[0].round()) for b in batches for row in range(16)]


def test_every_record_comes_once_an_epoch(shards, options):
    # Windows of one record: each stream keeps the order of its shards.
    batches = take(stream(shards, shuffle_window=8), 60, **options)
    rows = np.concatenate([b["record"].reshape(8, 2) for b in batches], 1)
    epochs = collections.defaultdict(list)
    for number, records in enumerate(rows.tolist()):
        turn = 0
        while records:
            length = LENGTHS[records[0] >> 40]
            epochs[(8 * turn + number) // 10].extend(records[:length])
            records, turn = records[length:], turn + 1
    # 960 records are 13 epochs; streams with long shards are behind by a few.
    for epoch in range(10):
        assert len(epochs[epoch]) == len(set(epochs[epoch])) == 70
    orders = {tuple(r >> 40 for r in epochs[epoch]) for epoch in range(10)}
    assert len(orders) == 10


def test_the_streams_are_these(shards, options):
    """What stands here has been trained with; a change breaks the exact resumption of runs."""
    batches = take(stream(shards), 3, **options)
    assert [record >> 40 for record in batches[0]["record"].tolist()] == SHARDS
    places = [[(record & (1 << 40) - 1) // 3072 for record in b["record"]] for b in batches]
    assert places == PLACES


@pytest.mark.parametrize("process_count", [2, 4, 8])
def test_hosts_together_see_what_one_sees(shards, options, process_count):
    whole = take(stream(shards), 12, **options)
    shares = [
        take(stream(shards), 12, **options, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    joined = [
        {name: np.concatenate([share[name] for share in step]) for name in step[0]}
        for step in zip(*shares, strict=True)
    ]
    assert_equal(joined, whole)


@pytest.mark.parametrize("change", [{"num_threads": 1}, {"num_threads": 7}, {"num_workers": 3}])
def test_threads_and_workers_do_not_matter(shards, options, change):
    assert_equal(take(stream(shards), 9, **options, **change), take(stream(shards), 9, **options))


@pytest.mark.parametrize("stop", [0, 1, 2, 5, 11])
def test_resumes_at_the_exact_next_record_on_other_hosts(shards, options, stop):
    whole = take(stream(shards), 20, **options)
    with open_batches(stream(shards), **options) as batches:
        assert_equal(list(itertools.islice(batches, stop)), whole[:stop])
        position = json.loads(json.dumps(batches.position()))
    assert position["taken"] == 2 * stop
    later = take(stream(shards), 20 - stop, **options, start_batch=stop, position=position)
    assert_equal(later, whole[stop:])
    # Half of it, on the second of two hosts, with a worker.
    half = {"process_index": 1, "process_count": 2, "num_workers": 1}
    later = take(stream(shards), 3, **options, start_batch=stop, position=position, **half)
    expected = [{name: array[8:] for name, array in b.items()} for b in whole[stop : stop + 3]]
    assert_equal(later, expected)


def test_the_position_of_several_hosts_is_that_of_one(shards, options):
    with open_batches(stream(shards), **options) as batches:
        collections.deque(itertools.islice(batches, 7), maxlen=0)
        whole = batches.position()
    places, last = [], None
    for index in range(4):
        share = {"process_index": index, "process_count": 4}
        with open_batches(stream(shards), **options, **share) as batches:
            collections.deque(itertools.islice(batches, 7), maxlen=0)
            batches.position(lambda own: places.append(own) or [own])
            last = batches
    assert last.position(lambda own: places) == whole


def test_another_batch_size_goes_on_with_the_next_records(shards, options):
    with open_batches(stream(shards), **options) as batches:
        collections.deque(itertools.islice(batches, 5), maxlen=0)
        position = batches.position()
    small = take(stream(shards), 2, **options, start_batch=5, position=position)
    double = {**options, "batch_size": 32}
    [large] = take(stream(shards), 1, **double, start_batch=3, position=position)
    # Rows go stream by stream: two of the first, two of the second, ...
    expected = np.concatenate([b["record"].reshape(8, 2) for b in small], 1).ravel()
    np.testing.assert_array_equal(large["record"], expected)
    with pytest.raises(ConfigError, match="no multiple of the 8 streams"):
        take(stream(shards), 1, **{**options, "batch_size": 12}, position=position)


def test_the_shuffle_mixes_within_the_window_and_differs_each_epoch(write_shards, options):
    source = stream(write_shards(64), num_streams=1, shuffle_window=32)
    records = np.concatenate([b["record"] for b in take(source, 8, **options)])
    order = np.argsort(np.argsort(records[:64]))
    assert sorted(order[:32]) == list(range(32))
    assert (np.abs(order - np.arange(64)) > 4).mean() > 0.5
    assert records[:64].tolist() != records[64:].tolist()


def test_windows_hold_no_more_than_a_small_data_set_has(shards, options):
    with open_batches(stream(shards, shuffle_window=10_000), **options) as batches:
        # 70 records on 8 streams; the estimate is by bytes, which headers and ends blur a little.
        assert batches.position()["windows"] == pytest.approx([9], abs=2)
    told = stream(shards, shuffle_window=10_000, num_records=40)
    with open_batches(told, **options) as batches:
        assert batches.position()["windows"] == [5]


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


def test_filters_pass_records_over_and_count_them(shards, options):
    source = apply_filters(stream(shards), {"scores": {"number": [0, 39]}})
    with open_batches(source, **options) as batches:
        found = list(itertools.islice(batches, 20))
        assert batches.tally.rejected["score"] > 100
        assert batches.tally.bad.total() == 0
    whole = take(stream(shards), 20, **options)
    kept = set(np.concatenate([b["record"] for b in found]).tolist())
    assert kept < set(np.concatenate([b["record"] for b in whole]).tolist())
    assert len(kept) == 40
    nothing = apply_filters(stream(shards), {"scores": {"number": [1000, None]}})
    with pytest.raises(ConfigError, match=r"none of the first records .* passes Filter\(score"):
        open_batches(nothing, **options)
    with pytest.raises(ConfigError, match=r"bigclip.data.index.*deny_ids"):
        apply_filters(stream(shards), {"duplicate_texts": True})


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


def mixture(one, other, **options):
    blocks = {
        "small": {"kind": "webdataset", "access": "stream", "shards": one, "weight": 3.0},
        "large": {"kind": "webdataset", "access": "stream", "shards": other, "weight": 1.0},
    }
    for block in blocks.values():
        block.update({"num_streams": 4, "shuffle_window": 16, **options})
    return open_source(kind="mixture", sources=blocks)


def test_mixtures_keep_their_weights_after_every_batch(shards, options):
    source = mixture(shards[:4], shards[4:])
    assert source.names == ("large", "small")
    whole = take(source, 20, **options)
    images = np.array(numbers(whole))
    is_small = (images < 27 + 2).astype(int)  # 7 + 5 + 9 + 6 samples
    small = np.cumsum(is_small.reshape(20, 16).sum(1))
    # Colours near the border are off by a level or two.
    assert np.abs(small - 12 * np.arange(1, 21)).max() <= 20
    with open_batches(source, **options) as batches:
        collections.deque(itertools.islice(batches, 7), maxlen=0)
        position = json.loads(json.dumps(batches.position()))
    later = take(source, 5, **options, start_batch=7, position=position)
    assert_equal(later, whole[7:12])
    shares = [
        take(source, 5, **options, process_index=i, process_count=2, num_workers=i)
        for i in range(2)
    ]
    joined = np.concatenate([share[4]["record"] for share in shares])
    np.testing.assert_array_equal(joined, whole[4]["record"])


def test_mistakes_are_named(shards, options, write_shards):
    with pytest.raises(ConfigError, match="8 streams cannot be shared evenly by 16 processes"):
        take(stream(shards), 1, **options, process_count=16)
    position = {"source": "other", "num_streams": 8, "taken": 0, "windows": [4]}
    position["places"] = [[[0, 0]] * 8]
    with pytest.raises(ConfigError, match="not those with which this run began"):
        take(stream(shards), 1, **options, position=position)
    with pytest.raises(ConfigError, match=r"part-010.tar: .*did you mean .*part-0"):
        take(stream([*shards, shards[0].replace("000", "010")]), 1, **options)
    with pytest.raises(ConfigError, match="num_streams: .* is for access='stream'"):
        open_source(kind="webdataset", access="random", shards=shards, num_streams=4)
    with pytest.raises(ConfigError, match="index_dir: .* is for access='random'"):
        open_source(kind="webdataset", access="stream", shards=shards, index_dir="x")
    with pytest.raises(ConfigError, match="num_streams must be at least 1"):
        stream(shards, num_streams=0)
    blocks = {
        "a": {"kind": "webdataset", "access": "stream", "shards": shards[:2], "weight": 1.0},
        "b": {"kind": "webdataset", "shards": shards[2:], "weight": 1.0},
    }
    with pytest.raises(ConfigError, match="a are streamed, and the others"):
        open_source(kind="mixture", sources=blocks)
    blocks["b"] |= {"access": "stream", "weight": -1.0}
    with pytest.raises(ConfigError, match="sources.b.weight must be a positive number"):
        open_source(kind="mixture", sources=blocks)
    with pytest.raises(ConfigError, match="must be a mapping of names"):
        open_source(kind="mixture", sources=list(blocks.values()))
    with pytest.raises(ConfigError, match=r"sources.a: unknown key 'weigth'"):
        open_source(kind="mixture", sources={"a": {**blocks["a"], "weigth": 1}, "b": blocks["b"]})
    blocks["b"] |= {"weight": None}
    with pytest.raises(ConfigError, match="b has no weight"):
        open_source(kind="mixture", sources=blocks)
