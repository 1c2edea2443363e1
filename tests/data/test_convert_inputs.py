"""Every kind of input of a conversion, row by row."""

import datetime
import json
import pathlib

import fsspec
import pyarrow as pa
import pyarrow.parquet
import pytest
from row_reading import faults, read_all

from bigclip.config import ConfigError
from bigclip.data.convert.conversion import convert
from bigclip.data.convert.inputs import guess_kind, open_rows
from bigclip.data.records import Record

# --- tars


def test_many_tars_are_counted_by_several_processes(tmp_path, write_shards):
    def spoil(number, members):
        if number in (3, 70):
            del members["webp"]

    shards = write_shards(*66 * [2], change=spoil)
    one, two = (open_rows(shards, num_workers=n) for n in (1, 2))
    assert len(one) == len(two) == 130
    assert [str(bad) for bad in one.lost] == [str(bad) for bad in two.lost]
    assert [bad.fault for bad in two.lost] == 2 * ["incomplete_sample"]
    assert read_all(two, 100) == read_all(one)
    (tmp_path / "part-040.tar").write_bytes(b"")
    with pytest.raises(ConfigError, match="part-040.tar: the file is empty"):
        open_rows(shards, num_workers=2)


def test_tars_behind_a_url(tmp_path, write_shards):
    shards = write_shards(3, 4)
    bucket = fsspec.filesystem("memory")
    for number, path in enumerate(shards):
        bucket.pipe_file(f"/convert/{number}.tar", pathlib.Path(path).read_bytes())
    rows = open_rows(["memory://convert/{0..1}.tar"])
    here, there = read_all(open_rows(shards)), read_all(rows)
    assert [row.image for row in there] == [row.image for row in here]
    assert convert(rows, out=str(tmp_path / "x")).num_records == 7
    with pytest.raises(ConfigError, match="memory://a.csv is a URL; only tars and"):
        open_rows(["memory://a.csv"])


# --- tables


def test_csv_with_paths(tmp_path, pictures):
    table = tmp_path / "list.csv"
    table.write_text(
        "image_path,caption,alt,width\n"
        'photos/0.png,"a fox, red",Fuchs,24\n'
        'photos/1.png,"two\nlines",,25\n'
        "photos/2.png,7,007,\n"
        f"{tmp_path}/photos/3.png,NA,null,27\n"
    )
    found = read_all(open_rows([str(table)]), 1, 3)
    assert found[0] == Record(
        "list.csv/0", pictures[0], {"caption": ["a fox, red"]}, {"alt": "Fuchs", "width": 24}
    )
    assert [row.captions["caption"] for row in found[1:]] == [["two\nlines"], ["7"], ["NA"]]
    assert [row.image for row in found] == pictures[:4]
    several = open_rows([str(table)], caption_columns={"caption": "caption", "web": "alt"})
    assert [row.captions.get("web") for row in read_all(several)] == [
        ["Fuchs"], None, ["007"], ["null"],
    ]  # fmt: skip


def test_csv_with_bad_rows_loses_none_silently(tmp_path, pictures):
    (tmp_path / "photos" / "empty.png").write_bytes(b"")
    lines = [
        b"path\ttitle",
        b"0.png\tgood",
        b"missing.png\tno file",
        b"1.png\t  ",
        b"2.png\t\xff\xfe",
        b"3.png\ttoo\tmany",
        b"\tno path",
        b".\ta folder",
        b"empty.png\tno bytes",
        b"4.png\tgood",
    ]
    table = tmp_path / "list.tsv"
    table.write_bytes(b"\n".join(lines))
    rows = open_rows([str(table)], image_root=str(tmp_path / "photos"))
    assert faults(read_all(rows)) == [
        None, "missing_image", "no_caption", "caption_not_utf8", "missing_image", "missing_image",
        None, None,
    ]  # fmt: skip
    assert [(bad.key, bad.fault) for bad in rows.lost] == [("list.tsv/line 6", "broken_record")]
    summary = convert(rows, out=str(tmp_path / "out"), max_bad_fraction=0.9)
    assert (summary.num_records, summary.num_bad) == (2, 7)
    assert summary.faults["empty_image"] == 1
    assert summary.faults["missing_image"] == 3


def test_several_tables_are_one(tmp_path, pictures):
    for number in range(3):
        text = f"file,text\nphotos/{2 * number}.png,a\nphotos/{2 * number + 1}.png,b\n"
        (tmp_path / f"part-{number}.csv").write_text(text)
    rows = open_rows([str(tmp_path / "part-{0..2}.csv")])
    found = read_all(rows, 1, 5)
    assert [row.image for row in found] == pictures
    assert found[3].key == "part-1.csv/1"
    (tmp_path / "part-1.csv").write_text("file,title\nphotos/1.png,a\n")
    with pytest.raises(ConfigError, match="part-1.csv has not the columns of .*: text, title"):
        open_rows([str(tmp_path / "part-{0..2}.csv")])


def test_parquet_with_paths_lists_and_row_groups(tmp_path, pictures):
    table = pa.table(
        {
            "filename": [f"{n}.png" for n in range(6)],
            "texts": [[f"{n} {i}" for i in range(n)] for n in range(6)],
            "score": [float(n) if n != 1 else float("nan") for n in range(6)],
            "day": [datetime.date(2024, 1, n + 1) for n in range(6)],
        }
    )
    pa.parquet.write_table(table, tmp_path / "list.parquet", row_group_size=2)
    rows = open_rows([str(tmp_path / "list.parquet")], image_root=str(tmp_path / "photos"))
    whole = read_all(rows)
    for cuts in ((3,), (1, 2, 4, 5), (2, 4)):
        again = read_all(rows, *cuts)
        assert [str(row) for row in again] == [str(row) for row in whole]
    assert faults(whole) == ["no_caption", *5 * [None]]
    assert whole[2].captions == {"texts": ["2 0", "2 1"]}
    assert whole[2].metadata == {"score": 2.0, "day": "2024-01-03"}
    assert whole[1].metadata == {"day": "2024-01-02"}  # JSON has no word for NaN


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,caption\nx,y\n", {}, "--image_column: which has the pictures.*a, caption"),
        ("path,title,text\nx,y,z\n", {}, "--caption_column: which of text, title"),
        ("path,b\nx,y\n", {}, "--caption_column: which has the captions"),
        ("path,b\nx,y\n", {"image_column": "paht"}, "no column 'paht'.*Did you mean 'path'"),
        ("path,b\nx,y\n", {"caption_columns": {"a": "c"}}, "--caption_column: no column 'c'"),
        ("", {}, "list.csv cannot be read"),
    ],
)
def test_columns_that_are_not_there_or_not_obvious(tmp_path, text, options, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        open_rows([str(tmp_path / "list.csv")], **options)


# --- folders


def test_folders_of_classes(tmp_path, pictures):
    for number, name in enumerate(("red_fox/a", "owl/deep/b", "owl/c")):
        path = tmp_path / "classes" / f"{name}.PNG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pictures[number])
    (tmp_path / "classes" / "README.txt").write_text("about")
    rows = open_rows([str(tmp_path / "classes")], templates=["a {}.", "{}"])
    found = read_all(rows, 2)
    assert [row.key for row in found] == ["owl/c.PNG", "owl/deep/b.PNG", "red_fox/a.PNG"]
    assert found[2] == Record(
        "red_fox/a.PNG",
        pictures[0],
        {"label": ["a red fox.", "red fox"]},
        {"label": 1, "class_name": "red fox"},
    )
    assert (found[0].metadata["label"], rows.lost) == (0, [])


def test_folders_with_texts_beside_the_pictures(tmp_path, pictures):
    folder = tmp_path / "photos"
    (folder / "0.txt").write_text("an owl\n")
    (folder / "1.txt").write_text("a fox")
    (folder / "1.json").write_text(json.dumps({"captions": {"web": ["fox", " "]}, "n": 1}))
    (folder / "2.json").write_text(json.dumps({"captions": "a moon"}))
    (folder / "3.json").write_text("[1]")
    (folder / "4.json").write_text("{")
    (folder / "lonely.txt").write_text("no picture")
    rows = open_rows([str(folder)])
    found = read_all(rows)
    assert faults(found) == [None, None, None, "broken_json", "broken_json", "incomplete_sample"]
    assert [row.captions for row in found[:3]] == [
        {"txt": ["an owl"]},
        {"txt": ["a fox"], "web": ["fox"]},
        {"captions": ["a moon"]},
    ]
    assert found[1].metadata == {"n": 1}
    assert [(bad.key, bad.fault) for bad in rows.lost] == [("lonely.txt", "incomplete_sample")]
    other = read_all(open_rows([str(folder)], caption_columns={"web": "web"}))
    assert faults(other)[2] == "no_caption"


def test_folders_that_say_nothing_of_their_pictures(tmp_path, pictures):
    with pytest.raises(ConfigError, match="neither texts beside its pictures nor a folder for"):
        open_rows([str(tmp_path / "photos")])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ConfigError, match="no picture lies in"):
        open_rows([str(tmp_path / "nothing")], kind="folder")


# --- guessing


def test_kinds_are_guessed_from_names(tmp_path, pictures, write_shards):
    [tar] = write_shards(3)
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / "a.tar").write_bytes(b"")
    (tmp_path / "list.TSV").write_text("")
    convert(open_rows([tar]), out=str(tmp_path / "ar"))
    shard = tmp_path / "ar" / "ar-train.array_record-00000-of-00001"
    for path, kind in (
        (tar, "tars"),
        (tmp_path / "tars", "tars"),
        (tmp_path / "list.TSV", "table"),
        (tmp_path / "ar", "tfds"),
        (shard, "array_record"),
        (tmp_path / "photos", "folder"),
    ):
        assert guess_kind([str(path)]) == kind, path
