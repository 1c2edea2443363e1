"""Batches: the same stream for any hosts and threads, from any start, past bad records."""

import collections
import itertools
import json
import logging
import os
import threading
import time

import numpy as np
import pytest
from batch_taking import assert_equal, take

from bigclip.config import ConfigError
from bigclip.data import checks, examples
from bigclip.data.augment_text import TextAugmenter
from bigclip.data.batches import DataLost, open_batches
from bigclip.data.preprocess import Preprocess
from bigclip.data.records import BadRecord, Record
from bigclip.data.sources import open_source

AUGMENT = {"crop": "resized", "scale": (0.5, 1.0), "flip": 0.5, "brightness": 0.3, "hue": 0.1}
CAPTIONS = {"weights": {"name": 1.0, "keywords": 1.0, "txt": 1.0}, "join": ["keywords"]}


@pytest.fixture
def options(tokenizer):
    return {
        "preprocess": Preprocess(size=16),
        "tokenizer": tokenizer,
        "batch_size": 12,
        "seed": 5,
        "augment": AUGMENT,
        "captions": CAPTIONS,
        "augment_text": {"merge_dropout": 0.1, "token_dropout": 0.3, "token_replacement": 0.2},
    }


def test_shapes_types_and_content(write_shards, options):
    source = open_source(kind="webdataset", shards=write_shards(20, 17))
    [batch] = take(source, 1, **{**options, "augment": {}, "captions": {}, "augment_text": {}})
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
        "image": ((12, 16, 16, 3), np.uint8),
        "text": ((12, 16), np.int32),
        "record": ((12,), np.int64),
        "bad": ((12,), np.int32),
    }
    assert batch["bad"].sum() == 0
    for image, text, record in zip(batch["image"], batch["text"], batch["record"], strict=True):
        # The sample's colour tells its number; lossy WebP moves it by a few levels.
        assert np.abs(image.mean((0, 1)) - [record % 251, 0, 128]).max() < 6
        np.testing.assert_array_equal(text, options["tokenizer"](source[record].captions["txt"])[0])


def test_epochs_are_complete_and_look_different(write_shards, options):
    source = open_source(kind="webdataset", shards=write_shards(12))
    first, second = take(source, 2, **options)
    assert sorted(first["record"]) == sorted(second["record"]) == list(range(12))
    assert first["record"].tolist() != second["record"].tolist()
    again = second["image"][np.argsort(second["record"])]
    assert (first["image"][np.argsort(first["record"])] != again).any((1, 2, 3)).mean() > 0.9


@pytest.mark.parametrize("process_count", [2, 3, 4])
def test_hosts_together_see_what_one_sees(write_shards, options, process_count):
    source = open_source(kind="webdataset", shards=write_shards(20, 11))
    whole = take(source, 5, **options)
    shares = [
        take(source, 5, **options, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    joined = [
        {name: np.concatenate([share[name] for share in step]) for name in step[0]}
        for step in zip(*shares, strict=True)
    ]
    assert_equal(joined, whole)


@pytest.mark.parametrize("change", [{"num_threads": 1}, {"num_threads": 5}])
def test_threads_do_not_matter(write_shards, options, change):
    source = open_source(kind="webdataset", shards=write_shards(31))
    assert_equal(take(source, 5, **options, **change), take(source, 5, **options))


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_work_pieces_do_not_matter(write_shards, options, monkeypatch, chunk):
    source = open_source(kind="webdataset", shards=write_shards(31))
    expected = take(source, 3, **options)
    monkeypatch.setattr(examples, "_CHUNK_EXAMPLES", chunk)
    assert_equal(take(source, 3, **options), expected)


def test_starts_anywhere(write_shards, options):
    source = open_source(kind="webdataset", shards=write_shards(31))
    whole = take(source, 9, **options)
    for start in (1, 4, 7):
        assert_equal(take(source, 2, **options, start_batch=start), whole[start : start + 2])
    # Far along is as near as the first.
    assert len(take(source, 1, **options, start_batch=10**9)) == 1


def test_another_batch_size_continues_the_stream(write_shards, options):
    source = open_source(kind="webdataset", shards=write_shards(31))
    small = take(source, 6, **{**options, "batch_size": 4})
    [large] = take(source, 1, **{**options, "batch_size": 12}, start_batch=1)
    np.testing.assert_array_equal(large["image"], np.concatenate([b["image"] for b in small[3:]]))


def test_augmentation_and_captions_do_not_touch_each_other(write_shards, options):
    source = open_source(kind="webdataset", shards=write_shards(31))
    [base] = take(source, 1, **options)
    [plain] = take(source, 1, **{**options, "augment": {}})
    [named] = take(source, 1, **{**options, "captions": {"weights": {"name": 1}}})
    np.testing.assert_array_equal(base["text"], plain["text"])
    np.testing.assert_array_equal(base["image"], named["image"])


def test_the_augmentation_of_texts_touches_texts_alone(write_shards, options):
    source = open_source(kind="webdataset", shards=write_shards(31))
    augmented = take(source, 3, **options)
    plain = take(source, 3, **{**options, "augment_text": {}})
    for name in ("image", "record", "bad"):
        for one, other in zip(augmented, plain, strict=True):
            np.testing.assert_array_equal(one[name], other[name])
    assert any((a["text"] != b["text"]).any() for a, b in zip(augmented, plain, strict=True))


def test_several_captions_an_image(write_shards, options):
    source = open_source(kind="webdataset", shards=write_shards(31))
    captions = {"policy": "all", "weights": {"txt": 1, "name": 1, "keywords": 1}}
    [batch] = take(source, 1, **{**options, "captions": captions, "augment_text": {}})
    assert batch["text"].shape == (12, 3, 16)
    for row, record in enumerate(batch["record"]):
        found = source[record].captions
        expected = options["tokenizer"]([found["txt"][0], found["name"][0]])
        np.testing.assert_array_equal(batch["text"][row, :2], expected)


def test_the_captions_of_an_example_are_augmented_one_after_the_other(write_shards, options):
    source = open_source(kind="webdataset", shards=write_shards(31))
    captions = {"policy": "all", "weights": {"txt": 1, "name": 1}}
    [batch] = take(source, 1, **{**options, "captions": captions})
    augmenter = TextAugmenter(options["tokenizer"], **options["augment_text"])
    for row, record in enumerate(batch["record"]):
        found = source[record].captions
        texts = [found["txt"][0], found["name"][0]]
        alone = augmenter(texts, seed=options["seed"], positions=[row, row])
        np.testing.assert_array_equal(batch["text"][row], alone)


def test_closing_stops_all_threads_at_once(write_shards, options):
    source = open_source(kind="webdataset", shards=write_shards(31))
    before = threading.active_count()
    batches = open_batches(source, **options, num_threads=4)
    next(batches)
    batches.close()
    batches.close()
    with pytest.raises(StopIteration):
        next(batches)
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


class Spoilt:
    """A source of which some records are bad."""

    def __init__(self, source, bad, *, error=None):
        self.source, self.bad, self.error = source, bad, error

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        record = self.source[index]
        if index not in self.bad:
            return record
        if self.error is not None:
            raise self.error
        return record._replace(image=b"<html>404</html>")


def test_bad_records_are_replaced_counted_and_named_once(write_shards, options, caplog):
    good = open_source(kind="webdataset", shards=write_shards(31))
    source = Spoilt(good, {3, 17, 18})
    with caplog.at_level(logging.WARNING):
        spoilt = take(source, 10, **options, max_bad_fraction=0.5)
    clean = take(good, 10, **options)
    for found, expected in zip(spoilt, clean, strict=True):
        hit = np.isin(expected["record"], [3, 17, 18])
        np.testing.assert_array_equal(found["bad"] > 0, hit)
        assert not np.isin(found["record"], [3, 17, 18]).any()
        for name in found:
            np.testing.assert_array_equal(found[name][~hit], expected[name][~hit])
    assert sum(batch["bad"].sum() for batch in spoilt) >= 11
    messages = [r.getMessage() for r in caplog.records if "bad record" in r.getMessage()]
    keys = collections.Counter(message.split()[3] for message in messages)
    assert keys == {f"part-000.tar/{number:06d}:": 1 for number in (3, 17, 18)}
    assert all("its picture is no picture in any of" in message for message in messages)
    # The same on two hosts, and from the middle.
    half = take(source, 4, **options, max_bad_fraction=0.5, process_index=1, process_count=2)
    np.testing.assert_array_equal(half[3]["record"], spoilt[3]["record"][6:])
    later = take(source, 3, **options, max_bad_fraction=0.5, start_batch=7)
    assert_equal(later, spoilt[7:])


def test_too_many_bad_records_stop_before_the_first_batch(write_shards, options):
    def change(number, parts):
        if number % 10 == 0:
            parts["webp"] = b"<html>not found</html>"
        if number % 10 == 5:
            parts["json"] = json.dumps({"captions": {"name": 5}}).encode()

    source = open_source(kind="webdataset", shards=write_shards(50, change=change))
    with pytest.raises(ConfigError) as error:
        open_batches(source, **options)
    message = str(error.value)
    assert "10 of 50 records looked at are bad" in message
    assert "or raise max_bad_fraction" in message
    assert "part-000.tar/000000: its picture is no picture" in message
    assert "part-000.tar/000005: caption 'name' is not text but int '5'" in message


def test_a_run_stops_when_bad_records_add_up(write_shards, options, monkeypatch):
    monkeypatch.setattr(checks, "_NUM_PROBED", 2)  # the first and the last: both good
    source = Spoilt(open_source(kind="webdataset", shards=write_shards(40)), set(range(10, 14)))
    batches = open_batches(source, **options)
    with pytest.raises(ConfigError, match=r"data.max_bad_fraction = 0.01") as error:
        collections.deque(itertools.islice(batches, 84), maxlen=0)  # a thousand examples
    # More than 10 bad ones of the first 1,000; a tenth of them is bad, so after about 100.
    assert 5 < batches.next_batch < 15
    assert "part-000.tar/000011: its picture is no picture" in str(error.value)


def test_one_bad_record_is_no_reason_to_stop(write_shards, options):
    source = Spoilt(open_source(kind="webdataset", shards=write_shards(200)), {70})
    assert sum(batch["bad"].sum() for batch in take(source, 40, **options)) >= 2


def test_zero_tolerance(write_shards, options, monkeypatch):
    monkeypatch.setattr(checks, "_NUM_PROBED", 2)
    source = Spoilt(open_source(kind="webdataset", shards=write_shards(12)), {5})
    with pytest.raises(ConfigError, match="1 of the 13 records read so far are bad"):
        take(source, 2, **options, max_bad_fraction=0.0)


def test_many_bad_in_a_row_stop_the_run(write_shards, options, monkeypatch):
    monkeypatch.setattr(checks, "_NUM_PROBED", 1)
    source = Spoilt(open_source(kind="webdataset", shards=write_shards(30)), set(range(1, 30)))
    with pytest.raises(ConfigError, match="16 records in a row are bad"):
        take(source, 3, **options, max_bad_fraction=0.9)


def test_errors_of_the_disk_are_not_bad_records(write_shards, options, monkeypatch):
    monkeypatch.setattr(checks, "_NUM_PROBED", 2)
    good = open_source(kind="webdataset", shards=write_shards(30))
    source = Spoilt(good, set(range(5, 20)), error=OSError("disk on fire"))
    batches = open_batches(source, **{**options, "captions": {}}, max_bad_fraction=0.9)
    with pytest.raises(OSError, match="disk on fire"):
        list(itertools.islice(batches, 3))
    with pytest.raises(StopIteration):
        next(batches)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_disk_that_fails_asks_for_a_restart(write_shards, options, monkeypatch, num_workers):
    monkeypatch.setattr(checks, "_NUM_PROBED", 1)
    [path] = write_shards(30)
    source = open_source(kind="webdataset", shards=path)
    os.truncate(path, os.path.getsize(path) // 2)
    with (
        open_batches(source, **{**options, "captions": {}}, num_workers=num_workers) as batches,
        pytest.raises(DataLost, match=r"part-000.tar: \d+ of \d+ bytes.*newest checkpoint"),
    ):
        list(itertools.islice(batches, 3))


def test_samples_that_are_not_whole_count_as_bad(write_shards, options, caplog):
    def change(number, parts):
        if number in (3, 4):
            del parts["webp"]

    source = open_source(kind="webdataset", shards=write_shards(30, change=change))
    with pytest.raises(ConfigError, match=r"2 of 30 samples are not whole.*\n.*000003: no picture"):
        open_batches(source, **options)
    take(source, 1, **options, max_bad_fraction=0.1)
    assert "2 samples are not whole and left out" in caplog.text


class Rare:
    """A source with a caption source that only one record has."""

    def __len__(self):
        return 1500

    def __getitem__(self, index):
        if index == 0:
            raise BadRecord("first", "broken_json", "for a change")
        image = np.zeros((4, 4, 3), np.uint8)
        import cv2

        captions = {"txt": ["a"], **({"rare": ["b"]} if index == 1111 else {})}
        return Record(str(index), cv2.imencode(".png", image)[1].tobytes(), captions, {})


def test_a_caption_source_that_no_record_has_is_a_mistake(options):
    rare = {"weights": {"txt": 1, "rare": 1}}
    take(Rare(), 1, **{**options, "captions": rare})
    for weights in ({"txt": 1, "rarr": 1}, {"mix": 1}):
        captions = {
            "weights": weights,
            "compose": {"mix": ["txt", "rarr"]} if "mix" in weights else {},
        }
        with pytest.raises(ConfigError, match="names 'rarr', which no record has.*'rare', 'txt'"):
            open_batches(Rare(), **{**options, "captions": captions})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"batch_size": 10, "process_count": 4},
            r"config.batch_size 10 .* 4 processes.*nearest: 8",
        ),
        ({"batch_size": 0}, "config.batch_size 0"),
        ({"max_bad_fraction": 1.0}, "data.max_bad_fraction"),
        ({"num_threads": 0}, "data.num_threads"),
        ({"augment": {"crop": "wild"}}, "data.augment.crop"),
        ({"captions": {"policy": "none"}}, "data.captions.policy"),
    ],
)
def test_mistakes_are_named(write_shards, options, change, message):
    source = open_source(kind="webdataset", shards=write_shards(12))
    with pytest.raises(ConfigError, match=message):
        open_batches(source, **{**options, **change})


def test_a_source_without_records_is_a_mistake(options):
    with pytest.raises(ConfigError, match="has no records"):
        open_batches([], **options)
