"""Reads .npz files of numpy, without pickles, array by array."""

import functools
import io
import math

import numpy as np

from bigclip.config import ConfigError
from bigclip.interop.files.tensors import (
    BFLOAT16,
    DTYPES,
    Tensor,
    Weights,
    check_count,
    check_name,
    check_shape,
    filled,
)
from bigclip.interop.files.zips import Entry, zip_entries

_MAX_HEADER_BYTES = 10_000  # numpy's own limit: it reads the header as a Python literal
# Compressed weights keep more than half of their bytes. Zeros do not, so small files may claim a
# little more.
_MAX_RATIO = 100
_MAX_FREE_BYTES = 1 << 26
_OBJECTS = (
    "holds Python objects, which only a pickle can, and pickles of others are never executed. "
    "Where you trust the file, save its arrays anew: "
    "np.savez(new, **{k: v for k, v in np.load(path, allow_pickle=True).items() "
    "if v.dtype != object})"
)


def open_npz(path: str) -> Weights:
    """Read the headers of the arrays in an .npz file, stored or compressed.

    An array of two-byte voids is bfloat16: so numpy saves what it does not know, and so big_vision
    writes it.

    Raises:
        ConfigError: if an entry is no array of numbers, or its size is not what its header says.
    """
    entries = zip_entries(path)
    check_count(len(entries), path)
    stored = sum(entry.stored for entry in entries.values())
    claimed = sum(entry.size for entry in entries.values())
    if claimed > _MAX_RATIO * stored + _MAX_FREE_BYTES:
        raise ConfigError(
            f"{path}: claims {claimed} bytes compressed to {stored}, as no weights are. If you "
            "trust the file, save it anew with np.savez."
        )
    tensors = {}
    for entry in entries.values():
        if not entry.name.endswith(".npy"):
            raise ConfigError(f"{path}: {entry.name!r} is no array (.npy) as numpy writes it.")
        name = check_name(entry.name.removesuffix(".npy"), path)
        tensors[name] = _tensor(entry, name)
    return Weights(path, tensors, {})


def _tensor(entry: Entry, name: str) -> Tensor:
    where = f"{entry.path}: {name}"
    shape, fortran, kind, header_bytes = _header(entry, where)
    native = BFLOAT16 if kind.str[1:] == "V2" else kind.newbyteorder("=")
    if kind.hasobject:
        raise ConfigError(f"{where}: {_OBJECTS.replace('path', repr(entry.path))}.")
    if native not in DTYPES:
        raise ConfigError(
            f"{where}: its dtype is {str(kind)[:80]}, which no weights have; save it as float32."
        )
    shape = check_shape(shape, native.itemsize, where)
    size = math.prod(shape) * native.itemsize
    if header_bytes + size != entry.size:
        raise ConfigError(
            f"{where}: {list(shape)} of {native} is {size} bytes, and the file holds "
            f"{entry.size - header_bytes}; cut off or damaged."
        )
    swapped = not kind.isnative
    read = functools.partial(_read, entry, header_bytes, shape, native, fortran, swapped)
    return Tensor(name, shape, native, read)


def _header(entry: Entry, where: str) -> tuple[object, bool, np.dtype, int]:
    file = io.BytesIO(entry.read(_MAX_HEADER_BYTES))
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            parse = np.lib.format.read_array_header_1_0
        elif version == (2, 0):
            parse = np.lib.format.read_array_header_2_0
        else:
            raise ValueError(f"version {version} of the format is only for names of fields")
        shape, fortran, dtype = parse(file, max_header_size=_MAX_HEADER_BYTES)
    # numpy reads a Python literal and makes a dtype of it: what these raise for bytes that are
    # none is nowhere listed (SyntaxError, MemoryError for deep nesting, TypeError ...).
    except Exception as error:
        raise ConfigError(f"{where}: no header of an array: {str(error)[:200]}.") from error
    return shape, fortran, dtype, file.tell()


def _read(
    entry: Entry, skip: int, shape: tuple, dtype: np.dtype, fortran: bool, swapped: bool
) -> np.ndarray:
    def fill(view: memoryview) -> None:
        done = -skip  # negative while the header passes by
        for chunk in entry.chunks():
            piece = chunk[max(-done, 0) :]
            start = max(done, 0)
            view[start : start + len(piece)] = piece
            done += len(chunk)

    array = filled(shape[::-1] if fortran else shape, dtype, fill)
    if swapped:
        array.byteswap(inplace=True)
    return np.ascontiguousarray(array.T) if fortran and array.ndim > 1 else array
