"""The work of making batches from streamed shards, cut into pieces.

Every batch takes the same number of rows from each virtual stream, one stream after the other. A
process has a block of rows, so a block of streams; a worker always has the same ones of them.
"""

import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bigclip.data.examples import ExampleMaker, chunk_size
from bigclip.data.interleave import Interleave, StridedCount
from bigclip.data.notes import Notes
from bigclip.data.order import Stream, part_seed, position_rng
from bigclip.data.shard_streams import Place
from bigclip.data.stream_mixture import StreamMixture, StreamPosition
from bigclip.data.stream_reader import StreamReader

_READING_THREADS = 16  # they wait for disks and servers


class StreamChunks:
    """Number of a piece -> its examples; what threads and workers run. Can be pickled.

    Attributes:
        chunks_per_batch: pieces of a batch, a multiple of the number of workers.
        row_order: those of them that hold examples, in the order of their rows.
    """

    def __init__(
        self,
        source: StreamMixture,
        *,
        maker: ExampleMaker,
        start: StreamPosition,
        start_batch: int,
        streams: range,
        rows_per_stream: int,
        num_workers: int,
    ):
        """Share out the work of one process.

        Args:
            source: the shards.
            maker: makes examples of them; its seed is that of the order, too.
            start: where the streams stand at `start_batch`.
            start_batch: the first batch that will be asked for.
            streams: those of this process.
            rows_per_stream: how many rows of a batch each stream gives.
            num_workers: between which the pieces will be dealt out in turn.
        """
        self._sources = source.sources
        self._interleave = Interleave(source.weights)
        self._filter = source.filter
        self._maker = maker
        self._start = start
        self._start_batch = start_batch
        self._streams = streams
        self._rows = rows_per_stream
        self._chunk = chunk_size(rows_per_stream)
        # Piece by piece through all streams, with idle ones at the end, so that number modulo
        # workers is the same for all pieces of a stream.
        self._slots = -(-len(streams) // max(1, num_workers)) * max(1, num_workers)
        self._pieces = rows_per_stream // self._chunk
        self.chunks_per_batch = self._pieces * self._slots
        self.row_order = tuple(
            piece * self._slots + slot
            for slot in range(len(streams))
            for piece in range(self._pieces)
        )
        self._open_readers()

    def _open_readers(self) -> None:
        self._lock = threading.Lock()
        self._readers: dict[tuple[int, int], StreamReader] = {}
        self._counts: dict[int, StridedCount] = {}
        self._pool = None

    def __getstate__(self) -> dict[str, Any]:
        dropped = {"_lock": None, "_readers": None, "_counts": None, "_pool": None}
        return {**self.__dict__, **dropped}

    def __setstate__(self, state: dict[str, Any]):
        self.__dict__.update(state)
        self._open_readers()

    def __call__(self, number: int) -> dict[str, np.ndarray]:
        """Make a piece; those of a stream are asked for once each, in about their order.

        Returns:
            As `ExampleMaker.chunk`, and place int64 [parts, 2]: where the stream then stands. An
            idle piece has no rows.
        """
        batch, part = divmod(number, self.chunks_per_batch)
        piece, slot = divmod(part, self._slots)
        if slot >= len(self._streams):
            return {"notes": Notes().to_array()}
        stream = self._streams[slot]
        first = self._taken_before(batch) + piece * self._chunk
        # The next record of all streams, taken in turn, is position n * S + stream: a formula in
        # which no host and no batch size occurs, and in which mixtures keep their weights.
        positions = [(first + row) * self._start.num_streams + stream for row in range(self._chunk)]
        parts = [self._interleave.part(position) for position in positions]
        queues, places = [], np.zeros((len(self._sources), 2), np.int64)
        for index in range(len(self._sources)):
            begin = self._taken(index, stream, first)
            taken, places[index] = self._reader(index, stream).take(begin, parts.count(index))
            queues.append(iter(taken))
        rows = [next(queues[part]) for part in parts]

        def candidate(row: int, attempt: int):
            taken = rows[row]
            if not attempt:
                return taken.id, lambda: taken.record
            rng = position_rng(self._maker.seed, positions[row] << 5 | attempt, Stream.SUBSTITUTE)
            reader = self._reader(parts[row], stream)
            number, record = reader.substitute(taken, attempt, rng)
            return number, lambda: record

        new = [taken.window for taken in rows if taken.first]
        rejected: dict[str, int] = {}
        for window in new:
            for rule, count in window.rejected.items():
                rejected[rule] = rejected.get(rule, 0) + count
        bad = [error for window in new for error in window.bad]
        read = sum(len(window.records) for window in new)
        notes = Notes(read, bad, rejected)
        made = self._maker.chunk(positions, candidate, notes=notes)
        return {**made, "place": places}

    def places(self, chunks: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
        """Return where the streams of this process stand after a batch.

        Args:
            chunks: its pieces, by `row_order`.

        Returns:
            int64 [parts, streams, 2].
        """
        return np.stack([chunk["place"] for chunk in chunks[self._pieces - 1 :: self._pieces]], 1)

    def position(
        self,
        batch: int,
        places: np.ndarray | None,
        gather: Callable[[np.ndarray], Sequence[np.ndarray]],
    ) -> dict[str, Any]:
        """Return what a checkpoint must hold to go on at a batch.

        Args:
            batch: the one that comes next.
            places: of the batch before it; None if there was none since the start.
            gather: places of this process -> of all blocks of rows, by their number.
        """
        if places is None:
            places = self._start.places[:, self._streams.start : self._streams.stop]
        everywhere = np.concatenate(gather(places), axis=1)
        taken = self._taken_before(batch)
        return self._start._replace(taken=taken, places=everywhere).to_dict()

    def _taken_before(self, batch: int) -> int:
        """Return how many records each stream has given out before a batch."""
        return self._start.taken + (batch - self._start_batch) * self._rows

    def close(self) -> None:
        """Read no further ahead."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
            for reader in self._readers.values():
                reader.close()

    def _taken(self, part: int, stream: int, count: int) -> int:
        """Of the first `count` records of a stream, how many are of one part of the mixture."""
        if len(self._sources) == 1:
            return count
        if stream not in self._counts:
            num_streams = self._start.num_streams
            self._counts[stream] = self._interleave.strided(stream, num_streams)
        return self._counts[stream].count(count, part)

    def _reader(self, part: int, stream: int) -> StreamReader:
        with self._lock:
            reader = self._readers.get((part, stream))
            if reader is None:
                if self._pool is None:
                    self._pool = concurrent.futures.ThreadPoolExecutor(_READING_THREADS)
                first = self._taken(part, stream, self._start.taken)
                reader = self._readers[part, stream] = StreamReader(
                    self._sources[part],
                    stream=stream,
                    num_streams=self._start.num_streams,
                    seed=part_seed(self._maker.seed, part),
                    window=self._start.windows[part],
                    filter=self._filter,
                    first=first,
                    place=Place(*self._start.places[part, stream].tolist()),
                    pool=self._pool,
                )
            return reader
