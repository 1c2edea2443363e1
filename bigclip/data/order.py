"""Which record stands at which place, and the random numbers of that place.

The global stream is endless: position k = step * B + row. Epoch after epoch it runs through all
records, each time in another order. Everything about position k is a pure function of (seed, k):
no host, thread or worker count enters, and nothing has to be saved but a batch number.
"""

import enum
import functools
from typing import Any

import grain
import numpy as np


class Stream(enum.IntEnum):
    """What random numbers are for; each purpose has its own, unmoved by changes in the others."""

    ORDER = 0
    AUGMENT = 1
    CAPTION = 2
    SUBSTITUTE = 3
    WINDOW = 4
    TOKEN = 5


_PARTS = 0x70617274  # tells these seeds from those of `Stream`


class Order:
    """The endless shuffled stream of record numbers."""

    def __init__(self, num_records: int, *, seed: int):
        """Describe the stream; this costs nothing, whatever the number of records.

        Args:
            num_records: records in the source.
            seed: any non-negative integer.
        """
        self.num_records = num_records
        self.seed = seed
        # Grain shuffles epoch e with seed + e. Neighbouring seeds would share epochs (seed 0,
        # epoch 1 being seed 1, epoch 0), so the seed is spread over all 32 bits first.
        spread = _mixed(seed, Stream.ORDER) >> 32
        self._records = grain.MapDataset.range(num_records).shuffle(seed=spread).repeat()

    def record(self, position: int) -> int:
        """Return the number of the record at a position of the global stream."""
        return int(self._records[position])

    def substitute(self, position: int, attempt: int) -> int:
        """Return another record, for when the one at `position` is bad.

        Args:
            position: k.
            attempt: how many records were found bad at this position so far.
        """
        rng = self.rng(position, Stream.SUBSTITUTE)
        return int(rng.integers(self.num_records, size=attempt)[-1])

    def rng(self, position: int, stream: Stream) -> np.random.Generator:
        """Make the random numbers of a position."""
        return position_rng(self.seed, position, stream)


def order_of(source: Any, *, seed: int) -> Order:
    """Return the order in which a run reads a random-access source, which may have its own."""
    return source.order(seed) if hasattr(source, "order") else Order(len(source), seed=seed)


def position_rng(seed: int, position: int, stream: Stream) -> np.random.Generator:
    """Make the random numbers that belong to a position, for one purpose."""
    key = np.array((_mixed(seed, stream), position), np.uint64)
    return np.random.Generator(np.random.Philox(_Key(key)))


def permutation(count: int, seed: int, position: int, stream: Stream) -> np.ndarray:
    """Shuffle the numbers 0 .. count - 1, int64 [count].

    By the generator's raw words, which no version of numpy may change; its own `permutation` may.
    """
    words = position_rng(seed, position, stream).bit_generator.random_raw(count)
    return np.argsort(words, kind="stable")


def part_seed(seed: int, part: int) -> int:
    """Derive the seed of one part of a mixture; part 0 keeps the seed itself."""
    if not part:
        return seed
    return int(np.random.SeedSequence([seed, part, _PARTS]).generate_state(1, np.uint64)[0])


class _Key(np.random.bit_generator.ISeedSequence):
    """Hands Philox its key as it is; numpy's own hashing would take five times as long."""

    def __init__(self, words: np.ndarray):
        self.words = words

    def generate_state(self, n_words: int, dtype=np.uint32) -> np.ndarray:
        # Philox asks for just these two; anything else would be a change in numpy to look at.
        if n_words != 2 or dtype != np.uint64:
            raise NotImplementedError(f"a Philox key is two 64 bit words, not {n_words} {dtype}")
        return self.words


@functools.cache
def _mixed(seed: int, stream: Stream) -> int:
    return int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0])
