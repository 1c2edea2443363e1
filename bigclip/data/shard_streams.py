"""Tar shards that are read from front to back, as from a bucket, where random access is slow.

The shards form one endless sequence: epoch after epoch all of them, each epoch in an order of its
own. A fixed number S of virtual streams shares it: stream i reads number i, i + S, i + 2 S, ... of
the sequence. So every shard is read once an epoch, and what a stream reads does not depend on how
many hosts or workers there are; they only divide the streams among themselves.

Within a stream, records pass a shuffle window: so many records at a time are read and given out
in random order. Where a stream stands is said by three numbers: which of its shards, at which byte
its window begins, and how many of the window's records are out. With them a run goes on at the
very next record, on any number of hosts, at the cost of reading one window again.
"""

import functools
import itertools
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.buffered_file import BufferedFile
from bigclip.data.files import Files
from bigclip.data.order import Stream, permutation
from bigclip.data.records import BadRecord, Record
from bigclip.data.shard_paths import expand_shards, near_path
from bigclip.data.shard_samples import read_samples
from bigclip.data.tar_members import TarError

_SAMPLED_SHARDS = 16
_SAMPLED_RECORDS = 32  # of a shard, for their mean size


class Place(NamedTuple):
    """Where a stream goes on."""

    shard: int  # how many shards it has behind it
    offset: int  # of the next sample in the shard, in bytes


_SHARD_SHIFT = 40  # a shard is smaller than a terabyte


def record_number(shard: int, offset: int) -> int:
    """Return the number of a streamed record: its shard's << 40 | the byte where it begins."""
    return shard << _SHARD_SHIFT | offset


def record_place(number: int) -> tuple[int, int]:
    """Return the shard and the byte of a record's number."""
    return number >> _SHARD_SHIFT, number & (1 << _SHARD_SHIFT) - 1


class ShardStreams:
    """A streamed source: the shards, and how they are shared out. Holds no position.

    Attributes:
        shards: paths and URLs.
        caption_key: field of the .json that holds captions.
        num_streams: S, at most.
        shuffle_window: records in all windows together.
        num_records: how many records there are, if the user told.
    """

    def __init__(
        self,
        shards,
        *,
        caption_key: str = "captions",
        num_streams: int = 512,
        shuffle_window: int = 32_768,
        num_records: int | None = None,
    ):
        """Expand the patterns; nothing is read yet.

        Args:
            shards: as in `WebDataset`.
            caption_key: as in `WebDataset`.
            num_streams: into how many streams the shards are divided, at most. It bounds the
                number of hosts, and is part of the order: a run keeps what it began with.
            shuffle_window: among how many records is shuffled, over all streams and hosts. Up to
                one and a half times as many lie in memory, encoded. Of a small data set, no
                more than it has.
            num_records: for schedules in epochs; the tars do not tell it without being read.

        Raises:
            ConfigError: if a pattern matches nothing, or a number makes no sense.
        """
        for name, value in (("num_streams", num_streams), ("shuffle_window", shuffle_window)):
            if value < 1:
                raise ConfigError(f"config.data.source.{name} must be at least 1, not {value}")
        self.shards = expand_shards(shards)
        self.caption_key = caption_key
        self.num_streams = num_streams
        self.shuffle_window = shuffle_window
        self.num_records = num_records

    def __repr__(self) -> str:
        return f"ShardStreams({len(self.shards)} shards)"

    def shard(self, number: int, *, seed: int) -> int:
        """Return which shard stands at a place of the endless sequence."""
        epoch, place = divmod(number, len(self.shards))
        return int(_epoch_order(len(self.shards), seed, epoch)[place])

    def sample(self, num: int) -> Iterator[Record | BadRecord]:
        """Go through up to `num` records from shards all over the list, for a first look.

        Raises:
            ConfigError: if one of these shards does not exist or cannot be read.
        """
        chosen = self._spread(max(_SAMPLED_SHARDS, num // 1000))
        files = Files()
        for left, path in zip(range(len(chosen), 0, -1), chosen, strict=True):
            share = -(-num // left)
            try:
                file = BufferedFile(files, path)
                samples = read_samples(file, path, caption_key=self.caption_key)
                for sample in itertools.islice(samples, share):
                    yield sample.found
                    num -= 1
            except FileNotFoundError:
                message = f"source.shards: {path}: No such file{near_path(path)}"
                raise ConfigError(message) from None
            except OSError as error:
                raise ConfigError(f"source.shards: {path} cannot be read: {error}") from None
            except TarError as error:
                yield BadRecord(os.path.basename(path), "broken_shard", str(error))
            if num <= 0:
                return

    def estimate_records(self) -> int:
        """Estimate how many records there are, by the sizes of some shards and records."""
        if self.num_records is not None:
            return self.num_records
        files, found = Files(), []
        paths = self._spread(_SAMPLED_SHARDS)
        for path in paths:
            try:
                file = BufferedFile(files, path)
                samples = read_samples(file, path, caption_key=self.caption_key)
                first = list(itertools.islice(samples, _SAMPLED_RECORDS))
            except (OSError, TarError):
                continue  # `sample` tells of it
            if first and first[-1].end:
                found.append(len(first) * file.size / first[-1].end)
        return round(len(self.shards) * float(np.mean(found))) if found else 0

    def _spread(self, at_most: int) -> list[str]:
        """Choose shards from the first to the last, evenly, none twice."""
        count = min(len(self.shards), at_most)
        numbers = {round(i * (len(self.shards) - 1) / max(count - 1, 1)) for i in range(count)}
        return [self.shards[number] for number in sorted(numbers)]


# Written out and shared by all streams: Grain's formula, made for millions of records, takes
# milliseconds a number where there are few.
@functools.lru_cache(maxsize=32)
def _epoch_order(num_shards: int, seed: int, epoch: int) -> np.ndarray:
    return permutation(num_shards, seed, epoch, Stream.ORDER)
