"""Records out of shards, and what is said about shards that cannot be read."""

import io
import json
import os
import pickle

import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.data import files, kept_indexes, shard_paths
from bigclip.data.records import BadRecord
from bigclip.data.sources import open_random_access, open_source


def test_reads_records_across_shards(write_shards, sample_maker):
    source = open_source(kind="webdataset", shards=write_shards(3, 1, 4))
    assert len(source) == 8
    for i in (0, 2, 3, 4, 7):
        record = source[i]
        parts = sample_maker(i)
        assert record.key == f"part-{[0, 0, 0, 1, 2, 2, 2, 2][i]:03d}.tar/{i:06d}"
        assert record.image == parts["webp"]
        stored = json.loads(parts["json"])
        assert record.captions == {"txt": [parts["txt"].decode()], **stored["captions"]}
        assert record.metadata == {"number": i}
    with pytest.raises(IndexError):
        source[8]
    with pytest.raises(IndexError):
        source[-1]


def test_keeps_indexes_until_the_shard_changes(write_shards, tmp_path, monkeypatch):
    def change(number, parts):
        if number == 1:
            del parts["webp"]

    paths = write_shards(3, 2, change=change)
    options = {"kind": "webdataset", "shards": paths, "index_dir": str(tmp_path / "kept")}
    first = open_source(**options)
    reads = []
    index_shard = kept_indexes.index_shard
    monkeypatch.setattr(
        kept_indexes,
        "index_shard",
        lambda path, **options: reads.append(path) or index_shard(path, **options),
    )
    second = open_source(**options)
    assert reads == []
    assert [second[i] for i in range(4)] == [first[i] for i in range(4)]
    assert second.faults == first.faults != []
    # A shard written again, and an index cut off.
    os.utime(paths[0], ns=(0, 0))
    for kept in (tmp_path / "kept").glob("part-001*"):
        os.truncate(kept, 100)
    assert len(open_source(**options)) == 4
    assert sorted(reads) == paths
    assert not list((tmp_path / "kept").glob("*.tmp"))


def test_survives_pickling_without_open_files(write_shards):
    source = open_source(kind="webdataset", shards=write_shards(2))
    first = source[0]
    copy = pickle.loads(pickle.dumps(source))
    assert copy[0] == first
    assert copy[1] == source[1]


def test_keeps_a_bounded_number_of_files_open(write_shards, monkeypatch):
    monkeypatch.setattr(files, "_MAX_OPEN", 3)
    source = open_source(kind="webdataset", shards=write_shards(*[1] * 12))
    before = len(os.listdir("/proc/self/fd"))
    keys = [source[i].key for i in range(12)]
    assert len(os.listdir("/proc/self/fd")) - before <= 3
    assert [source[i].key for i in range(12)] == keys
    del source
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("s-{08..11}.tar", ["s-08.tar", "s-09.tar", "s-10.tar", "s-11.tar"]),
        ("s-{8..10}.tar", ["s-8.tar", "s-9.tar", "s-10.tar"]),
        ("{a,b}-{0..1}.tar", ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]),
        (["b.tar", "{x,y}.tar"], ["b.tar", "x.tar", "y.tar"]),
    ],
)
def test_expands_braces(pattern, expected):
    assert shard_paths.expand_shards(pattern) == expected


def test_expands_globs_in_sorted_order(tmp_path):
    for name in ("b.tar", "a.tar", "c.txt", "odd[1].tar"):
        (tmp_path / name).touch()
    found = shard_paths.expand_shards(f"{tmp_path}/*.tar")
    assert found == [f"{tmp_path}/{name}" for name in ("a.tar", "b.tar", "odd[1].tar")]
    assert shard_paths.expand_shards(tmp_path / "odd[1].tar") == [f"{tmp_path}/odd[1].tar"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ([], "empty"),
        ("/nowhere/*.tar", "no file matches"),
        ("s-{3..1}.tar", "counts backwards"),
        ("ftq://bucket/*.tar", "cannot be opened.*ftq"),
        ("pipe:cat x", "is a command"),
    ],
)
def test_explains_patterns_that_cannot_be(pattern, message):
    with pytest.raises(ConfigError, match=message):
        shard_paths.expand_shards(pattern)


def test_a_missing_shard_is_named_with_the_nearest_file(write_shards, tmp_path):
    write_shards(1, 1)
    with pytest.raises(ConfigError, match=r"part-002.tar: No such file.*did you mean .*part-00\d"):
        open_source(kind="webdataset", shards=f"{tmp_path}/part-{{000..002}}.tar")


def test_an_empty_shard_is_named(write_shards, tar_writer, tmp_path):
    paths = write_shards(1)
    (tmp_path / "zero.tar").touch()
    with pytest.raises(ConfigError, match=r"zero.tar: the file is empty"):
        open_source(kind="webdataset", shards=[*paths, tmp_path / "zero.tar"])
    bare = tar_writer(tmp_path / "bare.tar", [])
    with pytest.raises(ConfigError, match=r"bare.tar holds no sample.*remove the shard"):
        open_source(kind="webdataset", shards=[*paths, bare])
    half = tar_writer(tmp_path / "half.tar", [("a.png", b"x"), ("b.txt", b"y")])
    with pytest.raises(ConfigError, match=r"half.tar holds no sample.*no picture beside its txt"):
        open_source(kind="webdataset", shards=[half])


def test_counts_samples_that_are_not_whole(write_shards):
    def change(number, parts):
        if number == 2:
            del parts["webp"]

    source = open_source(kind="webdataset", shards=write_shards(4, 4, change=change))
    assert len(source) == 7
    assert source.num_lost == 1
    assert source.faults == ["part-000.tar: 000002: no picture beside its json and txt"]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"txt": b"\xff\xfe"}, "'txt' is not valid UTF-8"),
        ({"txt": b" \n "}, "no caption"),
        ({"json": b"{"}, "json cannot be read"),
        ({"json": b"[1]"}, "holds a list, not an object"),
        ({"json": b"\xff"}, "json cannot be read"),
        ({"json": b"[" * 100_000}, "json cannot be read"),
        ({"json": b"{}"}, "no caption"),
        ({"json": b'{"captions": {"name": 3}}'}, "'name' is not text but int '3'"),
        ({"json": b'{"captions": {"name": ["a", null]}}'}, "'name' is not text but NoneType"),
        ({"json": b'{"captions": {"name": {"x": 1}}}'}, "'name' is not text but dict"),
        ({"json": b'{"captions": 7}'}, "'captions' is not text but int"),
        ({"json": b'{"captions": "\\ud800"}'}, "lone surrogate"),
    ],
)
def test_a_caption_that_is_not_text_is_a_bad_record(tmp_path, tar_writer, members, reason):
    path = tar_writer(
        tmp_path / "a.tar", [("k.png", b"x"), *((f"k.{e}", c) for e, c in members.items())]
    )
    source = open_source(kind="webdataset", shards=path)
    with pytest.raises(BadRecord, match=reason) as error:
        source[0]
    assert error.value.key == "a.tar/k"
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


@pytest.mark.parametrize(
    ("content", "captions"),
    [
        ({"caption": "a fox "}, {"caption": ["a fox"]}),
        ({"caption": ["a fox", "", "an owl"]}, {"caption": ["a fox", "an owl"]}),
        ({"caption": {"de": "Fuchs", "none": [], "blank": " "}}, {"de": ["Fuchs"]}),
    ],
)
def test_reads_captions_in_every_documented_form(tmp_path, tar_writer, content, captions):
    path = tar_writer(
        tmp_path / "a.tar", [("k.png", b"x"), ("k.json", json.dumps(content).encode())]
    )
    source = open_source(kind="webdataset", shards=path, caption_key="caption")
    assert source[0].captions == captions


def test_a_shard_that_changes_meanwhile_is_no_bad_record(write_shards):
    [path] = write_shards(3)
    source = open_source(kind="webdataset", shards=path)
    os.truncate(path, 2000)
    with pytest.raises(OSError, match="changed after it was opened"):
        source[2]


def test_lists_the_kinds():
    with pytest.raises(ConfigError, match="no choice 'tars'.*Valid: .*synthetic, tfds, webdataset"):
        open_source(kind="tars")


def labelled(tar_writer, path):
    contents = {"0": b"17\n", "1": b"fox", "2": b"[3, 4]", "3": b"", "4": b"[1", "5": None}
    members = []
    for key, cls in contents.items():
        members.append((f"{key}.jpg", b"picture " + key.encode()))
        members += [(f"{key}.cls", cls)] if cls is not None else []
    members += [("6.jpg", b"p"), ("6.txt", b"a moon"), ("6.cls", b"2"), ("7.cls", b"1")]
    return tar_writer(path, members)


def test_several_labels_as_an_array(tmp_path, tar_writer):
    arrays = [np.array([0, 1, 0, 1.0]), np.zeros(4, bool), np.array([0.5, 1]), np.eye(2)]
    members = []
    for number, array in enumerate([*arrays, None]):
        file = io.BytesIO(b"no array")
        if array is not None:
            np.save(file, array)
        members += [(f"{number}.jpg", b"p"), (f"{number}.npy", file.getvalue())]
    members.append(("4.cls", b"7"))
    source = open_random_access(kind="webdataset", shards=tar_writer(tmp_path / "set.tar", members))
    found = [source[i].metadata.get("label") for i in range(5)]
    assert found == [[1, 3], [], None, None, 7]


@pytest.mark.parametrize("kept", [False, True])
def test_labels_are_for_evaluation_and_training_wants_captions(tmp_path, tar_writer, kept):
    path = labelled(tar_writer, tmp_path / "set.tar")
    options = {"kind": "webdataset", "shards": path}
    options |= {"index_dir": str(tmp_path / "kept")} if kept else {}
    for _ in range(2):  # each keeps an index of its own
        trained = open_source(**options)
        assert [trained[i].captions for i in range(len(trained))] == [{"txt": ["a moon"]}]
        assert trained[0].metadata == {}
        assert trained.num_lost == 6
        evaluated = open_random_access(**options)
        assert len(evaluated) == 7
        assert evaluated.faults == ["set.tar: 7: no picture beside its cls"]
        found = [evaluated[i] for i in (0, 1, 2, 5, 6)]
        assert [record.metadata.get("label") for record in found] == [17, "fox", [3, 4], None, 2]
        assert [record.captions for record in found[3:]] == [{}, {"txt": ["a moon"]}]
        assert found[0].image == b"picture 0"
        for index in (3, 4):
            with pytest.raises(BadRecord, match=r"its \.cls"):
                evaluated[index]
    with pytest.raises(ConfigError, match="needs_caption"):
        open_source(**{**options, "access": "stream", "needs_caption": False, "index_dir": None})
