"""The index of tars, against the standard library's own reader."""

import contextlib
import gzip
import io
import pathlib
import tarfile

import hypothesis
import hypothesis.strategies as st
import pytest

from bigclip.data import tar_members, tars
from bigclip.data.kept_indexes import index_shard

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def members_by_tarfile(path):
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


def members_by_index(path):
    index = index_shard(str(path))
    content = pathlib.Path(path).read_bytes()
    return {
        (key.decode(), kind): content[offset : offset + size]
        for key, offsets, sizes in zip(index.keys, index.offsets, index.sizes, strict=True)
        for kind, offset, size in zip(tars.KINDS, offsets, sizes, strict=True)
        if size >= 0
    }


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "folder", ["", "a/b/", "x" * 90 + "/" + "y" * 60 + "/", "ä/日本/", "z" * 300 + "/"]
)
def test_finds_what_tarfile_finds(tmp_path, tar_writer, format, folder):
    if format == "ustar" and len(folder) > 250:
        folder = ("v" * 50 + "/") * 4  # the longest that ustar can say
    members = []
    for key in ("000", "001.with", "002"):
        members += [(f"{folder}{key.split('.')[0]}.JPG", key.encode() * 300)]
        members += [(f"{folder}{key.split('.')[0]}.txt", b"t" * 512), (f"{folder}other.md", b"m")]
    path = tar_writer(tmp_path / "a.tar", members, format=FORMATS[format])
    expected = {
        (name.partition(".")[0], "txt" if name.endswith("txt") else "image"): content
        for name, content in members_by_tarfile(path).items()
        if not name.endswith("md")
    }
    assert members_by_index(path) == expected
    assert index_shard(str(path)).faults == ()


def test_passes_over_folders_links_and_global_headers(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "c"}) as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("l.png", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "0.png"
            tar.addfile(info)
        for name in ("0.png", "0.json"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    assert members_by_index(path) == {("0", "image"): b"abc", ("0", "json"): b"abc"}


def test_members_of_a_sample_need_not_be_neighbours(tmp_path, tar_writer):
    members = [(f"{key}.{end}", f"{key}{end}".encode()) for end in ("png", "txt") for key in "ab"]
    path = tar_writer(tmp_path / "a.tar", members)
    assert len(index_shard(str(path)).keys) == 2


def test_repeated_keys_are_separate_samples(tmp_path, tar_writer):
    members = [("a.png", b"1"), ("a.txt", b"2"), ("a.png", b"3"), ("a.txt", b"4")]
    index = index_shard(tar_writer(tmp_path / "a.tar", members))
    assert index.keys.tolist() == [b"a", b"a"]
    assert index.offsets[1, 0] > index.offsets[0, 1]


def test_names_samples_that_are_not_whole(tmp_path, tar_writer):
    members = [("a.png", b"1"), ("b.txt", b"2"), ("c.png", b"3"), ("c.txt", b"4")]
    index = index_shard(tar_writer(tmp_path / "a.tar", members))
    assert index.keys.tolist() == [b"c"]
    assert index.faults == (
        "a: no .txt and no .json beside its picture",
        "b: no picture beside its txt",
    )


@pytest.mark.parametrize(
    ("cut", "num_samples", "fault"),
    [
        (512 * 11, 2, "cut off, the file ends inside of it"),  # inside of the third picture
        (512 * 8 + 100, 2, "broken header"),
        (512 * 8, 2, "without the end-of-archive mark"),
        (512 * 7, 1, "cut off"),
    ],
)
def test_cut_off_tars_keep_their_whole_samples(tmp_path, tar_writer, cut, num_samples, fault):
    # A sample is header, 2 blocks of data (1 for the first), header, 1 block.
    members = []
    for key, size in (("a", 512), ("b", 512), ("c", 2048)):
        members += [(f"{key}.png", b"x" * size), (f"{key}.txt", b"y")]
    path = tar_writer(tmp_path / "a.tar", members)
    with open(path, "r+b") as file:
        file.truncate(cut)
    index = index_shard(str(path))
    assert len(index.keys) == num_samples
    assert any(fault in message for message in index.faults), index.faults


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (gzip.compress(b"\0" * 2048, mtime=0), "compressed"),
        (b"hello", "does not start with a tar header"),
        (b"<html>" * 1000, "does not start with a tar header"),
    ],
)
def test_says_why_a_file_is_no_tar(tmp_path, content, reason):
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(tar_members.TarError, match=reason):
        index_shard(str(path))


def test_reads_sizes_beyond_octal():
    # 12 octal digits end at 8 GiB; GNU then writes 0x80 and the number itself.
    info = tarfile.TarInfo("big.png")
    info.size = 2**40 + 5
    block = info.tobuf(format=tarfile.GNU_FORMAT)
    assert tar_members._parse_header(block) == ("big.png", 2**40 + 5, b"0")


@pytest.fixture(scope="module")
def whole_tar(tmp_path_factory):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for key in ("a", "b" * 150, "ü"):
            for end in ("png", "txt"):
                info = tarfile.TarInfo(f"{key}.{end}")
                info.size = 700
                tar.addfile(info, io.BytesIO(b"q" * 700))
    return path.read_bytes()


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=300, deadline=None)
def test_damage_never_gives_anything_but_faults(whole_tar, tmp_path_factory, data):
    damaged = bytearray(whole_tar)
    for _ in range(data.draw(st.integers(1, 6))):
        # Most of the file is zeros and content; headers are what is worth damaging.
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + 1] = data.draw(st.binary(max_size=4))
    path = tmp_path_factory.getbasetemp() / "damaged.tar"
    path.write_bytes(damaged)
    try:
        index = index_shard(str(path))
    except tar_members.TarError:
        return
    stored = index.sizes >= 0
    assert ((index.offsets + index.sizes)[stored] <= len(damaged)).all()


@hypothesis.given(content=st.binary(max_size=2000))
@hypothesis.settings(max_examples=200, deadline=None)
def test_random_bytes_are_no_tar(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "random.tar"
    path.write_bytes(content)
    with contextlib.suppress(tar_members.TarError):
        assert len(index_shard(str(path)).keys) == 0


@hypothesis.given(content=st.binary(max_size=200))
def test_pax_fields_of_any_bytes(content):
    assert all(isinstance(value, str) for value in tar_members._parse_pax(content).values())
