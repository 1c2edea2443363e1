"""Writes ONNX files whose parameters stream: first their places, then the arrays in any order.

Protocol Buffers hold at most 2 GiB. Up to that, each file holds its parameters itself; above, all
files of the folder refer to one file beside them, so that nothing is stored twice.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bigclip.interop.files import Spec
from bigclip.interop.files.streams import check_specs, expected, nbytes
from bigclip.interop.files.tensors import bytes_of
from bigclip.interop.onnx_out import messages

DATA_FILE = "model.onnx_data"  # as optimum names it
MAX_FILE_BYTES = 2_000_000_000  # with room for the graph below 2 GiB
_PAGE_BYTES = 4096  # so that a runtime can map the arrays into memory
_DELIMITED = 2  # wire type of messages, texts and bytes


class Part(NamedTuple):
    """One .onnx file.

    Attributes:
        model: its message; its graph has no parameter.
        parameters: names of the parameters that it uses.
    """

    model: Any
    parameters: tuple[str, ...]


class _Place(NamedTuple):
    path: Path
    offset: int  # bytes


def write_models(
    folder: Path,
    parts: Mapping[str, Part],
    specs: Mapping[str, Spec],
    arrays: Iterable[tuple[str, np.ndarray]],
    *,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> None:
    """Write the .onnx files of a folder and bring them to the disk.

    Args:
        folder: exists.
        parts: file name -> what goes there.
        specs: parameter -> float32 and its shape; all that the parts use, and no more.
        arrays: (parameter, array) in any order, each once. One at a time is held in memory.
        max_file_bytes: where a part's parameters are larger, all go to `DATA_FILE`.

    Raises:
        ConfigError: if the disk is too small.
        ValueError: if the arrays are not those announced.
    """
    specs = check_specs(folder / DATA_FILE, specs, [np.dtype(np.float32)], "ONNX")
    largest = max(sum(nbytes(specs[name]) for name in part.parameters) for part in parts.values())
    layout = _in_each_file if largest <= max_file_bytes else _in_one_file
    places = layout(folder, parts, specs)
    files = {}
    try:
        for path in {place.path for found in places.values() for place in found}:
            files[path] = open(path, "r+b")  # noqa: SIM115 - closed below
        for name, array in expected(specs, arrays):
            data = bytes_of(array.astype("<f4", copy=False))
            for place in places[name]:
                files[place.path].seek(place.offset)
                files[place.path].write(data)
            del array, data
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    finally:
        for file in files.values():
            file.close()


def _in_each_file(
    folder: Path, parts: Mapping[str, Part], specs: Mapping[str, Spec]
) -> dict[str, list[_Place]]:
    """Write the files with holes for the arrays. Returns parameter -> the holes."""
    places: dict[str, list[_Place]] = {name: [] for name in specs}
    for file_name, part in parts.items():
        graph = part.model.graph.SerializeToString()
        heads, size = {}, len(graph)
        for name in part.parameters:
            spec = specs[name]
            # The fields of a message may come in any order: the data come last.
            head = messages.tensor(name, spec.shape, spec.dtype).SerializeToString()
            head += _prefix(messages.RAW_DATA_FIELD, nbytes(spec))
            heads[name] = _prefix(messages.INITIALIZER_FIELD, len(head) + nbytes(spec)) + head
            size += len(heads[name]) + nbytes(spec)
        rest = type(part.model)()
        rest.CopyFrom(part.model)
        rest.ClearField("graph")
        with open(folder / file_name, "xb") as file:
            file.write(rest.SerializeToString() + _prefix(messages.GRAPH_FIELD, size) + graph)
            for name, head in heads.items():
                file.write(head)
                places[name].append(_Place(folder / file_name, file.tell()))
                file.seek(nbytes(specs[name]), os.SEEK_CUR)
            file.truncate()
    return places


def _in_one_file(
    folder: Path, parts: Mapping[str, Part], specs: Mapping[str, Spec]
) -> dict[str, list[_Place]]:
    """Write the files, which refer to `DATA_FILE`. Returns parameter -> its place there."""
    places, end = {}, 0
    for name, spec in specs.items():
        places[name] = [_Place(folder / DATA_FILE, end)]
        end += -(-nbytes(spec) // _PAGE_BYTES) * _PAGE_BYTES
    for file_name, part in parts.items():
        whole = type(part.model)()
        whole.CopyFrom(part.model)
        for name in part.parameters:
            where = {
                "location": DATA_FILE,
                "offset": str(places[name][0].offset),
                "length": str(nbytes(specs[name])),
            }
            entries = [messages.message("Entry", key=key, value=where[key]) for key in where]
            spec = specs[name]
            whole.graph.initializer.append(
                messages.tensor(
                    name,
                    spec.shape,
                    spec.dtype,
                    external_data=entries,
                    data_location=messages.EXTERNAL,
                )
            )
        with open(folder / file_name, "xb") as file:
            file.write(whole.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
    with open(folder / DATA_FILE, "xb") as file:
        file.truncate(end)
    return places


def _prefix(field: int, size: int) -> bytes:
    """What stands before `size` bytes of a field: its number and type, then the size."""
    return _varint(field << 3 | _DELIMITED) + _varint(size)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
