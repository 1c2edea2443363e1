"""Reads .safetensors files: https://github.com/huggingface/safetensors#format.

Eight bytes with the length of a JSON header, the header, then the arrays. The library of the same
name maps the file into memory, which counts as memory of the process (1,066 MB at the peak for a
file of 1.07 GB, read tensor by tensor, where this module takes 16 above what it began with), and
gives numpy no FP8. The format is small, so it is read here, array by array.
"""

import functools
import os

import ml_dtypes
import numpy as np

from bigclip.config import ConfigError
from bigclip.interop.files.tensors import (
    MAX_LENGTH,
    Tensor,
    Weights,
    check_count,
    check_name,
    check_shape,
    filled,
    open_regular,
    read_exactly,
)
from bigclip.interop.json_files import parse_json

MAX_HEADER_BYTES = 16 << 20  # 100,000 tensors
_MAX_METADATA_CHARACTERS = 1 << 20

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "C64": np.dtype("<c8"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def open_safetensors(path: str) -> Weights:
    """Read the header of a .safetensors file and hold it against the file's length.

    Raises:
        ConfigError: if the header is none, or if its tensors do not fill the file exactly, without
            gaps and overlaps.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        beginning = bytearray(8)
        read_exactly(file, 0, memoryview(beginning), path)
        header_bytes = int.from_bytes(beginning, "little")
        if header_bytes > size - 8:
            raise ConfigError(
                f"{path}: claims a header of {header_bytes} bytes and has {size}: no safetensors "
                "file, or cut off; copy it again."
            )
        if header_bytes > MAX_HEADER_BYTES:
            raise ConfigError(f"{path}: a header of more than {MAX_HEADER_BYTES} bytes.")
        header = bytearray(header_bytes)
        read_exactly(file, 8, memoryview(header), path)
    entries = parse_json(bytes(header), f"{path}: the header")
    metadata = _metadata(entries.pop("__metadata__", {}), path)
    check_count(len(entries), path)
    tensors, spans = {}, []
    for name, entry in entries.items():
        tensor, begin, end = _tensor(path, 8 + header_bytes, check_name(name, path), entry)
        tensors[name] = tensor
        spans.append((begin, end, name))
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            raise ConfigError(
                f"{path}: {name}: begins at byte {begin} of the data, not at {position} where the "
                "one before ends: gaps and overlaps are not read."
            )
        position = end
    if position != size - 8 - header_bytes:
        raise ConfigError(
            f"{path}: {size - 8 - header_bytes} bytes of data, and tensors of {position}: cut off "
            "or damaged; copy it again."
        )
    return Weights(path, tensors, metadata)


def _metadata(entries: object, path: str) -> dict[str, str]:
    if not isinstance(entries, dict):
        raise ConfigError(f"{path}: __metadata__ is no JSON object.")
    if any(not isinstance(value, str) for value in entries.values()):
        raise ConfigError(f"{path}: __metadata__ holds other things than strings.")
    try:
        "".join((*entries, *entries.values())).encode()
    except UnicodeError as error:  # "\ud800" alone is half a character, and can stand in JSON
        raise ConfigError(f"{path}: __metadata__ is no text: {error}.") from error
    if sum(map(len, entries)) + sum(map(len, entries.values())) > _MAX_METADATA_CHARACTERS:
        raise ConfigError(f"{path}: __metadata__ is longer than {_MAX_METADATA_CHARACTERS}.")
    return entries


def _tensor(path: str, data: int, name: str, entry: object) -> tuple[Tensor, int, int]:
    where = f"{path}: {name}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ConfigError(f"{where}: needs dtype, shape and data_offsets.")
    kind, offsets = entry["dtype"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in DTYPES:
        name = repr(kind[:40]) if isinstance(kind, str) else "of another type than text"
        raise ConfigError(f"{where}: a dtype {name} is not known; {', '.join(DTYPES)}.")
    dtype = DTYPES[kind]
    shape = check_shape(entry["shape"], dtype.itemsize, where)
    if not (
        isinstance(offsets, list)
        and len(offsets) == 2
        and all(type(offset) is int for offset in offsets)
        and 0 <= offsets[0] <= offsets[1] <= MAX_LENGTH
    ):
        raise ConfigError(f"{where}: data_offsets are no two ascending numbers.")
    begin, end = offsets
    tensor = Tensor(
        name, shape, dtype, functools.partial(_read, path, data + begin, name, shape, dtype)
    )
    if tensor.nbytes != end - begin:
        raise ConfigError(
            f"{where}: {list(shape)} of {kind} is {tensor.nbytes} bytes, and {end - begin} are set "
            "aside for it."
        )
    return tensor, begin, end


def _read(path: str, offset: int, name: str, shape: tuple, dtype: np.dtype) -> np.ndarray:
    with open_regular(path) as file:
        where = f"{path}: {name}"
        return filled(shape, dtype, lambda view: read_exactly(file, offset, view, where))
