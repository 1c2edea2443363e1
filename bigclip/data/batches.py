"""The training batches of one process: from a source to arrays, in an order that is a formula."""

import logging
import sys
import threading
import weakref

import grain
import numpy as np

from bigclip.config import ConfigError
from bigclip.data.augment import Augmenter
from bigclip.data.captions import CaptionChooser
from bigclip.data.checks import check_examples, too_many_bad
from bigclip.data.examples import Examples
from bigclip.data.order import Order
from bigclip.data.preprocess import Preprocess
from bigclip.data.sources import Source
from bigclip.data.tokenizer import Tokenizer
from bigclip.data.workers import allow_workers, start_worker, use_one_thread

_CHUNK_EXAMPLES = 64  # what one thread makes at a time: long enough to hide Grain's own cost
_MIN_JUDGED_EXAMPLES = 1000  # a bad record among the first few is no bad data set yet
_MAX_LOGGED = 100

logger = logging.getLogger(__name__)


def open_batches(
    source: Source,
    *,
    preprocess: Preprocess,
    tokenizer: Tokenizer,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    start_batch: int = 0,
    augment: dict | None = None,
    captions: dict | None = None,
    num_threads: int = 2,
    num_workers: int = 0,
    max_bad_fraction: float = 0.01,
) -> "Batches":
    """Start making batches in the background.

    Row r of batch s is position s * B + r of the global stream, and what stands there depends on
    `seed` and the position alone: not on the number of processes, threads or workers, nor on
    `start_batch`. A process gets its share of rows as one block, so that the blocks of all
    processes, one under the other, are the global batch.

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
        augment: keyword arguments of `Augmenter`.
        captions: keyword arguments of `CaptionChooser`.
        num_threads: threads that read and decode, in this process or in each worker.
        num_workers: worker processes; 0 for none. Python threads share one core for all that is
            not OpenCV, so on hosts with many cores workers are faster.
        max_bad_fraction: the most bad records, as a share of all, that are replaced; with more
            the run stops.

    Returns:
        An endless iterator of dicts of numpy arrays, b = B / process_count:
        image uint8 [b, H, W, 3], text int32 [b, L] (or [b, C, L] for the caption policy "all"),
        record int64 [b] the number of the record in the source, bad int32 [b] how many bad
        records were met before that one.

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
    if not len(source):
        raise ConfigError(f"config.data.source: {source!r} has no records")
    use_one_thread()
    examples = Examples(
        source,
        order=Order(len(source), seed=seed),
        augmenter=Augmenter(preprocess, **(augment or {})),
        chooser=CaptionChooser(**(captions or {})),
        tokenizer=tokenizer,
    )
    check_examples(examples, max_bad_fraction=max_bad_fraction)
    return Batches(
        examples,
        batch_size=batch_size,
        process_index=process_index,
        process_count=process_count,
        start_batch=start_batch,
        num_threads=num_threads,
        num_workers=num_workers,
        max_bad_fraction=max_bad_fraction,
    )


class Batches:
    """The iterator that `open_batches` returns; also a context manager that closes it."""

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int,
        process_index: int,
        process_count: int,
        start_batch: int,
        num_threads: int,
        num_workers: int,
        max_bad_fraction: float,
    ):
        self.examples = examples
        self.next_batch = start_batch
        self._rows = batch_size // process_count
        self._batch_size = batch_size
        self._first_row = process_index * self._rows
        self._max_bad_fraction = max_bad_fraction
        self._num_seen = 0
        self._num_bad = 0
        self._bad_names: dict[str, str] = {}
        chunk = max(n for n in range(1, _CHUNK_EXAMPLES + 1) if self._rows % n == 0)
        self._chunks_per_batch = self._rows // chunk
        make_chunk = _MakeChunk(
            examples,
            batch_size=batch_size,
            first_row=self._first_row,
            chunk=chunk,
            chunks_per_batch=self._chunks_per_batch,
        )
        # Two batches ahead, shared among the workers; and something to do for each thread.
        ahead = max(num_threads, -(-2 * self._chunks_per_batch // max(1, num_workers)))
        dataset = grain.MapDataset.range(start_batch * self._chunks_per_batch, sys.maxsize)
        dataset = dataset.map(make_chunk).to_iter_dataset(
            grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=ahead)
        )
        # Grain's ElasticIterator would do most of this, too. But it deals rows out to hosts in
        # turn, so that their order depends on the number of hosts, makes a whole batch in one
        # thread, and cannot prepare its workers, which then outlive a killed trainer.
        if num_workers:
            allow_workers()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2),
                worker_init_fn=start_worker,
            )
        self._chunks = iter(dataset)
        # Also when the program ends, or forgets this iterator: workers hold shared memory.
        self._stop = weakref.finalize(self, self._chunks.close)
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
                chunks = [next(self._chunks) for _ in range(self._chunks_per_batch)]
            except BaseException:
                # Grain loses its place after an error, and its workers wait for nothing.
                self._stop()
                raise
            # Joined also where there is one: arrays of workers lie in shared memory, which is to
            # be given back here, not when the last user of a batch has let go of it.
            batch = {
                name: np.concatenate([np.asarray(chunk[name]) for chunk in chunks])
                for name in ("image", "text", "record", "bad")
            }
            del chunks
            self._judge(batch["bad"])
            self.next_batch += 1
            return batch

    def close(self):
        """Stop the threads and workers; a second call does nothing."""
        with self._lock:
            self._stop()
            self._chunks = None

    def _judge(self, bad: np.ndarray):
        """Log the bad records of a batch, each once, and stop if there are too many by now."""
        start = self.next_batch * self._batch_size + self._first_row
        for row in np.flatnonzero(bad):
            for error in self.examples.reasons(start + int(row), int(bad[row])):
                if error.key in self._bad_names or len(self._bad_names) == _MAX_LOGGED:
                    continue
                self._bad_names[error.key] = error.reason
                logger.warning("bad record replaced: %s", error)
                if len(self._bad_names) == _MAX_LOGGED:
                    logger.warning("further bad records are counted, but not named")
        self._num_bad += int(bad.sum())
        self._num_seen += len(bad) + int(bad.sum())
        allowed = self._max_bad_fraction * max(self._num_seen, _MIN_JUDGED_EXAMPLES)
        if self._num_bad > allowed:
            named = [f"{key}: {reason}" for key, reason in self._bad_names.items()]
            raise too_many_bad(
                f"{self._num_bad} of the {self._num_seen} records read so far are bad",
                named,
                max_bad_fraction=self._max_bad_fraction,
            )


class _MakeChunk:
    """Number of a chunk -> its examples; what the threads and workers run."""

    def __init__(self, examples, *, batch_size, first_row, chunk, chunks_per_batch):
        self.examples = examples
        self.batch_size = batch_size
        self.first_row = first_row
        self.chunk = chunk
        self.chunks_per_batch = chunks_per_batch

    def __call__(self, number: int) -> dict[str, np.ndarray]:
        batch, part = divmod(int(number), self.chunks_per_batch)
        start = batch * self.batch_size + self.first_row + part * self.chunk
        return self.examples.chunk(start, self.chunk)


def _nearest_multiple(value: int, of: int) -> int:
    return max(of, round(value / of) * of)
