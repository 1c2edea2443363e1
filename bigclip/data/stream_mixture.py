"""Streamed shards as a run sees them: one source or several, by weight, and where it begins."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.filters import Filter, Rejected
from bigclip.data.records import BadRecord, Record
from bigclip.data.shard_streams import ShardStreams


class StreamPosition(NamedTuple):
    """Where a run stands in its streams; the same on every process.

    Attributes:
        source: identifies what the streams run through.
        num_streams: S.
        taken: how many records each stream has given out.
        windows: of each part, the records of a stream's window.
        places: int64 [parts, S, 2]: of each part of each stream, the `Place` where the window
            begins that holds the next record.
    """

    source: str
    num_streams: int
    taken: int
    windows: Sequence[int]
    places: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: some ten bytes a stream."""
        return {**self._asdict(), "places": self.places.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "StreamPosition":
        """Make the position that `to_dict` described."""
        return cls(**{**data, "places": np.array(data["places"], np.int64)})


class StreamMixture:
    """Streamed sources, each with its weight; most often it is just one.

    Attributes:
        names: of the sources.
        sources: the sources, in this order.
        weights: how often each is drawn from, in any units.
        filter: which records are used.
    """

    def __init__(
        self,
        sources: Mapping[str, ShardStreams],
        weights: Sequence[float] = (1.0,),
        *,
        filter: Filter | None = None,
    ):
        self.names = tuple(sources)
        self.sources = tuple(sources.values())
        self.weights = tuple(weights)
        self.filter = filter

    def __repr__(self) -> str:
        parts = zip(self.weights, self.sources, strict=True)
        return " + ".join(f"{weight:g} x {source!r}" for weight, source in parts)

    def filtered(self, filter: Filter) -> "StreamMixture":
        """Return the same streams with a filter."""
        return StreamMixture(
            dict(zip(self.names, self.sources, strict=True)), self.weights, filter=filter
        )

    @property
    def num_records(self) -> int | None:
        """How many records there are, if all sources know."""
        counts = [source.num_records for source in self.sources]
        return None if None in counts else sum(counts)

    def sample(self, num: int) -> Iterator[Record | BadRecord]:
        """Go through up to `num` records from all over, without those that are filtered out.

        Raises:
            ConfigError: if a shard that should be there cannot be read.
        """
        share = -(-num // len(self.sources))
        for source in self.sources:
            for found in source.sample(share):
                if isinstance(found, BadRecord) or not self.filter:
                    yield found
                    continue
                try:
                    yield self.filter(found)
                except Rejected:
                    continue
                except BadRecord as error:
                    yield error

    def sample_records(self, num: int) -> Iterator[Record]:
        """Go through up to `num` good records; errors as `sample`."""
        return (found for found in self.sample(num) if isinstance(found, Record))

    def begin(self, *, batch_size: int) -> StreamPosition:
        """Return the position of a run that begins.

        The number of streams is the largest divisor of the batch that is allowed and needs no
        more shards than the smallest source has. A look at some shards tells how large windows
        may be.
        """
        most = min(min(source.num_streams, len(source.shards)) for source in self.sources)
        num_streams = max(n for n in range(1, min(most, batch_size) + 1) if batch_size % n == 0)
        windows = []
        for source, weight in zip(self.sources, self.weights, strict=True):
            # A window over several epochs would bring the same record twice at once.
            share = weight / sum(self.weights)
            most = min(source.shuffle_window * share, source.estimate_records())
            windows.append(max(1, round(most / num_streams)))
        places = np.zeros((len(self.sources), num_streams, 2), np.int64)
        return StreamPosition(self._identity(), num_streams, 0, windows, places)

    def check(self, position: StreamPosition, *, batch_size: int, process_count: int) -> None:
        """Check that a run can go on, or begin, at a position.

        Raises:
            ConfigError: if the shards are others than those of the position, or if the streams
                cannot be divided among the processes or the batch among the streams.
        """
        if position.source != self._identity():
            raise ConfigError(
                "config.data.source: the shards are not those with which this run began (files "
                "came or went, or a setting changed); bring them back, or begin a new run with "
                "config.init_from"
            )
        count = position.num_streams
        if batch_size % count:
            raise ConfigError(
                f"config.batch_size = {batch_size} is no multiple of the {count} streams with "
                "which this run reads its shards; choose a multiple"
            )
        if count % process_count:
            raise ConfigError(
                f"config.data.source: {count} streams cannot be shared evenly by {process_count} "
                "processes. Their number is the largest divisor of config.batch_size that is no "
                "larger than config.data.source.num_streams and the number of shards: make all "
                "three multiples of the number of processes (write more, smaller shards if need "
                "be), or read at random (access='random')"
            )

    def _identity(self) -> str:
        told = [
            [source.shards, source.shuffle_window, source.caption_key, weight]
            for source, weight in zip(self.sources, self.weights, strict=True)
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
