"""The header of safetensors files, right and wrong."""

import json

import ml_dtypes
import numpy as np
import pytest
from archives import assert_holds, safetensors_file

from bigclip.config import ConfigError
from bigclip.interop.files import open_weights


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def opened(tmp_path, header, data=b"", length=None):
    (tmp_path / "x").write_bytes(safetensors_file(header, data, length))
    return open_weights(tmp_path / "x")


def test_reads_a_file_written_by_hand(tmp_path):
    a = np.array([[1.5, -2]], np.float32)
    b = np.array([3, 0.25], ml_dtypes.bfloat16)
    c = np.array([1.5, -448], ml_dtypes.float8_e4m3fn)
    header = {
        "c": entry("F8_E4M3", [2], 4, 6),
        "a": entry("F32", [1, 2], 6, 14),
        "__metadata__": {"format": "pt", "note": "line\nline"},
        "empty": entry("I64", [3, 0], 4, 4),
        "b": entry("BF16", [2], 0, 4),
        "scalar": entry("BOOL", [], 14, 15),
    }
    weights = opened(tmp_path, header, b.tobytes() + c.tobytes() + a.tobytes() + b"\x07")
    arrays = {"c": c, "a": a, "empty": np.zeros((3, 0), np.int64), "b": b, "scalar": np.array(True)}
    assert list(weights) == list(arrays)
    assert_holds(weights, arrays)
    assert weights.metadata == header["__metadata__"]


GOOD = entry("F32", [2], 0, 8)


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ({"a": GOOD}, bytes(7), "7 bytes of data, and tensors of 8"),
        ({"a": GOOD}, bytes(9), "9 bytes of data, and tensors of 8"),
        ({"a": entry("F32", [2], 1, 9)}, bytes(9), "begins at byte 1 of the data, not at 0"),
        ({"a": GOOD, "b": GOOD}, bytes(8), "begins at byte 0 of the data, not at 8"),
        ({"a": GOOD, "b": entry("U8", [4], 4, 8)}, bytes(8), "gaps and overlaps"),
        ({"a": entry("F32", [3], 0, 8)}, bytes(8), "is 12 bytes, and 8 are set aside"),
        ({"a": entry("F32", [1 << 62], 0, 8)}, bytes(8), "no numbers from 0"),
        ({"a": entry("F32", [1 << 40, 1 << 40], 0, 8)}, bytes(8), "shape of more than"),
        ({"a": entry("F32", [1 << 40, 1 << 40, 0], 0, 0)}, b"", "shape of more than"),
        ({"a": entry("F32", [-2], 0, 8)}, bytes(8), "no numbers from 0"),
        ({"a": entry("F32", [2.0], 0, 8)}, bytes(8), "no numbers from 0"),
        ({"a": entry("F32", [True, 2], 0, 8)}, bytes(8), "no numbers from 0"),
        ({"a": entry("F32", "2", 0, 8)}, bytes(8), "no shape"),
        ({"a": entry("F32", [1] * 33 + [2], 0, 8)}, bytes(8), "32 axes"),
        ({"a": entry("F32", [2], 8, 0)}, bytes(8), "no two ascending"),
        ({"a": entry("F32", [2], -8, 0)}, bytes(8), "no two ascending"),
        ({"a": entry("F32", [2], 0, 1 << 64)}, bytes(8), "no two ascending"),
        ({"a": entry("F32", [2], 0, 8.0)}, bytes(8), "no two ascending"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8]}}, bytes(8), "no two ascending"),
        ({"a": entry("F99", [2], 0, 8)}, bytes(8), "'F99' is not known; F64, F32"),
        ({"a": entry(["F32"], [2], 0, 8)}, bytes(8), "is not known"),
        ({"a": {"dtype": "F32", "shape": [2]}}, bytes(8), "needs dtype, shape"),
        ({"a": 3}, bytes(8), "needs dtype, shape"),
        ({}, b"", "holds no tensors"),
        ({"__metadata__": {}}, b"", "holds no tensors"),
        ({"__metadata__": {"step": 3}, "a": GOOD}, bytes(8), "other things than strings"),
        ({"__metadata__": "pt", "a": GOOD}, bytes(8), "no JSON object"),
        ({"__metadata__": {"a": "x" * (1 << 20)}, "a": GOOD}, bytes(8), "is longer than"),
        ({"__metadata__": {"a": "\ud800"}, "a": GOOD}, bytes(8), "is no text"),
        ({"": GOOD}, bytes(8), "without a name"),
        ({"a" * 1025: GOOD}, bytes(8), "has 1025 characters"),
        ({"a\n": GOOD}, bytes(8), "control characters"),
        ({"\ud800": GOOD}, bytes(8), "control characters"),
        ({"../a": GOOD}, bytes(8), "a path outside"),
        (b'{"a":' + json.dumps(GOOD).encode() + b',"a":1}', bytes(8), "a name stands there twice"),
        (b'{"a":' + b"[" * 100_000, b"", "cannot be read"),
        (b'{"a":' * 100_000, b"", "cannot be read"),
        (b'{"a":' + b"9" * 5000 + b"}", b"", "cannot be read"),
        (b'{"a":"\xff"}', b"", "cannot be read"),
        (b'{"a":NaN}', b"", "no finite number"),
        (b"{", b"", "cannot be read"),
        (b"{}" + b"\0", b"", "cannot be read"),
    ],
)
def test_refuses_headers(tmp_path, header, data, message):
    with pytest.raises(ConfigError, match=message):
        opened(tmp_path, header, data)


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, 1 << 40, 200])
def test_refuses_a_header_longer_than_the_file(tmp_path, length):
    with pytest.raises(ConfigError, match=f"claims a header of {length} bytes.*cut off"):
        opened(tmp_path, {"a": GOOD}, bytes(8), length)


def test_refuses_a_header_without_end(tmp_path):
    with open(tmp_path / "x", "wb") as file:
        file.write(safetensors_file(b"{", length=1 << 30))
        file.truncate((1 << 30) + 8)  # sparse: takes no space
    with pytest.raises(ConfigError, match="a header of more than 16777216"):
        open_weights(tmp_path / "x")


def test_a_header_that_begins_like_another_file(tmp_path):
    """Its first byte is of a length, and may be that of a pickle or of a web page."""
    for length in (0x80, ord("<")):
        text = json.dumps({"a": GOOD}).encode().ljust(length)
        weights = opened(tmp_path, text, np.ones(2, np.float32).tobytes())
        assert weights["a"].read().tolist() == [1, 1]
