"""Writes .safetensors files, one array at a time: the header fixes the place of each beforehand."""

import json
import os
from collections.abc import Iterable, Mapping

import numpy as np

from bigclip.config import ConfigError
from bigclip.interop.files.safetensors_reading import DTYPES
from bigclip.interop.files.streams import check_specs, expected, nbytes
from bigclip.interop.files.tensors import Spec, bytes_of

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_safetensors(
    path: str | os.PathLike,
    specs: Mapping[str, Spec],
    arrays: Iterable[tuple[str, np.ndarray]],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a new .safetensors file and bring it to the disk.

    Args:
        path: of the file; nothing may exist there.
        specs: name -> shape and dtype of every array.
        arrays: (name, array) in any order. One at a time is held in memory.
        metadata: strings that go into the header. `{"format": "pt"}` is what transformers asks for.

    Raises:
        ConfigError: if the file exists, the disk is too small, or a dtype has no name there.
        ValueError: if the arrays are not those announced.
    """
    specs = check_specs(path, specs, _NAMES, "safetensors")
    metadata = dict(metadata or {})
    if any(not isinstance(text, str) for pair in metadata.items() for text in pair):
        raise ConfigError(f"{path}: metadata of safetensors are strings, not {metadata}.")
    if "__metadata__" in specs:
        raise ConfigError(f"{path}: no tensor of safetensors can be named __metadata__.")
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    offsets, end = {}, 0
    # Widest first: so every array begins at a multiple of its item size.
    for name in sorted(specs, key=lambda name: (-specs[name].dtype.itemsize, name)):
        offsets[name], end = end, end + nbytes(specs[name])
        header[name] = {
            "dtype": _NAMES[specs[name].dtype],
            "shape": list(specs[name].shape),
            "data_offsets": [offsets[name], end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    try:
        file = open(path, "xb")  # noqa: SIM115 - closed below
    except FileExistsError as error:
        raise ConfigError(f"{path} exists: remove it, or write to another path.") from error
    with file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, array in expected(specs, arrays):
            file.seek(8 + len(text) + offsets[name])
            file.write(bytes_of(array))
            del array
        file.truncate(8 + len(text) + end)
        file.flush()
        os.fsync(file.fileno())
