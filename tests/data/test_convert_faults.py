"""Conversion of what is broken, on machines that fail, by commands with mistakes."""

import functools
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from bigclip.config import ConfigError
from bigclip.data.convert.__main__ import main
from bigclip.data.convert.conversion import convert
from bigclip.data.convert.inputs import open_rows
from bigclip.data.records import BadRecord
from bigclip.data.sources import open_source


def test_tars_that_hold_half_samples_only_in_part(tmp_path, tar_writer, sample_maker):
    members = []
    for number in range(150):
        parts = sample_maker(0)
        members += [(f"{number:03d}.webp", parts["webp"])]
        if number % 5 == 0:
            members += [(f"{number:03d}.txt", parts["txt"])]
    tar = tar_writer(tmp_path / "a.tar", members)
    summary = convert(open_rows([tar]), out=str(tmp_path / "x"), max_bad_fraction=0.8)
    # WebDataset names a hundred; the others are counted, too.
    assert (summary.num_records, summary.faults) == (30, {"incomplete_sample": 120})


class RowsThatKill:
    """An input whose reading kills the process, as the kernel does when memory runs out."""

    lost = ()

    def __init__(self, file):
        self.files = [file]

    def __len__(self):
        return 4

    def piece(self, start, stop):
        return functools.partial(os._exit, 9)


def test_a_worker_that_dies_is_told(tmp_path, write_shards):
    with pytest.raises(ConfigError, match="--workers: a worker process was killed"):
        convert(RowsThatKill(write_shards(1)[0]), out=str(tmp_path / "x"), num_workers=2)


@pytest.mark.parametrize("format", ["array_record", "tars"])
def test_a_full_disk_leaves_no_half_shard(tmp_path, write_shards, format):
    """The operating system lets the files of this process grow to 60 kB only."""
    program = (
        "import resource, signal, sys\n"
        "from bigclip.data.convert.__main__ import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    out = tmp_path / "x"
    command = ["--input", *write_shards(80), "--out", str(out), "--format", format]
    done = subprocess.run(
        [sys.executable, "-c", program, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert os.listdir(out) == [".conversion"]
    assert main(command) == 0


def test_metadata_that_tars_have_no_place_for_stops_it(tmp_path, picture_encoder, capsys):
    (tmp_path / "0.png").write_bytes(picture_encoder(np.zeros((4, 4, 3), np.uint8)))
    (tmp_path / "list.csv").write_text("path,text,captions\n0.png,a,b\n")
    command = ["--input", str(tmp_path / "list.csv"), "--out", str(tmp_path / "x")]
    command += ["--format", "tars", "--caption_column", "text"]
    assert main(command) == 2
    assert "metadata named 'captions'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "nowhere/x.tar"], "nowhere/x.tar does not exist"),
        (["--input", "{tar}", "--image_column", "x"], "--image_column says nothing about tars"),
        (["--input", "{tar}", "--caption_column", "a=b", "a=c"], "'a=c' is named twice"),
        (["--input", "{tar}", "--caption_column", "a", "b"], "name one field of the .json"),
        (["--input", "{tar}", "--caption_column", "a="], "'a=' names no column"),
        (["--input", "{tar}", "--workers", "0"], "--workers must be at least 1, not 0"),
        (["--input", "{tar}", "--max_bad_fraction", "5"], r"must lie in \[0, 1\], not 5"),
        (["--input", "{tar}", "--split", "a/b"], "'a/b' must be letters"),
        (["--input", "{tar}", "--kind", "array_record"], "is no ArrayRecord file"),
        (["--input", "{folder}/empty"], "empty holds none of: tars, tables"),
        (["--input", "{folder}/notes"], "the name 'notes' does not tell; choose one of tars"),
        (["--input", "{folder}/*.csv"], "no file matches"),
    ],
)
def test_mistakes_on_the_command_line_are_named(tmp_path, write_shards, capsys, words, message):
    [tar] = write_shards(2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").write_text("x")
    words = [word.format(tar=tar, folder=tmp_path) if "{" in word else word for word in words]
    assert main([*words, "--out", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert re.search(message, error), error
    assert not (tmp_path / "x").exists()


def test_the_help_shows_examples_and_a_wrong_flag_ends_with_code_2(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "examples:" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["--inputs", "x", "--out", "y", "--knd", "z"])
    assert ended.value.code == 2


def test_a_bad_record_in_a_source_of_its_own_is_passed_on(tmp_path, write_shards):
    """An ArrayRecord data set that others wrote may have bad records, too."""
    [tar] = write_shards(6)
    convert(open_rows([tar]), out=str(tmp_path / "x"))
    [shard] = (tmp_path / "x").glob("*.array_record*")
    contents = ArrayRecordReader(str(shard)).read_all()
    path = str(tmp_path / "spoilt.array_record")
    writer = ArrayRecordWriter(path, "group_size:1")
    for content in [*contents[:2], b"junk", *contents[2:]]:
        writer.write(content)
    writer.close()
    summary = convert(open_rows([path]), out=str(tmp_path / "y"), max_bad_fraction=0.5)
    assert (summary.num_records, summary.faults) == (6, {"broken_record": 1})
    read = open_source(kind="tfds", data_dir=str(tmp_path / "y")).__getitems__(range(6))
    assert not any(isinstance(record, BadRecord) for record in read)
