"""Zip archives whose directory lies about places, sizes and names."""

import io
import struct
import zipfile

import numpy as np
import pytest
from archives import npy, odd_arrays, state, tensor, torch_file, zip_of

from bigclip.config import ConfigError
from bigclip.interop.files import open_weights
from bigclip.interop.files.zips import zip_entries

ARRAY = npy(np.arange(100.0))


def patched(content: bytes, field: int, value: int, size: int = 4, entry: int = 0) -> bytes:
    """Write a number into a field of an entry in the directory."""
    start = -1
    for _ in range(entry + 1):
        start = content.index(b"PK\x01\x02", start + 1)
    place = start + field
    return content[:place] + value.to_bytes(size, "little") + content[place + size :]


GOOD = zip_of({"a.npy": ARRAY, "b.npy": ARRAY})
FLAGS, METHOD, STORED, SIZE, OFFSET = 8, 10, 20, 24, 42  # of the directory's entries


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (patched(GOOD, FLAGS, 1, 2), "is encrypted"),
        (patched(GOOD, METHOD, 14, 2), "its compression is not known"),
        (patched(GOOD, METHOD, 99, 2), "its compression is not known|cannot be read"),
        (patched(GOOD, SIZE, 0xFFFFFFF0), "claims 4294967280 bytes out of 928"),
        (patched(GOOD, STORED, 0xFFFFFFF0), "ends outside of the file"),
        (patched(patched(GOOD, STORED, 1200), SIZE, 1200), "overlap in the archive"),
        (patched(GOOD, OFFSET, 0, entry=1), "overlap in the archive"),
        (patched(GOOD, OFFSET, 10), "does not begin where"),
        (patched(GOOD, OFFSET, 0xFFFFFF0), "cannot be read|ends early"),
        (patched(patched(GOOD, METHOD, 8, 2), SIZE, 928 * 1032 + 1), "out of 928"),
        (GOOD[: len(GOOD) // 2], "zip archive cannot be read"),
        (GOOD[:-1], "zip archive cannot be read"),
        (zip_of({}), "holds no tensors"),
    ],
)
def test_refuses_directories(tmp_path, content, message):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        open_weights(tmp_path / "x.npz")


def test_one_content_for_many_names(tmp_path):
    """The bomb of overlapping entries: a thousand names, each of the same megabyte."""
    one = zip_of({"a.npy": npy(np.zeros(1 << 17))})
    start = one.index(b"PK\x01\x02")
    end = one.index(b"PK\x05\x06")
    directory = one[start:end]
    many = b"".join(directory.replace(b"a.npy", f"{i:04}".encode() + b"n") for i in range(1000))
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1000, 1000, len(many), start, 0)
    (tmp_path / "x.npz").write_bytes(one[:start] + many + tail)
    with pytest.raises(ConfigError, match="overlap in the archive"):
        zip_entries(str(tmp_path / "x.npz"))


def test_a_name_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", ARRAY)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", ARRAY)
    with pytest.raises(ConfigError, match="stands in the archive twice"):
        open_weights(tmp_path / "x.npz")


def test_a_name_with_an_end_in_its_middle(tmp_path):
    content = zip_of({"a.npy": ARRAY}).replace(b"a.npy", b"a\0npy")
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"'a\\x00npy': no name of a file"):
        open_weights(tmp_path / "x.npz")


def test_content_shorter_or_longer_than_claimed(tmp_path):
    packed = zip_of({"a.npy": npy(np.arange(1000.0))}, zipfile.ZIP_DEFLATED)
    size = len(npy(np.arange(1000.0)))
    for claim in (size - 8, size + 8):
        header = npy(np.zeros(1000 + (claim - size) // 8))[:128]
        content = header + np.arange(1000.0).tobytes()
        lying = zip_of({"a.npy": content}, zipfile.ZIP_DEFLATED)
        (tmp_path / "x.npz").write_bytes(patched(lying, SIZE, claim))
        with pytest.raises(ConfigError, match=f"claims {claim} bytes and has others"):
            open_weights(tmp_path / "x.npz")["a"].read()
    (tmp_path / "x.npz").write_bytes(packed.replace(packed[100:200], bytes(100)))
    with pytest.raises(ConfigError, match="damaged|no header"):
        open_weights(tmp_path / "x.npz")["a"].read()


def test_a_directory_larger_than_any(tmp_path):
    """Sparse: a file of 1 GiB that is a directory but for its end."""
    size = 1 << 30
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, size - 4, 4, 0)
    with open(tmp_path / "x.npz", "wb") as file:
        file.write(b"PK\x03\x04")
        file.seek(size)
        file.write(tail)
    with pytest.raises(ConfigError, match="a directory of more than 16777216 bytes"):
        open_weights(tmp_path / "x.npz")


def test_archives_with_64_bit_fields_and_descriptors(tmp_path):
    """As numpy writes them, and as a stream that cannot seek back."""
    np.savez(tmp_path / "numpy.npz", a=np.arange(3.0))

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.content = b""

        def writable(self):
            return True

        def write(self, data):
            self.content += bytes(data)
            return len(data)

    pipe = Pipe()
    with (
        zipfile.ZipFile(pipe, "w") as archive,
        archive.open("a.npy", "w", force_zip64=True) as file,
    ):
        file.write(npy(np.arange(3.0)))
    assert b"PK\x07\x08" in pipe.content
    (tmp_path / "pipe.npz").write_bytes(pipe.content)
    for name in ("numpy.npz", "pipe.npz"):
        assert open_weights(tmp_path / name)["a"].read().tolist() == [0, 1, 2]


def test_two_pickles_and_folders(tmp_path):
    plain = state(w=tensor((6,), (1,)))
    (tmp_path / "x.pt").write_bytes(zip_of({"a/data.pkl": plain, "b/data.pkl": plain}))
    with pytest.raises(ConfigError, match="one data.pkl in one folder; found: 2"):
        open_weights(tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes(zip_of({"../../a/data.pkl": plain}))
    with pytest.raises(ConfigError, match="found: 0"):
        open_weights(tmp_path / "x.pt")
    content = torch_file(plain, {"0": bytes(24)}, **{"code/": b""})
    (tmp_path / "x.pt").write_bytes(content)
    assert list(open_weights(tmp_path / "x.pt")) == ["w"]


def test_the_directory_of_a_real_file_is_believed(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", **odd_arrays())
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        for name, entry in zip_entries(str(tmp_path / "x.npz")).items():
            info = archive.getinfo(name)
            assert (entry.size, entry.stored, entry.crc) == (
                info.file_size,
                info.compress_size,
                info.CRC,
            )
            assert b"".join(map(bytes, entry.chunks())) == archive.read(name)
            assert entry.read(10) == archive.read(name)[:10]
