"""The frame of a chart: where values lie on the page, axes, levels, and the names at the right.

A chart is drawn for its final size (340 x 216 CSS pixels, shown at about that width on every
screen), so that its text is as large as the text around it. All colours are classes of style.css,
so that the page's dark mode reaches them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from bigclip.reports import numbers
from bigclip.reports.markup import Safe, element

WIDTH, HEIGHT = 340, 216
LEFT, TOP, BOTTOM = 40, 12, 28
_LABEL_GAP = 13
_CHARACTER = 6.1  # average advance of an 11 px character, to keep room for labels


class Level(NamedTuple):
    """A horizontal dashed line, such as the level of chance."""

    label: str
    value: float


class Axis(NamedTuple):
    """The horizontal axis.

    Attributes:
        label: what it counts.
        is_log: equal distances are equal factors; every position must be positive.
        ticks: where to write numbers; round positions by default.
        format_fn: writes a position in a reading.
    """

    label: str = "step"
    is_log: bool = False
    ticks: Sequence[float] | None = None
    format_fn: Callable[[float], str] = numbers.count


STEPS = Axis()


class Frame(NamedTuple):
    """The ranges of both axes, and the right edge of the plot in pixels.

    Attributes:
        first: leftmost position, a logarithm if the axis is one.
        last: rightmost position, likewise.
        low: value at the bottom.
        high: value at the top.
        right: right edge of the plot, in pixels.
        axis: the horizontal axis.
    """

    first: float
    last: float
    low: float
    high: float
    right: float
    axis: Axis

    @classmethod
    def around(
        cls,
        positions: Iterable[float],
        values: Iterable[float],
        *,
        labels: Iterable[str] = (),
        levels: Sequence[Level] = (),
        axis: Axis = STEPS,
        from_zero: bool = False,
        up_to: float | None = None,
    ) -> "Frame":
        """Choose the ranges so that all is inside, and levels that are not far away.

        Args:
            positions: along the axis, at least one.
            values: at least one.
            labels: what is to be written at the right.
            levels: one far outside of the values does not stretch the range.
            axis: the horizontal axis.
            from_zero: the values begin at 0.
            up_to: the values end here or higher, so that small noise looks small.
        """
        values = list(values)
        low, high = min(values), max(values)
        reach = 0.6 * (high - low)
        for level in levels:
            if low - reach <= level.value <= high + reach:
                low, high = min(low, level.value), max(high, level.value)
        low = 0.0 if from_zero and low >= 0 else low
        spread = (high - low) or abs(high) or 1.0
        at_zero = from_zero and low == 0
        low, high = (low if at_zero else low - 0.06 * spread), high + 0.06 * spread
        high = high if up_to is None else max(high, up_to)
        places = [_place(axis, position) for position in positions]
        first, last = min(places), max(places)
        if not axis.is_log and 0 <= first < 0.2 * last:
            first = 0.0
        longest = max((len(label) for label in labels), default=0)
        right = WIDTH - max(36, 14 + longest * _CHARACTER)
        return cls(first, last, low, high, right, axis)

    def x(self, position: float) -> float:
        """Return where a position lies, in pixels."""
        share = (_place(self.axis, position) - self.first) / ((self.last - self.first) or 1)
        return LEFT + (self.right - LEFT) * share

    def y(self, value: float) -> float:
        """Return where a value lies, in pixels."""
        bottom = HEIGHT - BOTTOM
        return TOP + (bottom - TOP) * (self.high - value) / (self.high - self.low)

    def shown(self, levels: Sequence[Level]) -> list[Level]:
        """Return the levels that lie inside."""
        return [level for level in levels if self.low <= level.value <= self.high]


def _place(axis: Axis, position: float) -> float:
    return math.log10(position) if axis.is_log else position


def draw_axes(frame: Frame, format_fn: Callable[[float], str]) -> list[Safe]:
    """Draw hairlines at round values, and the numbers of both axes."""
    parts = []
    for value in numbers.ticks(frame.low, frame.high, 4):
        y = frame.y(value)
        parts.append(_across(frame, y, "grid"))
        parts.append(write(format_fn(value), LEFT - 6, y + 3.5, "tick", anchor="end"))
    for position in _tick_positions(frame):
        x = frame.x(position)
        parts.append(write(numbers.short(position), x, HEIGHT - 10, "tick", anchor="middle"))
    parts.append(write(frame.axis.label, frame.right + 14, HEIGHT - 10, "tick"))
    return parts


def _tick_positions(frame: Frame) -> Sequence[float]:
    axis = frame.axis
    if axis.ticks is not None:
        return axis.ticks
    if not axis.is_log:
        return numbers.ticks(frame.first, frame.last, 4)
    first, last = math.ceil(frame.first - 1e-9), math.floor(frame.last + 1e-9)
    every = max(1, -(-(last - first) // 5))
    return [10.0**power for power in range(first, last + 1, every)]


def draw_level(frame: Frame, level: Level) -> Safe:
    """Draw a level as a dashed line."""
    return _across(frame, frame.y(level.value), "level")


def draw_names(
    frame: Frame, ends: Sequence[tuple[str, str, float]], levels: Sequence[Level]
) -> list[Safe]:
    """Name lines and levels at their right ends, where there is room for it.

    Args:
        frame: of the chart.
        ends: (label, class, y in pixels) of each line; no label for a line that the title names.
        levels: those inside the frame.
    """
    if not any(label for label, _, _ in ends):
        return [
            write(level.label, frame.right, frame.y(level.value) - 4, "level-label", anchor="end")
            for level in levels
        ]
    ends = [end for end in ends if end[0]]
    ends += [(level.label, "level-label", frame.y(level.value)) for level in levels]
    places = _spread([y for _, _, y in ends])
    return [
        write(label, frame.right + 7, place + 3.5, class_)
        for (label, class_, _), place in zip(ends, places, strict=True)
    ]


def write(text: str, x: float, y: float, class_: str, *, anchor: str | None = None) -> Safe:
    """Write a text at a place in pixels."""
    return element("text", text, class_=class_, x=x, y=y, text_anchor=anchor)


def _across(frame: Frame, y: float, class_: str) -> Safe:
    return element("line", class_=class_, x1=LEFT, x2=frame.right, y1=y, y2=y)


def _spread(places: Sequence[float]) -> list[float]:
    """Move labels apart until none covers another: as little as possible, keeping their order.

    With the gaps taken off, that is an isotonic regression: neighbours in the wrong order are
    pooled at their mean. Labels stay beside the plot, closer together if there are too many.
    """
    low, high = TOP - 4, HEIGHT - BOTTOM
    gap = min(_LABEL_GAP, (high - low) / max(len(places) - 1, 1))
    order = sorted(range(len(places)), key=places.__getitem__)
    pools: list[tuple[float, int]] = []  # mean, number of labels
    for rank, label in enumerate(order):
        mean, size = places[label] - rank * gap, 1
        while pools and pools[-1][0] >= mean:
            above, num = pools.pop()
            mean, size = (above * num + mean * size) / (num + size), num + size
        pools.append((mean, size))
    top = high - (len(places) - 1) * gap
    starts = [min(max(mean, low), top) for mean, size in pools for _ in range(size)]
    moved = list(places)
    for rank, (label, start) in enumerate(zip(order, starts, strict=True)):
        moved[label] = start + rank * gap
    return moved
