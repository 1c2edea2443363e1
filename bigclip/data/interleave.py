"""Which part of a mixture stands at which place: weights kept at every prefix."""

import math
from collections.abc import Sequence

import numpy as np

_PERIOD = 1 << 14


class Interleave:
    """An endless sequence of part numbers, in which part j has its share of every prefix.

    Of the first n places, part j has n * w_j, give or take one, for every n. The pattern repeats
    itself after a while, so a place far along is as near as the first.

    Attributes:
        shares: the weights as they are kept: multiples of one in 16,384, and off by at most that
            for every further part.
    """

    def __init__(self, weights: Sequence[float]):
        """Lay the pattern out.

        Args:
            weights: positive, any sum.
        """
        weights = np.asarray(weights, np.float64)
        counts = _whole_counts(weights / weights.sum())
        self.period = int(counts.sum())
        self.shares = counts / self.period
        self._pattern = _spread(counts)
        # before[n, j]: how many of the first n places are j's.
        ones = self._pattern[:, None] == np.arange(len(counts))
        self._before = np.concatenate([np.zeros((1, len(counts)), np.int64), ones.cumsum(0)])

    def part(self, place: int) -> int:
        """Return the part at a place."""
        return int(self._pattern[place % self.period])

    def count(self, places: int, part: int) -> int:
        """Return how many of the first `places` places belong to a part."""
        rounds, rest = divmod(places, self.period)
        return rounds * int(self._before[-1, part]) + int(self._before[rest, part])

    def strided(self, first: int, stride: int) -> "StridedCount":
        """Look at places first, first + stride, first + 2 stride, ... alone."""
        return StridedCount(self._pattern, first, stride, num_parts=len(self.shares))


class StridedCount:
    """How the parts are dealt out over every so many places of a pattern."""

    def __init__(self, pattern: np.ndarray, first: int, stride: int, *, num_parts: int):
        self._period = len(pattern) // math.gcd(len(pattern), stride)
        seen = pattern[(first + stride * np.arange(self._period)) % len(pattern)]
        ones = (seen[:, None] == np.arange(num_parts)).cumsum(0, dtype=np.int32)
        self._before = np.concatenate([np.zeros((1, num_parts), np.int32), ones])

    def count(self, places: int, part: int) -> int:
        """Return how many of the first `places` of these places belong to a part."""
        rounds, rest = divmod(places, self._period)
        return rounds * int(self._before[-1, part]) + int(self._before[rest, part])


def _whole_counts(shares: np.ndarray) -> np.ndarray:
    """Find whole numbers in these proportions, small ones if they serve."""
    for period in (*range(1, 101), 128, 256, 512, 1000, 1024, 2048, 4096, 8192, 10_000):
        counts = shares * period
        if np.abs(counts - counts.round()).max() < 1e-9 and counts.round().min() >= 1:
            return counts.round().astype(np.int64)
    return np.maximum(1, (shares * _PERIOD).round()).astype(np.int64)


def _spread(counts: np.ndarray) -> np.ndarray:
    """Deal out the parts so that each is always as near to its share as whole numbers allow.

    Of the parts that would not run ahead of their share by the next place, the one whose next
    turn is due first takes it (earliest deadline first; Steiner and Yeomans 1993 show that this
    keeps every part within one of its share).
    """
    period = int(counts.sum())
    pattern = np.empty(period, np.int64)
    taken = np.zeros(len(counts), np.int64)
    for place in range(period):
        may = taken * period < counts * (place + 1)
        deadline = np.where(may, (taken + 1) / counts, np.inf)
        part = int(deadline.argmin())
        pattern[place] = part
        taken[part] += 1
    return pattern
