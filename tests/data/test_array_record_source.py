"""ArrayRecord files of tf.train.Example protos, as other tools write them."""

import pathlib
import pickle
import threading

import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from bigclip.config import ConfigError
from bigclip.data import stored_records
from bigclip.data.records import BadRecord, Record
from bigclip.data.sources import open_source


def example(**features):
    proto = tf_example_pb2.Example()
    for name, values in features.items():
        values = values if isinstance(values, list) else [values]
        feature = proto.features.feature[name.replace("__", "/")]
        if isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)
    return proto.SerializeToString()


def write(path, contents, options="group_size:1"):
    writer = ArrayRecordWriter(str(path), options)
    for content in contents:
        writer.write(content)
    writer.close()
    return str(path)


@pytest.fixture
def pictures(sample_maker):
    return [sample_maker(number, extension="png")["png"] for number in range(10)]


@pytest.fixture
def shards(tmp_path, pictures):
    """Ten records in three shards, one of them empty."""
    rows = [
        example(image=picture, caption=f"Fuchs {n} ü".encode(), width=24, score=[0.5, 1.0])
        for n, picture in enumerate(pictures)
    ]
    for shard, part in enumerate((rows[:4], [], rows[4:])):
        write(tmp_path / f"part-{shard}.array_record", part)
    return str(tmp_path / "part-{0..2}.array_record")


def test_usual_names_need_no_options(shards, pictures):
    source = open_source(kind="array_record", shards=shards)
    assert len(source) == 10
    assert [source[n].image for n in range(10)] == pictures
    assert source[4] == Record(
        "part-2.array_record/0",
        pictures[4],
        {"caption": ["Fuchs 4 ü"]},
        {"width": 24, "score": [0.5, 1.0]},
    )
    for outside in (-1, 10):
        with pytest.raises(IndexError):
            source[outside]


def test_the_only_picture_and_the_only_text_are_found(tmp_path, pictures):
    row = example(pixels=pictures[0], words=[b"an owl", b"a bird"], mask=b"\xff\x00\xfe", id=7)
    source = open_source(kind="array_record", shards=write(tmp_path / "a", [row]))
    assert (source.image_key, source.caption_keys) == ("pixels", {"words": "words"})
    assert source[0].captions == {"words": ["an owl", "a bird"]}
    assert source[0].metadata == {"id": 7}  # the mask is no text


def test_chosen_features_and_caption_sources(tmp_path, pictures):
    row = example(a=pictures[0], b=pictures[1], alt=b"alt", title=b"title", raw__x=b"raw")
    source = open_source(
        kind="array_record",
        shards=write(tmp_path / "a", [row]),
        image_key="b",
        caption_keys={"name": "title", "web": "alt"},
    )
    assert source[0].image == pictures[1]
    assert source[0].captions == {"name": ["title"], "web": ["alt"]}
    assert source[0].metadata == {"raw/x": "raw"}


def test_records_of_our_own_bring_their_sources_along(tmp_path, pictures):
    record = Record(
        "x/1",
        pictures[0],
        {"web": ["ein Fuchs", "fox"], "a/b": ["z"]},
        {"n": [1, None], "é": "\ud800"},
    )
    content = stored_records.to_example(record)
    assert content == stored_records.to_example(record)
    source = open_source(kind="array_record", shards=write(tmp_path / "a", [content]))
    assert source[0] == record._replace(key="a/0")


def test_batches_equal_single_reads(shards):
    source = open_source(kind="array_record", shards=shards)
    order = [9, 0, 4, 4, 3, 8]
    assert source.__getitems__(order) == [source[n] for n in order]
    assert source.__getitems__([]) == []


def test_pickles_and_serves_threads(shards):
    source = open_source(kind="array_record", shards=shards)
    expected = [source[n] for n in range(10)]
    copy = pickle.loads(pickle.dumps(source))
    found = {}

    def read(thread):
        found[thread] = [copy[n] for n in range(10) for _ in range(20)]

    threads = [threading.Thread(target=read, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[thread] == [r for r in expected for _ in range(20)] for thread in range(4))


def test_broken_records_are_named_and_cost_no_others(tmp_path, pictures):
    rows = [
        example(image=pictures[0], caption=b"whole"),
        example(image=pictures[1], caption=b" "),
        example(caption=b"no picture"),
        example(image=pictures[3], caption=b"\xff\xfe"),
        b"no proto at all",
        b"",
        example(image=pictures[6], caption=b"damaged on disk " + bytes(range(256)) * 300),
        example(image=pictures[7], caption=b"whole"),
    ]
    path = write(tmp_path / "a.array_record", rows, "group_size:1,uncompressed")
    source = open_source(kind="array_record", shards=path)
    content = bytearray(pathlib.Path(path).read_bytes())
    place = content.index(b"damaged on disk") + 40_000
    content[place] ^= 0xFF
    pathlib.Path(path).write_bytes(content)
    read = source.__getitems__(range(8))
    faults = [r.fault if isinstance(r, BadRecord) else None for r in read]
    assert faults == [
        None, "no_caption", "empty_image", "caption_not_utf8", "broken_record", "broken_record",
        "broken_record", None,
    ]  # fmt: skip
    assert "damaged" in read[6].reason
    for number, expected in enumerate(faults):
        if expected:
            with pytest.raises(BadRecord) as caught:
                source[number]
            assert (caught.value.key, caught.value.fault) == (f"a.array_record/{number}", expected)
    assert source[7].captions == {"caption": ["whole"]}


def test_what_cannot_be_opened_is_told(tmp_path, pictures):
    def open_it(path, **options):
        return open_source(kind="array_record", shards=str(path), **options)

    with pytest.raises(ConfigError, match=r"nothing.array_record does not exist"):
        open_it(tmp_path / "nothing.array_record")
    with pytest.raises(ConfigError, match="is a folder"):
        open_it(tmp_path)
    tar = tmp_path / "a.tar"
    tar.write_bytes(b"x" * 5000)
    with pytest.raises(ConfigError, match="is no ArrayRecord file, or is cut off"):
        open_it(tar)
    with pytest.raises(ConfigError, match="hold no records"):
        open_it(write(tmp_path / "empty", []))
    whole = write(tmp_path / "whole", [example(image=picture) for picture in pictures] * 100)
    cut = tmp_path / "cut"
    cut.write_bytes(pathlib.Path(whole).read_bytes()[:-1000])
    with pytest.raises(ConfigError, match="is no ArrayRecord file, or is cut off"):
        open_it(cut)
    with pytest.raises(ConfigError, match="the first record of .* no tf.train.Example"):
        open_it(write(tmp_path / "json", [b'{"caption": "fox"}']))

    two = write(tmp_path / "two", [example(left=pictures[0], right=pictures[1], text=b"fox")])
    with pytest.raises(ConfigError, match="image_key: choose .*: left, right"):
        open_it(two)
    with pytest.raises(ConfigError, match="image_key: no feature 'lift'.*Did you mean 'left'"):
        open_it(two, image_key="lift")
    texts = write(tmp_path / "texts", [example(image=pictures[0], text=b"fox", title=b"owl")])
    with pytest.raises(ConfigError, match="caption_keys: choose .*: text, title"):
        open_it(texts)
    with pytest.raises(ConfigError, match="caption_keys: no feature 'txet'.*mean 'text'"):
        open_it(texts, caption_keys=["txet"])
