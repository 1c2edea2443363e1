"""Writes state dicts that torch.load(weights_only=True) reads, without torch.

The archive is a zip of uncompressed files: `data.pkl`, written by hand in pickle's protocol 2,
names each tensor's shape and storage; each storage is one file, aligned to 64 bytes so that torch
can map it into memory (`mmap=True`).
"""

import os
import struct
import zipfile
from collections.abc import Iterable, Mapping
from typing import BinaryIO

import numpy as np

from bigclip.config import ConfigError
from bigclip.interop.files.streams import check_specs, expected, nbytes
from bigclip.interop.files.tensors import Spec, bytes_of
from bigclip.interop.files.torch_names import DTYPES

_STORAGES = {dtype: storage for storage, dtype in DTYPES.values() if storage}
_FOLDER = "weights"
_ALIGNMENT = 64
_HEADER_BYTES = 30  # of an entry, before its name
# 64-bit sizes need a field of their own; zipfile would write it by itself from 2 GiB on.
_WIDE_FROM = 1 << 30
_WIDE_BYTES = 20


def write_torch(
    path: str | os.PathLike, specs: Mapping[str, Spec], arrays: Iterable[tuple[str, np.ndarray]]
) -> None:
    """Write a new state dict for torch, and bring it to the disk.

    Args:
        path: of the file; nothing may exist there.
        specs: name -> shape and dtype of every array, in the order of the state dict.
        arrays: (name, array) in any order. One at a time is held in memory.

    Raises:
        ConfigError: if the file exists, the disk is too small, or torch has no storage of a dtype.
        ValueError: if the arrays are not those announced.
    """
    specs = check_specs(path, specs, _STORAGES, "an archive of torch")
    keys = {name: str(number) for number, name in enumerate(specs)}
    try:
        file = open(path, "xb")  # noqa: SIM115 - closed below
    except FileExistsError as error:
        raise ConfigError(f"{path} exists: remove it, or write to another path.") from error
    with file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            _write(archive, file, "data.pkl", _pickled(specs, keys))
            _write(archive, file, "byteorder", b"little")
            for name, array in expected(specs, arrays):
                _write(archive, file, f"data/{keys[name]}", bytes_of(array))
                del array
            _write(archive, file, "version", b"3\n")
        file.flush()
        os.fsync(file.fileno())


def _write(archive: zipfile.ZipFile, file: BinaryIO, name: str, content: memoryview | bytes):
    info = zipfile.ZipInfo(f"{_FOLDER}/{name}")
    wide = len(content) >= _WIDE_FROM
    # A field of zeros in the entry's header fills up to the alignment; "FB" is torch's own mark.
    start = file.tell() + _HEADER_BYTES + len(info.filename) + (_WIDE_BYTES if wide else 0) + 4
    info.extra = b"FB" + struct.pack("<H", -start % _ALIGNMENT) + bytes(-start % _ALIGNMENT)
    with archive.open(info, "w", force_zip64=wide) as entry:
        if file.tell() % _ALIGNMENT:
            raise AssertionError(f"{name} begins at byte {file.tell()}")
        entry.write(content)


def _pickled(specs: Mapping[str, Spec], keys: Mapping[str, str]) -> bytes:
    """Pickle an ordered dict of tensors as torch does."""
    ordered = b"ccollections\nOrderedDict\n)R"
    parts = [b"\x80\x02", ordered, b"("]
    for name, spec in specs.items():
        strides = [int(np.prod(spec.shape[axis + 1 :])) for axis in range(len(spec.shape))]
        length = nbytes(spec) // spec.dtype.itemsize
        parts += [
            _text(name),
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            _text("storage"),
            f"ctorch\n{_STORAGES[spec.dtype]}Storage\n".encode(),
            _text(keys[name]),
            _text("cpu"),
            _number(length),
            b"tQ",
            _number(0),
            _numbers(spec.shape),
            _numbers(strides),
            b"\x89",  # needs no gradient
            ordered,  # of hooks: none
            b"tR",
        ]
    return b"".join((*parts, b"u."))


def _text(text: str) -> bytes:
    content = text.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def _number(value: int) -> bytes:
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)


def _numbers(values: Iterable[int]) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"
