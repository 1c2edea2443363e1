"""The training batches of one process: from a source to arrays, in an order that is a formula."""

import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np

from bigclip.config import ConfigError
from bigclip.data.augment import Augmenter
from bigclip.data.augment_text import TextAugmenter
from bigclip.data.captions import CaptionChooser
from bigclip.data.checks import check_examples
from bigclip.data.examples import ExampleMaker
from bigclip.data.notes import Notes
from bigclip.data.order import order_of
from bigclip.data.preprocess import Preprocess
from bigclip.data.random_chunks import RandomChunks
from bigclip.data.sources import Source
from bigclip.data.stream_chunks import StreamChunks
from bigclip.data.stream_mixture import StreamMixture, StreamPosition
from bigclip.data.tally import Tally
from bigclip.data.tokenizer import Tokenizer
from bigclip.data.workers import allow_workers, start_worker, use_one_thread

ARRAYS = ("image", "text", "record", "bad")


def open_batches(
    source: Source | StreamMixture,
    *,
    preprocess: Preprocess,
    tokenizer: Tokenizer,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    start_batch: int = 0,
    position: dict[str, Any] | None = None,
    augment: dict | None = None,
    captions: dict | None = None,
    augment_text: dict | None = None,
    num_threads: int = 2,
    num_workers: int = 0,
    max_bad_fraction: float = 0.01,
) -> "Batches":
    """Start making batches in the background.

    What stands in row r of batch s depends on `seed`, s and r alone: not on the number of
    processes, threads or workers, nor on where the run was resumed. A process gets its share of
    rows as one block, so that the blocks of all processes, one under the other, are the global
    batch.

    Args:
        source: the records.
        preprocess: the evaluation transform; training takes its size and, without a random crop,
            its cut.
        tokenizer: makes ids of captions.
        batch_size: B, over all processes.
        seed: of the order, the augmentation and the choice of captions.
        process_index: which block of rows this process gets.
        process_count: into how many blocks B is divided.
        start_batch: the first batch to return; resuming at batch n means n here.
        position: what `Batches.position` returned before that batch; for a random-access source
            there is nothing to know but the batch.
        augment: keyword arguments of `Augmenter`.
        captions: keyword arguments of `CaptionChooser`.
        augment_text: keyword arguments of `TextAugmenter`.
        num_threads: threads that read and decode, in this process or in each worker.
        num_workers: worker processes; 0 for none. Python threads share one core for all that is
            not OpenCV, so on hosts with many cores workers are faster.
        max_bad_fraction: the most bad records, as a share of all, that are replaced; with more
            the run stops.

    Returns:
        An endless iterator of dicts of numpy arrays, b = B / process_count:
        image uint8 [b, H, W, 3], text int32 [b, L] (or [b, C, L] for the caption policy "all"),
        record int64 [b] the number of the record in the source (of streamed shards: the number
        of the shard << 40 | the byte where it begins), bad int32 [b] how many bad records were
        met before that one.

    Raises:
        ConfigError: before the first batch, if an option is wrong or a sample of the records
            shows too many bad ones; and while iterating, if there are too many.
    """
    if batch_size < 1 or batch_size % process_count:
        raise ConfigError(
            f"config.batch_size {batch_size} must be a positive multiple of the {process_count} "
            f"processes that load data; nearest: {_nearest_multiple(batch_size, process_count)}"
        )
    if not 0 <= max_bad_fraction < 1:
        raise ConfigError(
            f"config.data.max_bad_fraction must lie in [0, 1), not {max_bad_fraction}"
        )
    if num_threads < 1 or num_workers < 0:
        raise ConfigError(
            f"config.data.num_threads must be at least 1, not {num_threads}, and "
            f"config.data.num_workers at least 0, not {num_workers}"
        )
    use_one_thread()
    maker = ExampleMaker(
        seed=seed,
        augmenter=Augmenter(preprocess, **(augment or {})),
        chooser=CaptionChooser(**(captions or {})),
        text_augmenter=TextAugmenter(tokenizer, **(augment_text or {})),
    )
    rows = batch_size // process_count
    if isinstance(source, StreamMixture):
        start = source.begin(batch_size=batch_size)
        if position is not None:
            start = StreamPosition.from_dict(position)
        source.check(start, batch_size=batch_size, process_count=process_count)
        streams = start.num_streams // process_count
        chunks = StreamChunks(
            source,
            maker=maker,
            start=start,
            start_batch=start_batch,
            streams=range(process_index * streams, (process_index + 1) * streams),
            rows_per_stream=batch_size // start.num_streams,
            num_workers=num_workers,
        )
    elif not len(source):
        raise ConfigError(f"config.data.source: {source!r} has no records")
    else:
        chunks = RandomChunks(
            source,
            order=order_of(source, seed=seed),
            maker=maker,
            batch_size=batch_size,
            first_row=process_index * rows,
            rows=rows,
        )
    check_examples(source, maker, max_bad_fraction=max_bad_fraction)
    return Batches(
        chunks,
        tally=Tally(max_bad_fraction=max_bad_fraction),
        start_batch=start_batch,
        num_threads=num_threads,
        num_workers=num_workers,
    )


class DataLost(OSError):
    """The data cannot be read any more, or a worker process has died: start again, later."""


class Batches:
    """The iterator that `open_batches` returns; also a context manager that closes it.

    Attributes:
        next_batch: number of the batch that comes next.
        tally: what became of the records of this process.
    """

    def __init__(
        self,
        chunks: RandomChunks | StreamChunks,
        *,
        tally: Tally,
        start_batch: int,
        num_threads: int,
        num_workers: int,
    ):
        self.next_batch = start_batch
        self.tally = tally
        self._make = chunks
        self._places: np.ndarray | None = None
        per_batch = chunks.chunks_per_batch
        # Two batches ahead, shared among the workers; and something to do for each thread.
        ahead = max(num_threads, -(-2 * per_batch // max(1, num_workers)))
        dataset = grain.MapDataset.range(start_batch * per_batch, sys.maxsize)
        dataset = dataset.map(chunks).to_iter_dataset(
            grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=ahead)
        )
        # Grain's ElasticIterator would do most of this for random access, too. But it deals rows
        # out to hosts in turn, so that their order depends on the number of hosts, makes a whole
        # batch in one thread, and cannot prepare its workers, which then outlive a killed trainer.
        if num_workers:
            allow_workers()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2),
                worker_init_fn=start_worker,
            )
        self._chunks = iter(dataset)
        # Also when the program ends, or forgets this iterator: workers hold shared memory.
        self._stop = weakref.finalize(self, _stop, self._chunks, chunks)
        self._lock = threading.Lock()

    def __iter__(self) -> "Batches":
        return self

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __next__(self) -> dict[str, np.ndarray]:
        with self._lock:
            if not self._stop.alive:
                raise StopIteration
            try:
                chunks = [next(self._chunks) for _ in range(self._make.chunks_per_batch)]
            except BaseException as error:
                # Grain loses its place after an error, and its workers wait for nothing.
                self._stop()
                if "terminated unexpectedly" in str(error):
                    raise DataLost(
                        f"a data worker ended unexpectedly ({str(error).splitlines()[0]}). "
                        "Killed (exit code -9), it was most often for lack of memory: lower "
                        "config.data.num_workers, or config.data.source.shuffle_window of "
                        "streamed shards. Started again, the run goes on at its newest checkpoint."
                    ) from error
                if isinstance(error, OSError):
                    raise DataLost(
                        f"the data cannot be read: {error}. Started again, the run goes on at its "
                        "newest checkpoint."
                    ) from error
                raise
            parts = [chunks[part] for part in self._make.row_order]
            # Joined also where there is one: arrays of workers lie in shared memory, which is to
            # be given back here, not when the last user of a batch has let go of it.
            batch = {
                name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in ARRAYS
            }
            self._places = self._make.places(parts)
            notes = [Notes.from_array(np.asarray(part["notes"])) for part in parts]
            del chunks, parts
            self.next_batch += 1
            self.tally.add(notes)
            return batch

    def position(
        self, gather: Callable[[np.ndarray], Sequence[np.ndarray]] = lambda places: [places]
    ) -> dict[str, Any] | None:
        """Return where the run stands before `next_batch`, for `open_batches` to go on there.

        Args:
            gather: places of this process -> of all blocks of rows, by their number. Only called
                for streamed shards, and then on every process.

        Returns:
            Plain data for JSON, the same on every process; None where `next_batch` says it all.
        """
        return self._make.position(self.next_batch, self._places, gather)

    def close(self):
        """Stop the threads and workers; a second call does nothing."""
        with self._lock:
            self._stop()
            self._chunks = None


def _stop(chunks, make: RandomChunks | StreamChunks) -> None:
    chunks.close()
    make.close()


def _nearest_multiple(value: int, of: int) -> int:
    return max(of, round(value / of) * of)
