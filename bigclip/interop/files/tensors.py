"""What an opened file of weights offers: names, shapes, dtypes; arrays when they are asked for."""

import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from bigclip.config import ConfigError

MAX_NAME_CHARACTERS = 1024  # of a tensor; real ones stay below 150
MAX_TENSORS = 200_000  # in a file
_MAX_DIMENSIONS = 32  # numpy 1's limit, and far more than any weight has
MAX_LENGTH = 1 << 60  # sizes above it are lies, and their products would overflow

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = frozenset(
    np.dtype(dtype)
    for dtype in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
        *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
        *(ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2fnuz, ml_dtypes.float8_e8m0fnu),
    )
)


class Tensor:
    """An array in a file, described, not read.

    Attributes:
        name: as in the file.
        shape: as in the file.
        dtype: of numpy or, as bfloat16, of ml_dtypes; in the byte order of this machine.
    """

    __slots__ = ("_read", "dtype", "name", "shape")

    def __init__(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype, read: Callable[[], np.ndarray]
    ):
        self.name, self.shape, self.dtype, self._read = name, shape, dtype, read

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """Read the array into memory of its own; nothing is kept.

        Raises:
            ConfigError: if the file cannot be read any more, has been cut off or is damaged.
        """
        return self._read()

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {list(self.shape)}, {self.dtype})"


class Weights(Mapping[str, Tensor]):
    """The tensors of a file, or of the files of an index, in the file's order.

    Attributes:
        path: what was opened.
        metadata: strings that the file holds beside the tensors.
    """

    def __init__(self, path: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]):
        self.path, self.metadata, self._tensors = path, dict(metadata), dict(tensors)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Weights({self.path!r}, {len(self)} tensors)"


class Spec(NamedTuple):
    """What an array that is to be written will be."""

    shape: tuple[int, ...]
    dtype: np.dtype


def check_name(name: object, where: str) -> str:
    """Return the name of a tensor.

    Raises:
        ConfigError: if it is no text, empty, too long, holds what no terminal can show, or is made
            to be mistaken for a path outside of a folder.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where}: a tensor without a name.")
    if len(name) > MAX_NAME_CHARACTERS:
        raise ConfigError(
            f"{where}: the name of a tensor has {len(name)} characters, {name[:40]!r}...; more "
            f"than {MAX_NAME_CHARACTERS} are not read."
        )
    if not name.isprintable():
        raise ConfigError(f"{where}: the name of a tensor holds control characters: {name!r}.")
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise ConfigError(f"{where}: the name of a tensor looks like a path outside: {name!r}.")
    return name


def check_shape(shape: object, itemsize: int, where: str) -> tuple[int, ...]:
    """Return a shape as a tuple.

    Raises:
        ConfigError: if it is no list of sizes, or of more bytes than any machine has.
    """
    shape, size = check_lengths(shape, where), itemsize
    for length in shape:
        # An empty array, too, must not have axes whose product overflows.
        size *= max(length, 1)
        if size > MAX_LENGTH:
            raise ConfigError(f"{where}: claims a shape of more than {MAX_LENGTH} bytes.")
    return shape


def check_lengths(lengths: object, where: str) -> tuple[int, ...]:
    """Return the sizes or strides of axes as a tuple.

    Raises:
        ConfigError: if they are no list of numbers, negative, or larger than any file.
    """
    # Never printed: what stands here instead may be nested so deeply that str() gives up.
    if not isinstance(lengths, list | tuple) or len(lengths) > _MAX_DIMENSIONS:
        raise ConfigError(f"{where}: no shape, but something else or more than 32 axes.")
    # A bool is an int to isinstance.
    if any(type(length) is not int or not 0 <= length <= MAX_LENGTH for length in lengths):
        raise ConfigError(f"{where}: sizes of axes that are no numbers from 0 to {MAX_LENGTH}.")
    return tuple(lengths)


def check_count(count: int, where: str) -> None:
    """Raise ConfigError if a file holds no tensor, or more than any model has."""
    if not count:
        raise ConfigError(f"{where}: holds no tensors.")
    if count > MAX_TENSORS:
        raise ConfigError(f"{where}: holds {count} tensors; more than {MAX_TENSORS} are not read.")


def open_regular(path: str) -> BinaryIO:
    """Open a file to read, unbuffered: arrays are read by few large calls.

    Raises:
        ConfigError: if it does not exist, cannot be read, or is no regular file (a folder, a
            pipe, a device).
    """
    try:
        # Looked at first: to open a pipe waits for its other end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ConfigError(f"{path}: a file of weights is needed here, this is none.")
        return open(path, "rb", buffering=0)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: cannot be read: {error}.") from error


def read_exactly(file: BinaryIO, offset: int, view: memoryview, where: str) -> None:
    """Fill `view` (bytes) from `offset` of a file opened by `open_regular`.

    Raises:
        ConfigError: if the file ends before, or cannot be read.
    """
    try:
        file.seek(offset)
        done = 0
        while done < len(view):
            # One call reads at most 2 GiB on Linux.
            count = file.readinto(view[done : done + (1 << 30)])
            if not count:
                raise ConfigError(f"{where}: the file ends early; copy it again.")
            done += count
    except (OSError, OverflowError) as error:
        raise ConfigError(f"{where}: cannot be read: {error}.") from error


def bytes_of(array: np.ndarray) -> memoryview:
    """Look at the bytes of a contiguous array; dtypes of ml_dtypes have no buffer of their own."""
    return memoryview(array.reshape(-1).view(np.uint8))


def filled(
    shape: tuple[int, ...], dtype: np.dtype, fill: Callable[[memoryview], None]
) -> np.ndarray:
    """Make an array whose bytes a function fills in."""
    # numpy's bools must be 0 or 1, and a file's bytes may be anything.
    array = np.empty(shape, np.uint8 if dtype.kind == "b" else dtype)
    fill(bytes_of(array))
    return array.astype(bool) if dtype.kind == "b" else array
