"""Streamed shards: one sequence for any hosts and workers, resumed at the exact next record."""

import collections
import itertools
import json

import numpy as np
import pytest
from batch_taking import LENGTHS, assert_equal, stream, stream_options, take

from bigclip.config import ConfigError
from bigclip.data.batches import open_batches
from bigclip.data.selection import apply_filters
from bigclip.data.sources import open_source

SHARDS = [3, 3, 8, 8, 0, 0, 9, 9, 2, 2, 6, 6, 7, 7, 1, 1]
PLACES = [
    [1, 0, 2, 1, 1, 0, 0, 1, 0, 2, 0, 2, 1, 0, 3, 1],
    [3, 2, 3, 0, 2, 3, 3, 2, 1, 3, 3, 1, 2, 3, 2, 0],
    [5, 4, 5, 4, 4, 6, 4, 7, 7, 4, 0, 1, 4, 6, 2, 1],
]


@pytest.fixture
def options(tokenizer):
    return stream_options(tokenizer)


@pytest.fixture
def shards(write_shards):
    return write_shards(*LENGTHS)


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
