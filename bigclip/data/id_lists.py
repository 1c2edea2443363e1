"""Lists of ids, as large as data sets come: 16 bytes an id, looked up by bisection."""

import gzip
import hashlib
import os
import string
import tempfile
import weakref
import zlib
from collections.abc import Iterable

import numpy as np

from bigclip.config import ConfigError

_BYTES = 16
# More than this is not put into a pickle: every worker process would get a copy of its own.
_MAX_PICKLED_BYTES = 1 << 20


def id_number(text: str) -> bytes:
    """Turn an id into 16 bytes: its value, if it is 32 hexadecimal digits, else its hash.

    DataComp's uids are 32 such digits, and its lists hold their values (arXiv 2304.14108,
    section 3.2 and its repository), so that the same number comes of both.
    """
    if len(text) == 2 * _BYTES and not text.strip(string.hexdigits):
        return bytes.fromhex(text)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()


class IdList:
    """A set of ids; `id in ids`.

    It can be pickled: a large one travels as the path of a temporary file that the processes of
    this machine map into memory together, and that goes away with the list that was read.

    Attributes:
        numbers: uint64 [2, n], the halves of the ids' numbers, ascending and without repeats.
    """

    def __init__(self, numbers: np.ndarray):
        """Take `numbers` as they are; `read` and `of` make them."""
        self.numbers = np.asarray(numbers)  # a memory map's rows are slow to take, a view's not
        self._file: _SharedFile | None = None
        self._path: str | None = None  # of a file with the numbers, whoever owns it

    @classmethod
    def of(cls, ids: Iterable[str]) -> "IdList":
        """Make a list of texts."""
        buffer = bytearray()
        for text in ids:
            buffer += id_number(text)
        halves = np.frombuffer(buffer, ">u8").reshape(-1, 2).T
        return cls(_sorted(*halves.astype(np.uint64)))

    @classmethod
    def read(cls, path: str, *, key: str) -> "IdList":
        """Read a file.

        Args:
            path: .npy of dtype "u8,u8" (DataComp's: the halves of 128-bit uids), of integers or
                of texts; any other name is text, one id a line, gzip if it ends in .gz. Blank
                lines and spaces around an id are passed over.
            key: the configuration's key, for messages.

        Raises:
            ConfigError: if it cannot be read, or holds something else.
        """
        path = os.path.expanduser(path)
        try:
            if path.endswith(".npy"):
                return cls._from_array(np.load(path, mmap_mode="r", allow_pickle=False))
            opener = gzip.open if path.endswith(".gz") else open
            with opener(path, "rt", encoding="utf-8-sig") as file:
                return cls.of(line for line in map(str.strip, file) if line)
        except OSError as error:
            raise ConfigError(
                f"{key}: {path} cannot be read ({error.strerror or error}); give the path of an "
                "id list"
            ) from None
        except (ValueError, EOFError, zlib.error) as error:
            raise ConfigError(
                f"{key}: {path} is no id list ({error}); it must be text in UTF-8, one id a line "
                '(.gz may be compressed), or a .npy of dtype "u8,u8", of integers or of texts'
            ) from None

    @classmethod
    def _from_array(cls, ids: np.ndarray) -> "IdList":
        if ids.ndim != 1:
            raise ValueError(f"its shape is {ids.shape}")
        if ids.dtype.names is not None and len(ids.dtype.names) == 2:
            halves = [ids[name] for name in ids.dtype.names]
            if all(half.dtype.kind == "u" and half.dtype.itemsize == 8 for half in halves):
                return cls(_sorted(*(half.astype(np.uint64) for half in halves)))
        if ids.dtype.kind in "iuU":
            return cls.of(str(one).strip() for one in ids)
        if ids.dtype.kind == "S":
            return cls.of(one.decode("utf-8").strip() for one in ids)
        raise ValueError(f"its dtype is {ids.dtype}")

    def __len__(self) -> int:
        return self.numbers.shape[1]

    def __contains__(self, text: str) -> bool:
        number = id_number(text)
        upper, lower = (np.uint64(int.from_bytes(half)) for half in (number[:8], number[8:]))
        uppers, lowers = self.numbers
        begin = int(np.searchsorted(uppers, upper))
        if begin == len(uppers) or uppers[begin] != upper:
            return False
        end = int(np.searchsorted(uppers, upper, side="right"))
        place = begin + int(np.searchsorted(lowers[begin:end], lower))
        return place < end and bool(lowers[place] == lower)

    def __getstate__(self) -> np.ndarray | str:
        if self.numbers.nbytes <= _MAX_PICKLED_BYTES:
            return self.numbers
        if self._path is None:
            self._file = _SharedFile(self.numbers)
            self._path = self._file.path
        return self._path

    def __setstate__(self, state: np.ndarray | str):
        if isinstance(state, str):
            self.__init__(np.load(state, mmap_mode="r"))
            self._path = state
        else:
            self.__init__(state)


class _SharedFile:
    """An array in a temporary .npy that is removed with this object, or with the program."""

    def __init__(self, array: np.ndarray):
        handle, self.path = tempfile.mkstemp(prefix="bigclip-ids-", suffix=".npy")
        weakref.finalize(self, _remove, self.path, os.getpid())
        with os.fdopen(handle, "wb") as file:
            np.save(file, array)


def _remove(path: str, owner: int):
    # A forked worker inherits this object; the file is its parent's.
    if os.getpid() == owner:
        os.unlink(path)


def _sorted(uppers: np.ndarray, lowers: np.ndarray) -> np.ndarray:
    """Put halves uint64 [n] each in order: uint64 [2, n], without repeats."""
    order = np.lexsort((lowers, uppers))
    numbers = np.stack([uppers[order], lowers[order]])
    fresh = np.ones(len(order), bool)
    fresh[1:] = (numbers[:, 1:] != numbers[:, :-1]).any(axis=0)
    return numbers if fresh.all() else numbers[:, fresh]
