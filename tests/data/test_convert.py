"""Conversions: nothing is lost, nothing is changed, and it can be stopped at any time."""

import hashlib
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader

from bigclip.config import ConfigError
from bigclip.data.convert.__main__ import main
from bigclip.data.convert.conversion import TooManyBad, convert
from bigclip.data.convert.inputs import open_rows
from bigclip.data.sources import open_source


def shard_hashes(folder):
    files = [path for path in pathlib.Path(folder).iterdir() if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def without_keys(source):
    return [source[n]._replace(key="") for n in range(len(source))]


def test_tars_to_array_record_and_back_keep_everything(tmp_path, write_shards):
    shards = write_shards(7, 6)
    original = without_keys(open_source(kind="webdataset", shards=shards))
    middle, end = str(tmp_path / "middle"), str(tmp_path / "end")
    summary = convert(open_rows(shards), out=middle, shard_records=5)
    assert (summary.num_records, summary.num_shards, summary.num_bad) == (13, 3, 0)
    assert without_keys(open_source(kind="tfds", data_dir=middle)) == original
    plain = open_source(kind="array_record", shards=f"{middle}/*.array_record*")
    assert without_keys(plain) == original

    convert(open_rows([middle]), out=end, format="tars", shard_records=8)
    assert sorted(os.listdir(end)) == [".conversion", "00000.tar", "00001.tar"]
    back = open_source(kind="webdataset", shards=f"{end}/*.tar")
    assert without_keys(back) == original
    assert back[9].key == "00001.tar/000010001"
    record = original[3]
    assert set(record.captions) == {"txt", "name", "keywords"}
    assert record.metadata == {"number": 3}


@pytest.mark.parametrize(
    "captions",
    [
        {"txt": ["a fox"]},
        {"web": ["a fox", "Füchse 狐"]},
        {"web": ["a fox"], "txt": ["an owl"]},
        {"web/title": ["x"], "b=c": ["y"]},
    ],
)
def test_captions_of_any_form_come_back(tmp_path, tar_writer, sample_maker, captions):
    members = [
        ("1.png", sample_maker(1, extension="png")["png"]),
        ("1.json", json.dumps({"captions": captions, "n": [1, {"é": None}]}).encode()),
    ]
    tar = tar_writer(tmp_path / "in.tar", members)
    first = open_source(kind="webdataset", shards=tar)[0]
    assert first.captions == captions
    for format, kind, place in (("tars", "webdataset", "shards"), ("array_record", "tfds", "")):
        out = str(tmp_path / format)
        convert(open_rows([tar]), out=out, format=format)
        options = {"shards": f"{out}/*.tar"} if place else {"data_dir": out}
        assert open_source(kind=kind, **options)[0]._replace(key=first.key) == first


def test_other_readers_of_tars_find_a_picture_a_text_and_a_json(tmp_path, write_shards):
    convert(open_rows(write_shards(3)), out=str(tmp_path / "out"), format="tars")
    with tarfile.open(tmp_path / "out" / "00000.tar") as tar:
        assert tar.getnames()[:4] == [
            "000000000.webp",
            "000000000.txt",
            "000000000.json",
            "000000001.webp",
        ]
        assert tar.extractfile("000000001.txt").read() == b"owl fox 1"


def test_tfds_opens_it_by_name_and_by_folder(tmp_path, write_shards):
    out = tmp_path / "my_set" / "2.0.1"
    shards = write_shards(4, 3)
    convert(open_rows(shards[:1]), out=str(out))
    convert(open_rows(shards[1:]), out=str(out), split="test")
    for builder in (
        tfds.builder_from_directory(str(out)),
        tfds.builder("my_set", data_dir=tmp_path),
    ):
        assert builder.info.full_name == "my_set/2.0.1"
        assert {n: s.num_examples for n, s in builder.info.splits.items()} == {
            "train": 4,
            "test": 3,
        }
        example = builder.as_data_source("test")[0]
        assert example["image"].shape == (20, 24, 3)
        assert example["key"] == b"part-001.tar/000004"
        assert list(example["captions"]["source"]) == [b"txt", b"name", b"keywords"]
    assert len(tfds.data_source("my_set", split="train[1:]", data_dir=tmp_path)) == 3


@pytest.mark.parametrize("format", ["array_record", "tars"])
def test_any_number_of_workers_writes_the_same_bytes(tmp_path, write_shards, format):
    def spoil(number, members):
        if number in (3, 9):
            members["webp"] = members["webp"][:50]

    shards = write_shards(10, 9, change=spoil)
    outs = []
    for workers in (1, 2):
        out = tmp_path / str(workers) / "data"
        summary = convert(
            open_rows(shards),
            out=str(out),
            format=format,
            shard_records=4,
            max_bad_fraction=0.2,
            num_workers=workers,
        )
        assert (summary.num_records, summary.faults) == (17, {"broken_image": 2})
        outs.append(out)
    assert shard_hashes(outs[0]) == shard_hashes(outs[1])
    listed = [(out / ".conversion").glob("*/bad_records.jsonl") for out in outs]
    first, second = (next(paths).read_text() for paths in listed)
    assert first == second
    keys = [json.loads(line)["key"] for line in first.splitlines()]
    assert keys == ["part-000.tar/000003", "part-000.tar/000009"]


def test_goes_on_after_a_kill(tmp_path, picture_encoder):
    """Killed by SIGKILL in the middle; what was complete is kept, and the end is the same."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "in"
    for number in range(240):
        place = folder / f"class_{number % 3}" / f"{number:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture_encoder(rng.integers(0, 256, (240, 320, 3), np.uint8)))
    out, undisturbed = tmp_path / "out" / "x", tmp_path / "undisturbed" / "x"
    command = [sys.executable, "-m", "bigclip.data.convert", "--input", folder, "--out", out]
    command += ["--shard_records", "8", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    reports = out / ".conversion" / "train"
    while len(list(reports.glob("0*.json"))) < 3:
        assert process.poll() is None, "it was over before it could be killed"
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (out / "dataset_info.json").exists()
    deadline = time.monotonic() + 20  # the workers notice by themselves
    while _session_lives(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    kept = {path.stem: (out / _shard_of(path)).stat().st_mtime_ns for path in reports.glob("0*")}
    assert 3 <= len(kept) < 30
    # What has the name of a shard is whole, however early the kill came.
    assert all(ArrayRecordReader(str(path)).ok() for path in out.glob("*-of-00030"))

    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{len(kept)} of the shards were complete before" in done.stdout
    assert all(
        (out / f"x-train.array_record-{shard}-of-00030").stat().st_mtime_ns == changed
        for shard, changed in kept.items()
    )
    convert(open_rows([str(folder)]), out=str(undisturbed), shard_records=8)
    assert shard_hashes(out) == shard_hashes(undisturbed)
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "30 of the shards were complete before" in again.stdout


def _shard_of(report):
    return f"x-train.array_record-{report.stem}-of-00030"


def _session_lives(session):
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            described = pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2]
        except OSError:
            continue  # it ended meanwhile
        state, _, _, of = described.split()[:4]
        if int(of) == session and state != "Z":
            return True
    return False


def test_a_shard_that_was_lost_or_cut_is_made_again(tmp_path, write_shards):
    shards, out = write_shards(9), tmp_path / "x"
    convert(open_rows(shards), out=str(out), shard_records=3)
    before = shard_hashes(out)
    (out / "x-train.array_record-00000-of-00003").unlink()
    os.truncate(out / "x-train.array_record-00001-of-00003", 1000)
    assert convert(open_rows(shards), out=str(out), shard_records=3).num_kept == 1
    assert shard_hashes(out) == before


def test_another_conversion_into_the_same_folder_is_refused(tmp_path, write_shards):
    shards, out = write_shards(9), str(tmp_path / "x")
    convert(open_rows(shards), out=out, shard_records=3)
    with pytest.raises(
        ConfigError, match="conversion of something else(.|\n)*shard_records: 3 -> 4"
    ):
        convert(open_rows(shards), out=out, shard_records=4)
    pathlib.Path(shards[0]).touch()
    with pytest.raises(ConfigError, match="files_sha256"):
        convert(open_rows(shards), out=out, shard_records=3)


def test_bad_records_are_counted_listed_and_may_be_too_many(tmp_path, write_shards, capsys):
    def spoil(number, members):
        if number == 2:
            members["webp"] = b""
        elif number == 4:
            members["webp"] = b"<html>not found</html>"
        elif number == 5:
            members["json"] = b"{"
        elif number == 6:
            members.update(txt=b" ", json=b"{}")
        elif number == 8:
            del members["txt"], members["json"]

    shards = write_shards(20, change=spoil)
    out = tmp_path / "x"
    command = ["--input", *shards, "--out", str(out), "--shard_records", "10"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "--max_bad_fraction: " in error
    assert "part-000.tar" in error
    assert not (out / "dataset_info.json").exists()

    assert main([*command, "--max_bad_fraction", "0.25"]) == 0
    told = capsys.readouterr().out
    assert "15 records in 2 shards" in told
    assert "5 left out" in told
    listed = (out / ".conversion" / "train" / "bad_records.jsonl").read_text().splitlines()
    faults = {bad["fault"]: bad["key"] for bad in map(json.loads, listed)}
    assert set(faults) == {
        "empty_image", "unknown_image", "broken_json", "no_caption", "incomplete_sample",
    }  # fmt: skip
    assert faults["broken_json"] == "part-000.tar/000005"
    source = open_source(kind="tfds", data_dir=str(out))
    assert [r.metadata["number"] for r in without_keys(source)] == [
        n for n in range(20) if n not in (2, 4, 5, 6, 8)
    ]


def test_stops_as_soon_as_too_many_are_bad(tmp_path, write_shards):
    def spoil(number, members):
        if number < 4:
            members["webp"] = b"nothing"

    rows = open_rows(write_shards(40, change=spoil))
    out = str(tmp_path / "x")
    with pytest.raises(TooManyBad, match="4 of 40 rows are bad so far"):
        convert(rows, out=out, shard_records=4, max_bad_fraction=0.05)
    assert len(list(pathlib.Path(out).glob("*.array_record*"))) == 1
    summary = convert(rows, out=out, shard_records=4, max_bad_fraction=0.1)
    assert (summary.num_kept, summary.num_bad, summary.num_records) == (1, 4, 36)
    # The first shard holds no record at all; the numbers do not shift.
    assert open_source(kind="tfds", data_dir=out)[0].metadata == {"number": 4}
    convert(rows, out=f"{out}-tars", format="tars", shard_records=4, max_bad_fraction=0.1)
    assert len(open_source(kind="webdataset", shards=f"{out}-tars/*.tar")) == 36


def test_large_pictures_are_made_smaller_only_when_asked(tmp_path, picture_encoder):
    folder = tmp_path / "in" / "noise"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)
    contents = {
        "a.jpg": picture_encoder(pixels, "jpg"),
        "b.png": picture_encoder(pixels, "png"),
        "c.png": picture_encoder(pixels[:20, :50], "png"),
        "d.tif": picture_encoder(pixels, "tiff"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    rows = open_rows([str(tmp_path / "in")])
    out = str(tmp_path / "as_is")
    convert(rows, out=out)
    as_is = open_source(kind="tfds", data_dir=out)
    assert [as_is[n].image for n in range(4)] == list(contents.values())

    for out, format in ((tmp_path / "ar", "array_record"), (tmp_path / "tars", "tars")):
        convert(rows, out=str(out), format=format, max_side=50)
        source = (
            open_source(kind="tfds", data_dir=str(out))
            if format == "array_record"
            else open_source(kind="webdataset", shards=f"{out}/*.tar")
        )
        assert source[2].image == contents["c.png"]
        found = [PIL.Image.open(io.BytesIO(source[n].image)) for n in (0, 1, 3)]
        assert [image.size for image in found] == 3 * [(50, 30)]
        assert [image.format for image in found] == ["JPEG", "WEBP", "WEBP"]

    with pytest.raises(TooManyBad, match="unknown_image: its picture is TIFF"):
        convert(rows, out=str(tmp_path / "tiff"), format="tars")
