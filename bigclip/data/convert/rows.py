"""What a conversion reads: numbered rows, to be cut into pieces.

A `Rows` stays in the process that plans; a piece of it is sent to the process that makes the
shard, and reads the pictures only there.
"""

import concurrent.futures
import functools
import itertools
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from bigclip.config import ConfigError
from bigclip.data.files import Files, is_url
from bigclip.data.records import BadRecord, Record
from bigclip.data.workers import start_worker

_MANY_SOURCES = 64  # fewer are counted before a process has started

Piece = Callable[[], Iterator[Record | BadRecord]]


class Rows(Protocol):
    """The rows of an input, in a fixed order.

    Attributes:
        files: what is read; when one of them changes, a conversion cannot be continued.
        lost: what is bad and has no row: half samples of tars, torn lines of a table.
    """

    files: list[str]
    lost: list[BadRecord]

    def __len__(self) -> int: ...

    def piece(self, start: int, stop: int) -> Piece:
        """Return what reads rows start .. stop - 1; can be pickled, and is small."""


class SourceRows:
    """The records of one of `bigclip.data.sources` for each file, opened where it is read."""

    def __init__(
        self,
        source_type: type,
        options: Iterable[Mapping[str, Any]],
        files: list[str],
        *,
        num_workers: int = 1,
    ):
        """Open each once, to count.

        Args:
            source_type: of the sources.
            options: keyword arguments of each.
            files: as in `Rows`.
            num_workers: processes that count, if there is much to count.

        Raises:
            ConfigError: if one cannot be opened.
        """
        self.files = files
        self.lost: list[BadRecord] = []
        self._type = source_type
        self._options = list(options)
        counts = []
        for count, lost in _count_all(source_type, self._options, num_workers):
            counts.append(count)
            self.lost += lost
        self._ends = list(itertools.accumulate(counts))

    def __len__(self) -> int:
        return self._ends[-1]

    def piece(self, start: int, stop: int) -> Piece:
        """See `Rows`."""
        parts = [
            (json.dumps(self._options[number]), *span)
            for number, *span in spans(self._ends, start, stop)
        ]
        return functools.partial(_read_sources, self._type, parts)


def spans(ends: list[int], start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Find rows start .. stop - 1 in parts that end at `ends`: (part, first, last + 1) each."""
    begin = 0
    for number, end in enumerate(ends):
        if begin < stop and start < end:
            yield number, max(start, begin) - begin, min(stop, end) - begin
        begin = end


def file_identities(paths: Iterable[str]) -> list[list]:
    """Path, size in bytes and time of change of files, to see later whether they are the same.

    Of a URL, the time stays unknown: not every server tells it.
    """
    identities, files = [], Files()
    for path in paths:
        if is_url(path):
            identities.append([path, files.size(path), 0])
            continue
        try:
            status = os.stat(path)
        except OSError as error:
            raise ConfigError(f"--input: {path}: {error.strerror}") from None
        identities.append([os.path.abspath(path), status.st_size, status.st_mtime_ns])
    return identities


def _count_all(source_type: type, options: list, num_workers: int):
    count = functools.partial(_count, source_type)
    if num_workers == 1 or len(options) < _MANY_SOURCES:
        return map(count, options)
    # Reading the headers of a tar of 10,000 samples takes 0.15 s: half an hour for 10,000 tars.
    with concurrent.futures.ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
        initargs=(0, num_workers),
    ) as pool:
        return list(pool.map(count, options, chunksize=8))


def _count(source_type: type, options: Mapping[str, Any]) -> tuple[int, list[BadRecord]]:
    source = source_type(**options)
    return len(source), _lost_of(source)


def _lost_of(source) -> list[BadRecord]:
    lost = []
    for fault in getattr(source, "faults", ()):
        place, _, reason = fault.partition(": ")
        is_end = reason.startswith("at byte") or "cut off" in reason
        lost.append(BadRecord(place, "broken_shard" if is_end else "incomplete_sample", reason))
    # A source names only so many; the others count, too.
    num_unnamed = getattr(source, "num_lost", 0) - len(lost)
    return lost + num_unnamed * [BadRecord(str(source), "incomplete_sample", "not named")]


@functools.lru_cache(maxsize=4)  # the next piece often begins where this one ended
def _opened(source_type: type, options: str):
    return source_type(**json.loads(options))


def _read_sources(source_type: type, parts: list[tuple[str, int, int]]):
    for options, first, end in parts:
        source = _opened(source_type, options)
        for row in range(first, end):
            try:
                yield source[row]
            except BadRecord as error:
                yield error
