"""What the three writers write is read back bit-identical, and streams."""

import itertools
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from archives import assert_holds, odd_arrays, specs_of

from bigclip.config import ConfigError
from bigclip.interop.files import (
    Spec,
    open_weights,
    torch_writing,
    write_npz,
    write_safetensors,
    write_torch,
)

WRITERS = {"safetensors": write_safetensors, "pt": write_torch, "npz": write_npz}
both = pytest.mark.parametrize("kind", WRITERS)


@both
def test_round_trip_is_bit_identical_in_any_order(tmp_path, kind):
    arrays = odd_arrays()
    specs = specs_of(arrays)
    WRITERS[kind](tmp_path / "a", specs, arrays.items())
    WRITERS[kind](tmp_path / "b", specs, reversed(arrays.items()))
    for name in "ab":
        assert_holds(open_weights(tmp_path / name), arrays)
    if kind == "safetensors":  # its order is that of the header; zips are in that of the arrays
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@both
def test_one_array_at_a_time(tmp_path, kind):
    """Peaks of memory, writing 24 arrays of 1 MiB and reading them, are those of two arrays."""
    specs = {f"w{number}": Spec((512, 512), np.dtype(np.float32)) for number in range(24)}
    arrays = ((name, np.full((512, 512), int(name[1:]), np.float32)) for name in specs)

    def peak(action):
        tracemalloc.start()
        action()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most / 2**20

    # The array, the next one that is made before it is dropped, a buffer.
    assert peak(lambda: WRITERS[kind](tmp_path / "w", specs, arrays)) < 2.6
    weights = open_weights(tmp_path / "w")

    def read():
        for name, tensor in weights.items():
            assert tensor.read()[3, 4] == int(name[1:])

    assert peak(read) < 2.6


@both
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([], "2 arrays did not come: a, b"),
        ([("a", np.zeros(3)), ("b", np.zeros(())), ("a", np.zeros(3))], "a: comes twice"),
        ([("c", np.zeros(3))], "c: not announced"),
        ([("a", np.zeros((3, 1)))], r"a: float64\[3, 1\], announced as float64\[3\]"),
        ([("a", np.zeros(3, np.float32))], r"a: float32\[3\], announced as float64\[3\]"),
    ],
)
def test_arrays_must_be_those_announced(tmp_path, kind, arrays, message):
    specs = {"a": Spec((3,), np.dtype(float)), "b": Spec((), np.dtype(float))}
    with pytest.raises(ValueError, match=message):
        WRITERS[kind](tmp_path / "x", specs, arrays)


@both
@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({}, "holds no tensors"),
        ({"a": Spec((3,), np.dtype("U5"))}, "cannot hold <U5; convert it to float32"),
        ({"a": Spec((3,), np.dtype(object))}, "cannot hold object"),
        ({"a\x1b[2J": Spec((3,), np.dtype(float))}, "control characters"),
        ({"../a": Spec((3,), np.dtype(float))}, "a path outside"),
        ({"": Spec((3,), np.dtype(float))}, "without a name"),
        ({"a": Spec((1 << 50,), np.dtype(float))}, "needs 9007199.25 GB, and the disk has"),
    ],
)
def test_refuses_before_the_first_byte(tmp_path, kind, specs, message):
    def arrays():
        pytest.fail("asked for an array")
        yield

    with pytest.raises(ConfigError, match=message):
        WRITERS[kind](tmp_path / "x", specs, arrays())
    assert not list(tmp_path.iterdir())


@both
def test_overwrites_nothing(tmp_path, kind):
    (tmp_path / "x").write_bytes(b"kept")
    specs = {"a": Spec((), np.dtype(float))}
    with pytest.raises(ConfigError, match="exists: remove it"):
        WRITERS[kind](tmp_path / "x", specs, [("a", np.zeros(()))])
    assert (tmp_path / "x").read_bytes() == b"kept"


def test_safetensors_is_laid_out_as_its_specification_says(tmp_path):
    """https://github.com/huggingface/safetensors#format, read here by hand."""
    arrays = {"b": np.arange(3, dtype=np.uint8), "a": np.array([[1.5]]), "é": np.zeros(2, "f4")}
    path = tmp_path / "x"
    write_safetensors(path, specs_of(arrays), arrays.items(), metadata={"format": "pt"})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].decode()
    assert header.rstrip(" ") == (
        '{"__metadata__":{"format":"pt"},'
        '"a":{"dtype":"F64","shape":[1,1],"data_offsets":[0,8]},'
        '"é":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},'
        '"b":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}}'
    )
    assert length % 8 == 0
    data = b"".join(arrays[name].tobytes() for name in "aéb")
    assert content[8 + length :] == data
    assert open_weights(path).metadata == {"format": "pt"}


def test_safetensors_refuses_what_its_header_cannot_say(tmp_path):
    specs = {"__metadata__": Spec((), np.dtype(float))}
    with pytest.raises(ConfigError, match="can be named __metadata__"):
        write_safetensors(tmp_path / "x", specs, [])
    with pytest.raises(ConfigError, match="are strings"):
        write_safetensors(tmp_path / "x", specs_of(odd_arrays()), [], metadata={"step": 3})


def test_npz_is_what_numpy_reads(tmp_path):
    arrays = odd_arrays()
    write_npz(tmp_path / "x.npz", specs_of(arrays), arrays.items())
    with np.load(tmp_path / "x.npz", allow_pickle=False) as read:
        assert set(read) == set(arrays)
        for name, array in arrays.items():
            assert read[name].tobytes() == array.tobytes()
            if name != "bfloat16":  # which numpy reads as voids, also from its own files
                assert (read[name].shape, read[name].dtype) == (array.shape, array.dtype)


class StandIn(pickle.Unpickler):
    """Python's own pickle on what `write_torch` wrote: functions give back their arguments."""

    def find_class(self, module, name):
        if name == "OrderedDict":
            return dict
        return lambda *arguments: (f"{module}.{name}", *arguments)

    def persistent_load(self, pid):
        return (pid[0], pid[1]()[0], *pid[2:])


@pytest.mark.parametrize("wide_from", [1 << 30, 0])
def test_torch_archive_is_pickled_and_aligned_as_by_torch(tmp_path, monkeypatch, wide_from):
    """Also with the 64-bit sizes of large arrays."""
    monkeypatch.setattr(torch_writing, "_WIDE_FROM", wide_from)
    arrays = odd_arrays()
    write_torch(tmp_path / "x.pt", specs_of(arrays), arrays.items())
    content = (tmp_path / "x.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        assert archive.testzip() is None
        assert archive.read("weights/version") == b"3\n"
        for info in archive.infolist():
            lengths = content[info.header_offset + 26 : info.header_offset + 30]
            start = info.header_offset + 30 + lengths[0] + 256 * lengths[1]
            start += lengths[2] + 256 * lengths[3]
            assert start % 64 == 0
            assert content[start : start + info.file_size] == archive.read(info)
        with archive.open("weights/data.pkl") as file:
            read = StandIn(file).load()
        keys = {name: entry[1][2] for name, entry in read.items()}
        assert list(read) == list(arrays)
        for name, array in arrays.items():
            data = archive.read(f"weights/data/{keys[name]}")
            assert data == array.tobytes()
            strides = itertools.accumulate([1, *array.shape[:0:-1]], lambda a, b: a * b)
            expected = (0, array.shape, tuple(strides)[::-1][: array.ndim or 0], False, {})
            assert read[name][0] == "torch._utils._rebuild_tensor_v2"
            assert read[name][1][0] == "storage"
            assert read[name][1][3:] == ("cpu", array.size)
            assert read[name][2:] == expected
    assert_holds(open_weights(tmp_path / "x.pt"), arrays)
    assert read["bfloat16"][1][1] == "torch.BFloat16Storage"
    assert read["bool"][1][1] == "torch.BoolStorage"
