"""Files of numpy, read without pickles."""

import zipfile

import ml_dtypes
import numpy as np
import pytest
from archives import assert_holds, npy, npy_header, odd_arrays, zip_of

from bigclip.config import ConfigError
from bigclip.interop.files import open_weights


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_saved(tmp_path, save):
    arrays = odd_arrays()
    assert any(not array.flags.c_contiguous for array in arrays.values())
    save(tmp_path / "x.npz", **arrays)
    assert_holds(open_weights(tmp_path / "x.npz"), arrays)


def test_other_byte_order_and_no_suffix(tmp_path):
    with open(tmp_path / "weights", "wb") as file:
        np.savez(file, a=np.arange(6, dtype=">f4").reshape(2, 3), b=np.array(3 + 4j, ">c16"))
    expected = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(3 + 4j)}
    assert_holds(open_weights(tmp_path / "weights"), expected)


def test_two_byte_voids_are_bfloat16(tmp_path):
    """So numpy saves it, which does not know it, and so big_vision's files have it."""
    values = np.array([1.5, -3e38], ml_dtypes.bfloat16)
    np.savez(tmp_path / "x.npz", w=values)
    assert np.load(tmp_path / "x.npz")["w"].dtype == np.dtype("V2")
    assert_holds(open_weights(tmp_path / "x.npz"), {"w": values})


def test_version_2_of_the_header(tmp_path):
    array = np.arange(4.0)
    (tmp_path / "x.npz").write_bytes(zip_of({"a.npy": npy(array, version=(2, 0))}))
    assert_holds(open_weights(tmp_path / "x.npz"), {"a": array})


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_is_found(tmp_path, save):
    rng = np.random.default_rng(0)
    save(tmp_path / "x.npz", a=rng.normal(size=1000))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[4000] ^= 4
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        open_weights(tmp_path / "x.npz")["a"].read()


def header(descr="<f4", order="False", shape="(3,)"):
    return npy_header(f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}}}\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(np.array([print], object)), r"Python objects.*np\.savez\(new"),
        (header("|O") + bytes(24), "Python objects"),
        (npy(np.array(["a", "b"])), "its dtype is <U1, which no weights have"),
        (npy(np.zeros(2, "M8[s]")), "which no weights have"),
        (npy(np.zeros(2, [("a", "f4"), ("b", "O")])), "Python objects"),
        (npy(np.zeros(2, [("a", "f4")])), "which no weights have"),
        (header("|V1") + bytes(3), "which no weights have"),
        (header("<f4") + bytes(11), "is 12 bytes, and the file holds 11"),
        (header("<f4") + bytes(13), "is 12 bytes, and the file holds 13"),
        (header(shape="(4611686018427387904,)"), "no numbers from 0"),
        (header(shape="(1099511627776, 1099511627776)"), "shape of more than"),
        (header(shape="(0, 1099511627776, 1099511627776)"), "shape of more than"),
        (header(shape="(-3,)"), "no numbers from 0"),
        (header(shape="(True,)"), "no numbers from 0|no header"),
        (header(shape="3"), "no header"),
        (header(shape="(" * 200), "no header"),
        (header(shape="-" * 9000 + "1"), "no header"),
        (header(shape="(__import__('os').system('id'),)"), "no header"),
        (header(order="7") + bytes(12), "no header"),
        (header("<q99") + bytes(12), "no header"),
        (npy_header("{}"), "no header"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "no header"),
        (b"\x93NUMPY\x09\x00\x02\x00{}", "version"),
        (b"\x80\x02cos\nsystem\n(U\x02idtR.", "no header"),
        (b"", "no header"),
    ],
)
def test_refuses_what_is_no_array_of_numbers(tmp_path, content, message):
    path = tmp_path / "x.npz"
    path.write_bytes(zip_of({"good.npy": npy(np.zeros(3)), "w.npy": content}))
    with pytest.raises(ConfigError, match=message) as error:
        open_weights(path)
    assert "w: " in str(error.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "'a' is no array"),
        (["word/document.xml"], "is no array"),
        ([".npy"], "without a name"),
        (["../../etc/passwd.npy"], "looks like a path outside"),
        (["/etc/passwd.npy"], "looks like a path outside"),
        (["a/../../b.npy"], "looks like a path outside"),
        (["..\\b.npy"], "looks like a path outside"),
        (["\x1b[31m.npy"], "no name of a file in an archive"),
        (["a\u202eb.npy"], "no name of a file in an archive"),
        ([], "holds no tensors"),
    ],
)
def test_refuses_names(tmp_path, names, message):
    path = tmp_path / "x.npz"
    path.write_bytes(zip_of(dict.fromkeys(names, npy(np.zeros(3)))))
    with pytest.raises(ConfigError, match=message):
        open_weights(path)


def test_refuses_a_bomb(tmp_path):
    """A gigabyte of zeros is a megabyte compressed; no weights compress a hundred times."""
    path = tmp_path / "x.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w") as f,
    ):
        f.write(header(shape="(18874368,)"))
        for _ in range(72):
            f.write(bytes(1 << 20))
    assert path.stat().st_size < 100_000
    with pytest.raises(ConfigError, match="as no weights are.*np.savez"):
        open_weights(path)


def test_small_zeros_are_no_bomb(tmp_path):
    arrays = {"bias": np.zeros(100_000, np.float32), "scale": np.ones(100_000, np.float32)}
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    assert_holds(open_weights(tmp_path / "x.npz"), arrays)
