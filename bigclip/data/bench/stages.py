"""Where the time of an example goes: each part of the work timed, in one thread."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bigclip.config import ConfigError
from bigclip.data import images
from bigclip.data.augment import Augmenter
from bigclip.data.augment_text import TextAugmenter
from bigclip.data.captions import CaptionChooser
from bigclip.data.examples import ExampleMaker, chunk_size
from bigclip.data.records import BadRecord, Record
from bigclip.data.run_records import Run, RunRecords
from bigclip.data.stream_mixture import StreamMixture

STAGES = ("read", "decode", "crop, resize, augment", "captions", "tokens", "assemble")
_ROUND_RECORDS = 1 << 20  # of streamed shards, before they are gone through again
_READ, _DECODE, _AUGMENT, _CAPTIONS, _TOKENS, _ASSEMBLE = STAGES


class Stages(NamedTuple):
    """What was measured.

    Attributes:
        num_examples: that were made.
        cpu_seconds: stage -> CPU time of one example.
        wall_seconds: stage -> time of one example, with what it waited for.
        encoded_bytes: mean of the pictures as stored.
    """

    num_examples: int
    cpu_seconds: dict[str, float]
    wall_seconds: dict[str, float]
    encoded_bytes: float


class Stopwatch:
    """Times stages that may lie in each other; each moment counts for the innermost.

    Attributes:
        cpu: stage -> CPU seconds of this thread.
        wall: stage -> seconds.
    """

    def __init__(self):
        self._running: list[str] = []
        self._since = (0.0, 0.0)
        self.reset()

    def reset(self) -> None:
        """Forget what was counted."""
        self.cpu = dict.fromkeys(STAGES, 0.0)
        self.wall = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Count what happens inside for a stage."""
        self._pass()
        self._running.append(stage)
        try:
            yield
        finally:
            self._pass()
            self._running.pop()

    def _pass(self) -> None:
        now = time.thread_time(), time.perf_counter()
        if self._running:
            self.cpu[self._running[-1]] += now[0] - self._since[0]
            self.wall[self._running[-1]] += now[1] - self._since[1]
        self._since = now


class _Timed:
    """Calls something inside of a stage; all else is as it is."""

    def __init__(self, inner: Any, watch: Stopwatch, stage: str):
        self._inner, self._watch, self._stage = inner, watch, stage

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        with self._watch.during(self._stage):
            return self._inner(*args, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def time_stages(run: Run, num: int) -> Stages:
    """Make examples of a run in this thread, with a stopwatch around each part of the work.

    Args:
        run: the opened data. The records are those of its first batches; of streamed shards, the
            first ones of shards all over the list, from front to back.
        num: examples, at least.
    """
    options = run.pipeline.options
    rows = chunk_size(run.batch_size)
    watch, sizes = Stopwatch(), []
    read = _reader(run)

    def timed_read(position: int, attempt: int) -> Record:
        with watch.during(_READ):
            record = read(position, attempt)
        sizes.append(len(record.image))
        return record

    maker = ExampleMaker(
        seed=run.seed,
        augmenter=_Timed(Augmenter(run.pipeline.preprocess, **options["augment"]), watch, _AUGMENT),
        chooser=_Timed(CaptionChooser(**options["captions"]), watch, _CAPTIONS),
        text_augmenter=_Timed(
            TextAugmenter(run.pipeline.tokenizer, **options["augment_text"]), watch, _TOKENS
        ),
    )
    made = -rows  # the first piece also pays for what is done once
    with _replaced(images, "decode", _Timed(images.decode, watch, _DECODE)):
        for first in itertools.count(0, rows):
            if made == 0:
                watch.reset()
                sizes.clear()
            if made >= num:
                break
            positions = range(first, first + rows)
            with watch.during(_ASSEMBLE):
                maker.chunk(positions, _candidates(positions, timed_read))
            made += rows
    return Stages(
        made,
        {stage: seconds / made for stage, seconds in watch.cpu.items()},
        {stage: seconds / made for stage, seconds in watch.wall.items()},
        sum(sizes) / len(sizes),
    )


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _candidates(positions: range, read: Callable[[int, int], Record]):
    return lambda row, attempt: (0, lambda: read(positions[row], attempt))


def _reader(run: Run) -> Callable[[int, int], Record]:
    """Return (position, attempt) -> record, as a run reads it."""
    source = run.pipeline.source
    if not isinstance(source, StreamMixture):
        order = RunRecords(source, batch_size=run.batch_size, seed=run.seed).order

        def read(position: int, attempt: int) -> Record:
            if attempt:
                return source[order.substitute(position, attempt)]
            return source[order.record(position)]

        return read

    def again() -> Iterator[Record | BadRecord]:
        found = True
        while found:
            found = None
            for found in source.sample(_ROUND_RECORDS):
                yield found
        raise ConfigError(f"config.data.source: {source!r} has no record that passes")

    records = again()

    def read_next(position: int, attempt: int) -> Record:
        del position, attempt
        record = next(records)
        if isinstance(record, BadRecord):
            raise record
        return record

    return read_next
