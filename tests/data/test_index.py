"""The command that indexes shards."""

import gzip

import pytest

from bigclip.data import index
from bigclip.data.selection import apply_filters
from bigclip.data.sources import open_source


def test_keeps_what_training_then_need_not_read(write_shards, tmp_path, capsys, monkeypatch):
    paths = write_shards(3, 4)
    kept = tmp_path / "kept"
    assert index.main([f"{tmp_path}/part-*.tar", "--index_dir", str(kept)]) == 0
    assert "7 samples in 2 shards, kept in" in capsys.readouterr().out
    assert len(list(kept.glob("*.npz"))) == 2
    monkeypatch.setattr("bigclip.data.kept_indexes.index_shard", None)
    assert len(open_source(kind="webdataset", shards=paths, index_dir=str(kept))) == 7


def test_lists_duplicates_for_streams_and_random_access_alike(write_shards, tmp_path, capsys):
    def change(number, parts):
        if number in (5, 6):
            parts["txt"] = b" Fox OWL  1 "  # of number 2, but for case and blanks
            parts["json"] = b"{}"
        if number == 2:
            parts["txt"], parts["json"] = b"fox owl 1", b'{"captions": "fox owl 1"}'

    paths = write_shards(4, 4, change=change)
    deny = tmp_path / "deny.txt.gz"
    # Names and keywords repeat: only the texts count.
    arguments = [*paths, "--duplicate_texts", str(deny), "--caption_key", "none"]
    assert index.main(arguments) == 0
    assert "2 of them have a text of an earlier one" in capsys.readouterr().out
    assert gzip.decompress(deny.read_bytes()).decode().split() == [
        "part-001.tar/000005",
        "part-001.tar/000006",
    ]
    source = open_source(kind="webdataset", shards=paths, caption_key="none")
    one = apply_filters(source, {"deny_ids": str(deny)})
    other = apply_filters(source, {"duplicate_texts": True})
    assert one.rows.tolist() == other.rows.tolist() == [0, 1, 2, 3, 4, 7]
    assert (one.rejected, other.rejected) == ({"denied": 2}, {"duplicate_text": 2})
    streams = open_source(kind="webdataset", access="stream", shards=paths, caption_key="none")
    found = apply_filters(streams, {"deny_ids": str(deny)}).sample_records(100)
    assert len(list(found)) == 6


def test_tells_what_cannot_be_read(write_shards, tmp_path, capsys):
    def change(number, parts):
        if number == 1:
            del parts["webp"]

    paths = write_shards(2, 2, change=change)
    (tmp_path / "zero.tar").touch()
    missing = str(tmp_path / "part-002.tar")
    kept = str(tmp_path / "kept")
    assert index.main([*paths, str(tmp_path / "zero.tar"), missing, "--index_dir", kept]) == 1
    told = capsys.readouterr().out
    assert "3 samples in 2 shards" in told
    assert "1 samples are not whole" in told
    assert "2 shards cannot be read" in told
    assert "the file is empty" in told
    assert "did you mean" in told


def test_a_list_that_could_not_tell_records_apart_is_not_written(write_shards, tmp_path, capsys):
    [path] = write_shards(2)
    other = tmp_path / "other"
    other.mkdir()
    (other / "part-000.tar").write_bytes((tmp_path / "part-000.tar").read_bytes())
    deny = tmp_path / "deny.txt"
    assert index.main([path, str(other / "part-000.tar"), "--duplicate_texts", str(deny)]) == 2
    assert "could not be told apart" in capsys.readouterr().err
    assert not deny.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["a.tar"], "give --index_dir"), (["/nowhere/*.tar", "--index_dir", "x"], "no file matches")],
)
def test_mistakes_are_told(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert index.main(arguments) == 2
    told = capsys.readouterr()
    assert message in told.out + told.err
