"""Shards read from front to back: against the index, and with any damage."""

import functools
import io
import pathlib
import tarfile

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from bigclip.data.buffered_file import BufferedFile
from bigclip.data.files import Files
from bigclip.data.records import FAULTS, BadRecord, Record
from bigclip.data.shard_samples import read_samples
from bigclip.data.sources import open_source
from bigclip.data.tar_members import TarError


class InMemory(Files):
    """Files whose content is at hand."""

    def __init__(self, content):
        super().__init__()
        self.content = content

    def size(self, path):
        return len(self.content)

    def read(self, path, offset, size):
        found = self.content[offset : offset + size]
        assert len(found) == size, "read beyond the end"
        return found


def samples_of(content, *, start=0, ahead_bytes=700):
    file = BufferedFile(InMemory(content), "a.tar", ahead_bytes=ahead_bytes)
    return list(read_samples(file, "a.tar", caption_key="captions", start=start))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("ahead_bytes", [1, 512, 5000, 1 << 20])
def test_finds_what_random_access_finds(tar_writer, sample_maker, tmp_path, format, ahead_bytes):
    folder = "ä" * 70 + "/" + "b" * 90 + "/"  # a name that each format writes in its own way
    members = []
    for number in range(5):
        parts = {**sample_maker(number), "npy": b"n" * 700}
        members += [(f"{folder}{number:04d}.{end}", content) for end, content in parts.items()]
    path = tar_writer(tmp_path / "a.tar", members, format=format)
    source = open_source(kind="webdataset", shards=path)
    found = samples_of(pathlib.Path(path).read_bytes(), ahead_bytes=ahead_bytes)
    assert [sample.found for sample in found] == [source[i] for i in range(5)]
    # Each ends where the next begins, and reading can begin at any of them.
    assert [sample.end for sample in found[:-1]] == [sample.start for sample in found[1:]]
    for number, sample in enumerate(found):
        rest = samples_of(pathlib.Path(path).read_bytes(), start=sample.start)
        assert [s.found for s in rest] == [s.found for s in found[number:]]


@functools.cache
def shard():
    """Five good samples; their pictures are not decoded here."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(5):
            for end, content in (
                ("jpg", bytes([number]) * 900),
                ("txt", b"a fox %d" % number),
                ("json", b'{"captions": {"de": ["Fuchs %d"]}}' % number),
            ):
                info = tarfile.TarInfo(f"{number:06d}{'ü' * (number % 2)}.{end}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 255)), max_size=4),
    st.integers(0, 30_000),
    st.sampled_from(["flip", "cut", "insert", "repeat"]),
)
@hypothesis.settings(max_examples=300, deadline=None)
def test_damage_is_told_and_spares_what_comes_before_it(flips, place, kind):
    content = bytearray(shard())
    place %= len(content)
    first = place
    if kind == "flip":
        for at, value in flips:
            content[at % len(content)] = value
        first = min((at % len(content) for at, _ in flips), default=len(content))
    elif kind == "cut":
        del content[place:]
    elif kind == "insert":
        content[place:place] = bytes(value for _, value in flips)
    else:
        content[place:place] = content[:place]
    intact = samples_of(shard())
    try:
        found = samples_of(bytes(content))
    except TarError:
        assert first < 512
        return
    for sample in found:
        assert isinstance(sample.found, Record | BadRecord)
        if isinstance(sample.found, BadRecord):
            assert sample.found.fault in FAULTS
        assert 0 <= sample.start <= sample.end
    # A sample is known to be whole only at the header of the next.
    whole = [sample for sample in intact if sample.end + 512 <= first]
    assert [sample.found for sample in found[: len(whole)]] == [s.found for s in whole]


@hypothesis.given(st.binary(max_size=3000))
@hypothesis.settings(max_examples=200, deadline=None)
def test_any_bytes_are_no_tar_or_read_to_their_end(content):
    try:
        found = samples_of(content)
    except TarError:
        return
    assert all(isinstance(sample.found, BadRecord) for sample in found)


def test_a_long_caption_and_a_broken_one_are_no_reason_to_stop(tar_writer, tmp_path):
    rng = np.random.default_rng(0)
    members = [
        ("a.jpg", b"x"), ("a.txt", b"word " * 200_000),
        ("b.jpg", b"x"), ("b.txt", rng.bytes(1000)),
        ("c.jpg", b"x"), ("c.txt", b"nul \0 inside"),
        ("d.jpg", b"x"), ("d.txt", b""),
        ("e.jpg", b"x"),
        ("f.txt", b"text alone"),
    ]  # fmt: skip
    path = tar_writer(tmp_path / "a.tar", members)
    found = [sample.found for sample in samples_of(pathlib.Path(path).read_bytes())]
    assert len(found[0].captions["txt"][0]) == 999_999
    assert found[2].captions["txt"] == ["nul \0 inside"]
    faults = [found[row].fault for row in (1, 3, 4, 5)]
    assert faults == ["caption_not_utf8", "no_caption", "incomplete_sample", "incomplete_sample"]
