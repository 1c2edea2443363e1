"""Files of weights made byte by byte, as only a test or an attacker makes them."""

import io
import json
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Mapping

import ml_dtypes
import numpy as np

from bigclip.interop.files import Spec

GOLDENS = pathlib.Path(__file__).parent.parent.parent / "goldens" / "torch_files"


def odd_arrays() -> dict[str, np.ndarray]:
    """Arrays of odd shapes and of every dtype that all three formats hold."""
    rng = np.random.default_rng(0)
    return {
        "visual.proj": rng.normal(size=(3, 5)).astype(np.float32),
        "logit_scale": np.array(2.6593, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "ünïcode/name": np.array([np.nan, -0.0, np.inf, 1e-45], np.float32),
        "bfloat16": rng.normal(size=7).astype(ml_dtypes.bfloat16),
        "float16": rng.normal(size=(2, 3, 4)).astype(np.float16),
        "float64": rng.normal(size=(1, 1)),
        "int64": np.arange(-3, 3).reshape(2, 3),
        "int32": np.arange(3, dtype=np.int32),
        "int8": np.arange(-1, 1, dtype=np.int8),
        "uint8": np.arange(9, dtype=np.uint8).reshape(3, 3),
        "bool": np.array([True, False, True]),
        "transposed": np.asfortranarray(rng.normal(size=(4, 3)).astype(np.float32)),
        "steps": np.arange(20, dtype=np.int16)[::3],
    }


def specs_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Spec]:
    return {name: Spec(array.shape, array.dtype) for name, array in arrays.items()}


def assert_holds(weights, arrays: Mapping[str, np.ndarray]) -> None:
    """Same names; same shapes, dtypes and bytes; memory of its own."""
    assert set(weights) == set(arrays)
    for name, array in arrays.items():
        tensor = weights[name]
        assert (tensor.name, tensor.shape, tensor.dtype) == (name, array.shape, array.dtype)
        assert tensor.nbytes == array.nbytes
        read = tensor.read()
        assert (read.shape, read.dtype) == (array.shape, array.dtype), name
        assert read.tobytes() == array.tobytes(), name
        assert read.flags.writeable
        assert read.flags.c_contiguous


def safetensors_file(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def zip_of(files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return content.getvalue()


def npy(array: np.ndarray, **options) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, **options)
    return content.getvalue()


def npy_header(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def torch_file(content: bytes, storages: Mapping[str, bytes] | None = None, **more: bytes) -> bytes:
    """An archive with this data.pkl, and storages by key."""
    files = {"archive/data.pkl": content}
    files |= {f"archive/data/{key}": data for key, data in (storages or {}).items()}
    return zip_of(files | {f"archive/{name}": data for name, data in more.items()})


# Pickles, operation by operation. `state(tensor("w", ...))` is what torch.save writes.
def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def numbers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def call(name: str, *arguments: bytes) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n(".encode() + b"".join(arguments) + b"tR"


def storage(key: str, length: int, kind: str = "Float") -> bytes:
    names = (text("storage"), f"ctorch\n{kind}Storage\n".encode(), text(key), text("cpu"))
    return b"(" + b"".join(names) + number(length) + b"tQ"


def tensor(shape, strides, *, key="0", length=6, offset=0, kind="Float") -> bytes:
    return call(
        "torch._utils._rebuild_tensor_v2",
        storage(key, length, kind),
        number(offset),
        numbers(shape),
        numbers(strides),
        b"\x89",
        call("collections.OrderedDict"),
    )


def state(**values: bytes) -> bytes:
    pairs = b"".join(text(name) + value for name, value in values.items())
    return b"\x80\x02}(" + pairs + b"u."
