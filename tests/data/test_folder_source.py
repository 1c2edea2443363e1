"""Folders of pictures as a source: in folders of classes, with texts beside, and plain ones."""

import json
import pickle

import pytest

from bigclip.config import ConfigError
from bigclip.data.folder_source import FolderSource
from bigclip.data.records import BadRecord, Record, caption_of, title_of
from bigclip.data.sources import open_random_access, open_source
from bigclip.evals.labels import read_labels
from bigclip.evals.records import read_records


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(folder)


def read_all(source):
    return [source[i] for i in range(len(source))]


def test_folders_of_classes_are_numbered_in_alphabetical_order(tmp_path):
    names = ["n02/x.JPEG", "n01_red_fox/b.png", "n01_red_fox/deep/a.png", "n03/.hidden.png"]
    files = {name: name.encode() for name in names} | {"README.txt": b"about"}
    source = open_source(kind="folder", path=write(tmp_path / "set", files), templates=["a {}"])
    assert source.classes == ["n01_red_fox", "n02"]
    assert read_all(source) == [
        Record(key, key.encode(), {"label": [f"a {name}"]}, {"label": number, "class_name": name})
        for key, name, number in (
            ("n01_red_fox/b.png", "n01 red fox", 0),
            ("n01_red_fox/deep/a.png", "n01 red fox", 0),
            ("n02/x.JPEG", "n02", 1),
        )
    ]
    assert read_all(pickle.loads(pickle.dumps(source))) == read_all(source)
    assert read_all(source.part(1, 3)) == read_all(source)[1:]
    with pytest.raises(IndexError):
        source[3]


def test_texts_beside_the_pictures(tmp_path):
    about = {"captions": {"web": "an owl"}, "label": [1, 5]}
    files = {
        "a/0.png": b"0",
        "a/0.txt": b"a fox\n",
        "1.png": b"1",
        "1.json": json.dumps(about).encode(),
        "2.png": b"2",
        "2.json": b'{"label": 3}',
        "3.png": b"3",
        "lost.txt": b"x",
    }
    folder = write(tmp_path / "set", files)
    trained, evaluated = (
        open_source(kind="folder", path=folder),
        open_random_access(kind="folder", path=folder),
    )
    for source in (trained, evaluated):
        assert len(source) == 4
        assert source[0] == Record("1.png", b"1", {"web": ["an owl"]}, {"label": [1, 5]})
        assert source[3] == Record("a/0.png", b"0", {"txt": ["a fox"]}, {})
        assert source.num_lost == 1
        assert source.faults == ["lost.txt: no picture beside it"]
    assert evaluated[1] == Record("2.png", b"2", {}, {"label": 3})
    assert evaluated[2] == Record("3.png", b"3", {}, {})
    for index, fault in ((1, "no_caption"), (2, "incomplete_sample")):
        with pytest.raises(BadRecord) as error:
            trained[index]
        assert error.value.fault == fault


def test_pictures_in_no_class_are_for_evaluation_alone(tmp_path):
    folder = write(tmp_path / "set", {"a.png": b"a", "sub/b.png": b"b"})
    plain = read_all(open_random_access(kind="folder", path=folder))
    assert plain == [Record("a.png", b"a", {}, {}), Record("sub/b.png", b"b", {}, {})]
    with pytest.raises(ConfigError, match=r"neither texts beside .* a\.png lies in none"):
        FolderSource(folder)
    with pytest.raises(ConfigError, match="no picture lies in .*, which is no folder"):
        FolderSource(str(tmp_path / "absent"))


def test_one_stray_file_that_undoes_the_classes_is_named(tmp_path):
    """An evaluation of labels, or a training without texts, must say which file it was."""
    classes = {f"{name}/{i}.png": b"x" for name in ("fox", "owl") for i in range(3)}
    for name, stray in (("text", {"owl/1.json": b"{}"}), ("loose", {"cover.png": b"c"})):
        folder = write(tmp_path / name, classes | stray)
        source = open_random_access(kind="folder", path=folder)
        assert source.classes == []
        assert next(iter(stray)) in source.no_classes
        with pytest.raises(ConfigError, match=f"no such metadata key.*{next(iter(stray))}"):
            read_labels(read_records(source), None)
    with pytest.raises(BadRecord, match=r"no .txt and no .json beside it \(.*owl/1.json"):
        FolderSource(str(tmp_path / "text"))[0]
    plain = open_random_access(kind="folder", path=write(tmp_path / "plain", {"a.png": b"a"}))
    assert (plain.classes, plain.no_classes) == ([], "")
    sorted_ones = open_source(kind="folder", path=write(tmp_path / "whole", classes))
    assert (sorted_ones.classes, sorted_ones.no_classes) == (["fox", "owl"], "")


def test_links_that_lead_back_are_not_followed(tmp_path):
    folder = tmp_path / "set"
    write(folder, {"fox/a.png": b"a", "owl/b.png": b"b", "owl/deep/c.png": b"c"})
    write(tmp_path, {"elsewhere/d.png": b"d"})
    (folder / "fox" / "up").symlink_to(folder)
    (folder / "owl" / "deep" / "self").symlink_to(folder / "owl" / "deep")
    (folder / "wolf").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)  # round in two steps
    source = FolderSource(str(folder))
    assert [record.key for record in read_all(source)] == [
        "fox/a.png",
        "owl/b.png",
        "owl/deep/c.png",
        "wolf/d.png",
    ]
    assert source.classes == ["fox", "owl", "wolf"]


def test_a_picture_is_called_by_its_name_and_style():
    def record(captions, **metadata):
        return Record("k", b"", captions, metadata)

    captions = {"keywords": ["animal"], "txt": ["a caption"], "name": ["fox", "red fox"]}
    assert title_of(record(captions)) == "fox"
    assert title_of(record(captions, style="flat")) == "fox (flat)"
    assert caption_of(record(captions, style="flat")) == "fox"
    assert title_of(record(captions, style=3)) == "fox"
    assert title_of(record({"b": ["second"], "a": ["first"]})) == "first"
    assert title_of(record({}, style="flat")) is None
