"""Histograms of a survey, with the bars to look at apart."""

from typing import NamedTuple

import numpy as np

_MAX_BARS = 32
_SIDES = (32, 64, 128, 256, 512, 1024, 2048)


class Bar(NamedTuple):
    """A bar of a histogram; `is_odd` ones are those to look at."""

    label: str
    count: int
    is_odd: bool


def token_bars(num_tokens: np.ndarray, length: int) -> list[Bar]:
    """Count captions by tokens, in bins of the same width, of which one ends at the limit."""
    if not len(num_tokens):
        return []
    # What is much longer than the limit goes into the last bar.
    top = min(int(num_tokens.max()), length + max(1, length // 4))
    width = -(-max(top, 1) // _MAX_BARS)
    first = length - -(-length // width) * width + 1  # so that a bin ends at `length`
    bars = []
    for start in range(first, top + 1, width):
        end = start + width - 1
        is_last = start + width > top
        counts = (num_tokens >= start) & ((num_tokens <= end) | is_last)
        label = f"{max(start, 0)}–{end}" if width > 1 else f"{start}"
        if is_last and num_tokens.max() > end:
            label = f"{max(start, 0)}+"
        bars.append(Bar(label, int(counts.sum()), start > length))
    while len(bars) > 1 and not bars[0].count:
        bars.pop(0)
    return bars


def side_bars(sizes: np.ndarray, size: int) -> list[Bar]:
    """Count pictures by their shorter side; one of the bins begins at the model's size."""
    if not len(sizes):
        return []
    shortest = sizes.min(1)
    edges = sorted({0, *_SIDES, size, int(max(_SIDES[-1], shortest.max())) + 1})
    bars = []
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        label = f"{start}–{end - 1}" if end <= _SIDES[-1] else f"{start}+"
        count = int(((shortest >= start) & (shortest < end)).sum())
        bars.append(Bar(label, count, end <= size))
    while len(bars) > 1 and not bars[0].count:
        bars.pop(0)
    while len(bars) > 1 and not bars[-1].count:
        bars.pop()
    return bars
