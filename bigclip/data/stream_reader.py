"""One virtual stream: its shards, read window by window ahead of where it is wanted."""

import collections
import concurrent.futures
import os
import threading
from typing import NamedTuple

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.buffered_file import BufferedFile
from bigclip.data.files import Files
from bigclip.data.filters import Filter, Rejected
from bigclip.data.images import BadImage, check_header
from bigclip.data.order import Stream, permutation
from bigclip.data.records import BadRecord, Record
from bigclip.data.shard_samples import read_samples
from bigclip.data.shard_streams import Place, ShardStreams, record_number
from bigclip.data.tar_members import TarError

_FIRST_AHEAD_BYTES = 1 << 20
_MIN_AHEAD_BYTES = 32 << 10
_MAX_AHEAD_BYTES = 16 << 20
_POLL_SECONDS = 0.2
# A stream comes by chance, and may miss the one shard in which something passes for a while.
_MAX_EPOCHS_WITHOUT = 10
_ATTEMPTS_A_WINDOW = 2
_KEPT_STARTS = 64  # windows: threads that work on a stream are never that far apart


class Window(NamedTuple):
    """So many records of a stream at once, as they lie in the shards."""

    number: int
    records: list[Record]
    ids: list[int]  # of `record_number`
    order: list[int]  # in which the records are given out
    bad: list[BadRecord]  # met on the way
    rejected: dict[str, int]  # rule of the filter -> how many
    end: Place


class Taken(NamedTuple):
    """A record at its place in the stream, and the window that it comes from."""

    record: Record
    id: int
    window: Window
    first: bool  # the first that its window gives out


class StreamReader:
    """Gives out the records of one stream by their number; threads may share it."""

    def __init__(
        self,
        source: ShardStreams,
        *,
        stream: int,
        num_streams: int,
        seed: int,
        window: int,
        filter: Filter | None,
        first: int,
        place: Place,
        pool: concurrent.futures.Executor,
    ):
        """Begin somewhere in the stream.

        Args:
            source: the shards.
            stream: which one.
            num_streams: S.
            seed: of the order of the shards and inside of the windows.
            window: records of a window.
            filter: what the run does not use is passed over.
            first: how many records the stream has given out already.
            place: where the window begins that holds the next one.
            pool: threads that read.
        """
        self._source = source
        self._stream = stream
        self._num_streams = num_streams
        self._seed = seed
        self._window = window
        self._filter = filter
        self._pool = pool
        self._next_window, rest = divmod(first, window)
        self._left = {self._next_window: window - rest}  # of each window: how many are not out yet
        self._futures: dict[int, concurrent.futures.Future] = {}
        self._starts = {self._next_window: place}  # of the last windows that were read
        self._place = place
        self._files = Files()
        self._file: tuple[int, BufferedFile] | None = None
        self._sample_bytes = _FIRST_AHEAD_BYTES / window  # mean, of the window before
        self._lock = threading.Lock()  # of the bookkeeping
        self._turn = threading.Condition()  # windows are read one after the other
        self._turn_of = self._next_window
        self._failure: BaseException | None = None

    def take(self, first: int, count: int) -> tuple[list[Taken], Place]:
        """Give out records `first` .. `first + count - 1`, each of which may be taken once.

        Returns:
            The records, and the place of the window that holds the one after them.

        Raises:
            ConfigError: if all shards together have no record that passes.
            OSError: if a shard cannot be read.
        """
        taken: list[Taken] = []
        window = None
        for position in range(first, first + count):
            number, index = divmod(position, self._window)
            if window is None or number != window.number:
                window = self._get(number)
            row = window.order[index]
            taken.append(Taken(window.records[row], window.ids[row], window, index == 0))
        if count:
            self._forget(first, count)
        return taken, self._start_of((first + count) // self._window)

    def close(self) -> None:
        """Let tasks that wait for their turn end; it may never come, if others were cancelled."""
        self._failure = self._failure or RuntimeError("the stream was closed")

    def substitute(
        self, taken: Taken, attempt: int, rng: np.random.Generator
    ) -> tuple[int, Record]:
        """Choose another record for one that turned out to be bad.

        It comes from the same window; after some attempts from the windows behind it, since bad
        records may come in crowds.

        Args:
            taken: the bad one.
            attempt: how many were bad so far.
            rng: of the position and the attempt.

        Returns:
            Number and record.
        """
        window = taken.window
        for _ in range((attempt - 1) // _ATTEMPTS_A_WINDOW):
            window = self._after(window)
        row = int(rng.integers(len(window.records)))
        return window.ids[row], window.records[row]

    def _after(self, window: Window) -> Window:
        """Return the next window, read once more if other threads have used it up already."""
        number = window.number + 1
        with self._lock:
            future = self._futures.get(number)
        if future is not None:
            return future.result()
        again = StreamReader(
            self._source,
            stream=self._stream,
            num_streams=self._num_streams,
            seed=self._seed,
            window=self._window,
            filter=self._filter,
            first=number * self._window,
            place=window.end,
            pool=self._pool,
        )
        return again._get(number)

    def _start_of(self, number: int) -> Place:
        with self._lock:
            if number in self._starts:
                return self._starts[number]
        return self._get(number - 1).end

    def _get(self, number: int) -> Window:
        with self._lock:
            self._read_up_to(number)
            future = self._futures[number]
        return future.result()

    def _read_up_to(self, number: int) -> None:
        while self._next_window <= number:
            ahead = self._next_window
            self._futures[ahead] = self._pool.submit(self._read, ahead)
            self._left.setdefault(ahead, self._window)
            self._next_window += 1

    def _forget(self, first: int, count: int) -> None:
        with self._lock:
            for number in range(first // self._window, (first + count - 1) // self._window + 1):
                begin = max(first, number * self._window)
                end = min(first + count, (number + 1) * self._window)
                self._left[number] -= end - begin
                # The next one is read while the second half of this one is used up: not earlier,
                # since it takes memory, and since at first other streams wait for theirs.
                if 2 * self._left[number] <= self._window:
                    self._read_up_to(number + 1)
                if not self._left[number]:
                    del self._left[number], self._futures[number]

    def _read(self, number: int) -> Window:
        # Tasks start in the order of the windows, so the one that has its turn is never stuck
        # behind those that wait for it.
        with self._turn:
            # Looked at now and then, too: `close` tells nobody, since it must not wait for a read.
            while self._turn_of != number and self._failure is None:
                self._turn.wait(_POLL_SECONDS)
            if self._failure is not None:
                raise self._failure
            try:
                filled = self._fill(number)
                with self._lock:
                    self._starts[number + 1] = filled.end
                    self._starts.pop(number - _KEPT_STARTS, None)
                return filled
            except BaseException as error:
                self._failure = error
                raise
            finally:
                self._turn_of += 1
                self._turn.notify_all()

    def _fill(self, number: int) -> Window:
        shards_without = 0
        records: list[Record] = []
        ids: list[int] = []
        bad: list[BadRecord] = []
        rejected: collections.Counter[str] = collections.Counter()
        num_bytes = 0
        while len(records) < self._window:
            turn = self._place.shard * self._num_streams + self._stream
            shard = self._source.shard(turn, seed=self._seed)
            before, from_its_start = len(records), not self._place.offset
            for found, begin, end in self._samples(shard):
                self._place = self._place._replace(offset=end)
                num_bytes += end - begin
                self._read_ahead(self._window - len(records))
                try:
                    if isinstance(found, BadRecord):
                        raise found
                    passed = self._filter(found) if self._filter else found
                    _check_picture(passed)
                except BadRecord as error:
                    bad.append(error)
                    continue
                except Rejected as error:
                    rejected[error.rule] += 1
                    continue
                # What else was stored served the filter, and would only take memory.
                records.append(passed._replace(metadata={}))
                ids.append(record_number(shard, begin))
                if len(records) == self._window:
                    break
            else:
                self._place = Place(self._place.shard + 1, 0)
                if len(records) > before:
                    shards_without = 0
                elif from_its_start:
                    shards_without += 1
                if shards_without == _MAX_EPOCHS_WITHOUT * len(self._source.shards):
                    raise _nothing_passes(bad, rejected)
        self._sample_bytes = num_bytes / self._window
        order = permutation(self._window, self._seed, self._stream << 40 | number, Stream.WINDOW)
        return Window(number, records, ids, order.tolist(), bad, dict(rejected), self._place)

    def _read_ahead(self, num_records: int) -> None:
        """Let the file read as much at once as the rest of the window takes, and little more."""
        if self._file is None:
            return  # the first shard of all is missing
        wanted = int(1.05 * num_records * self._sample_bytes)
        self._file[1].ahead_bytes = min(max(wanted, _MIN_AHEAD_BYTES), _MAX_AHEAD_BYTES)

    def _samples(self, shard: int):
        """Go on in a shard; one that cannot be read at all is a single bad record."""
        path = self._source.shards[shard]
        try:
            if self._file is None or self._file[0] != shard or not self._place.offset:
                self._file = shard, BufferedFile(self._files, path)
            file = self._file[1]
            self._read_ahead(self._window)
            caption_key, start = self._source.caption_key, self._place.offset
            yield from read_samples(file, path, caption_key=caption_key, start=start)
        except TarError as error:
            yield BadRecord(os.path.basename(path), "broken_shard", str(error)), 0, 0
        except FileNotFoundError:
            yield BadRecord(os.path.basename(path), "missing_shard", "does not exist"), 0, 0


def _check_picture(record: Record) -> None:
    """Find those that are no picture at all, which often come by the shard, before they count."""
    try:
        check_header(record.image)
    except BadImage as error:
        raise BadRecord(record.key, error.fault, f"its picture {error}") from None


def _nothing_passes(bad: list[BadRecord], rejected: dict[str, int]) -> ConfigError:
    reasons = [f"{count} rejected by {rule}" for rule, count in rejected.items()]
    reasons += [str(error) for error in bad[:3]]
    return ConfigError(
        f"config.data.source: a stream has gone through {_MAX_EPOCHS_WITHOUT} times as many shards "
        f"as there are without one record that passes ({'; '.join(reasons)}); look at "
        "config.data.filters and the shards"
    )
