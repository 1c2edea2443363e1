"""The records behind the rows of a run's batches, found again, for tools that show or time them.

A batch carries numbers of records, not their keys and texts, which training has no use for. But
what stands in a row is a pure function of the seed and the row's place, so all of it can be made
again from the record.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from bigclip.config import ConfigError
from bigclip.data.buffered_file import BufferedFile
from bigclip.data.files import Files
from bigclip.data.interleave import Interleave
from bigclip.data.order import order_of
from bigclip.data.pipeline import Pipeline, read_pipeline
from bigclip.data.records import BadRecord, Record
from bigclip.data.shard_samples import read_samples
from bigclip.data.shard_streams import record_place
from bigclip.data.sources import Source
from bigclip.data.stream_mixture import StreamMixture

_AHEAD_BYTES = 64 << 10  # of a shard of which one sample is wanted


class Run(NamedTuple):
    """The data of a run, opened, and what shapes its batches.

    Attributes:
        pipeline: the data.
        batch_size: B.
        seed: of the order, the augmentation and the choice of captions.
    """

    pipeline: Pipeline
    batch_size: int
    seed: int


def open_run(config: Mapping[str, Any] | None) -> Run:
    """Open the data of a whole configuration, for a command that looks at the data alone.

    Args:
        config: of the flag --config.

    Raises:
        ConfigError: for a mistake in the configuration's data, or if there is none.
    """
    if config is None:
        raise ConfigError("--config is missing: a file such as configs/quickstart.py.")
    batch_size, seed = config.get("batch_size"), config.get("seed", 0)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"config.batch_size must be a positive integer, not {batch_size!r}.")
    return Run(read_pipeline(config), batch_size, seed)


class RunRecords:
    """Says at which position of the global stream a row stands, and reads its record."""

    def __init__(self, source: Source | StreamMixture, *, batch_size: int, seed: int):
        """Take the arguments of `open_batches`; nothing is read."""
        self._source = source
        self._batch_size = batch_size
        self._files = Files()
        if isinstance(source, StreamMixture):
            self._num_streams = source.begin(batch_size=batch_size).num_streams
            self._interleave = Interleave(source.weights)
        else:
            self.order = order_of(source, seed=seed)

    def position(self, batch: int, row: int) -> int:
        """Return the position of a row of the global batch, in a run that began with batch 0."""
        if not isinstance(self._source, StreamMixture):
            return batch * self._batch_size + row
        rows_per_stream = self._batch_size // self._num_streams
        stream, place = divmod(row, rows_per_stream)
        return (batch * rows_per_stream + place) * self._num_streams + stream

    def shares(self, at_least: int) -> int:
        """Return into how many blocks the batch can be cut at most, each of so many rows."""
        whole = self._batch_size
        if isinstance(self._source, StreamMixture):
            whole = self._num_streams
        counts = (n for n in range(1, whole + 1) if whole % n == 0)
        return max((n for n in counts if self._batch_size // n >= at_least), default=1)

    def read(self, number: int, position: int) -> Record:
        """Read the record of a row, as the run has read it.

        Args:
            number: from the batch's array "record".
            position: of the row; it tells the part of a streamed mixture.

        Raises:
            OSError: if it cannot be read, or has changed meanwhile.
        """
        try:
            if not isinstance(self._source, StreamMixture):
                return self._source[int(number)]
            return self._read_streamed(int(number), position)
        except BadRecord as error:
            raise OSError(f"{error.key} has changed since it was read: {error.reason}") from error

    def _read_streamed(self, number: int, position: int) -> Record:
        source = self._source.sources[self._interleave.part(position)]
        shard, start = record_place(number)
        path = source.shards[shard]
        file = BufferedFile(self._files, path, ahead_bytes=_AHEAD_BYTES)
        sample = next(read_samples(file, path, caption_key=source.caption_key, start=start), None)
        if sample is None:
            raise OSError(f"{os.path.basename(path)} has no sample at byte {start} any more")
        if isinstance(sample.found, BadRecord):
            raise sample.found
        return self._source.filter(sample.found) if self._source.filter else sample.found
