"""Line charts as inline SVG: hairline axes, lines named at their ends, readings on hover.

A chart is drawn for its final size (340 x 216 CSS pixels, shown at about that width on every
screen), so that its text is as large as the text around it. All colours are classes of style.css,
so that the page's dark mode reaches them. `page.js` reads the data-* attributes and shows the
values under the pointer; without scripts the chart is still whole.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bigclip.reports import numbers
from bigclip.reports.markup import Safe, element

WIDTH, HEIGHT = 340, 216
_LEFT, _TOP, _BOTTOM = 40, 12, 28
_MOST_POINTS = 300
_LABEL_GAP = 13
_NOTHING = 1e-300  # smaller sizes are drawn as 0: their differences are no longer numbers
_CHARACTER = 6.1  # average advance of an 11 px character, to keep room for labels


class Line(NamedTuple):
    """One line of a chart.

    Attributes:
        label: named at its end; "" for a single line, which the title names.
        points: (step, value), ascending steps.
        tone: "first", "second", "third" or "quiet": a class of style.css.
    """

    label: str
    points: Sequence[tuple[float, float]]
    tone: str = "first"


class Level(NamedTuple):
    """A horizontal dashed line, such as the level of chance."""

    label: str
    value: float


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    unit: str = "",
    note: str = "",
    levels: Sequence[Level] = (),
    from_zero: bool = False,
    up_to: float | None = None,
    marks: bool = False,
    format_fn: Callable[[float], str] = numbers.short,
) -> Safe | None:
    """Draw a chart as a figure.

    Args:
        title: what is shown.
        lines: at most four.
        unit: of the values, beside the title.
        note: one sentence under the chart.
        levels: dashed lines to compare with; one far outside of the data does not stretch the axis.
        from_zero: the value axis begins at 0.
        up_to: the value axis ends here or higher, so that small noise looks small.
        marks: draw a dot at each point.
        format_fn: writes a value of the axis and of a reading.

    Returns:
        The figure, or None if no line has a point.
    """
    lines = [line._replace(points=_thin(_finite(line.points))) for line in lines]
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    frame = _Frame.around(lines, levels, from_zero=from_zero, up_to=up_to)
    levels = [level for level in levels if frame.low <= level.value <= frame.high]
    drawing = element(
        "svg",
        _axes(frame, format_fn),
        [_level(frame, level) for level in levels],
        [_line(frame, line, marks) for line in lines],
        _labels(frame, lines, levels),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        tabindex=0,
        aria_label=_in_words(title, unit, lines, format_fn),
        data_chart=_readings(frame, title, lines, format_fn),
    )
    heading = element("figcaption", element("b", title), f" {unit}" if unit else None)
    below = element("p", note, class_="note") if note else None
    return element("figure", heading, drawing, below, class_="chart")


class _Frame(NamedTuple):
    """Where values lie: the ranges of both axes, and the right edge of the plot in pixels."""

    first: float
    last: float
    low: float
    high: float
    right: float

    @classmethod
    def around(cls, lines, levels, *, from_zero, up_to) -> "_Frame":
        values = [value for line in lines for _, value in line.points]
        low, high = min(values), max(values)
        reach = 0.6 * (high - low)
        for level in levels:
            if low - reach <= level.value <= high + reach:
                low, high = min(low, level.value), max(high, level.value)
        low = 0.0 if from_zero and low >= 0 else low
        spread = (high - low) or abs(high) or 1.0
        low, high = (low if from_zero else low - 0.06 * spread), high + 0.06 * spread
        high = high if up_to is None else max(high, up_to)
        steps = [step for line in lines for step, _ in line.points]
        first, last = min(steps), max(steps)
        longest = max(len(line.label) for line in lines)
        right = WIDTH - max(36, 14 + longest * _CHARACTER)
        return cls(0 if first < 0.2 * last else first, last, low, high, right)

    def x(self, step: float) -> float:
        return _LEFT + (self.right - _LEFT) * (step - self.first) / ((self.last - self.first) or 1)

    def y(self, value: float) -> float:
        bottom = HEIGHT - _BOTTOM
        return _TOP + (bottom - _TOP) * (self.high - value) / (self.high - self.low)


def _axes(frame: _Frame, format_fn: Callable[[float], str]) -> list[Safe]:
    parts = []
    for value in numbers.ticks(frame.low, frame.high, 4):
        y = frame.y(value)
        parts.append(_across(frame, y, "grid"))
        parts.append(_write(format_fn(value), _LEFT - 6, y + 3.5, "tick", anchor="end"))
    for step in numbers.ticks(frame.first, frame.last, 4):
        x = frame.x(step)
        parts.append(_write(numbers.short(step), x, HEIGHT - 10, "tick", anchor="middle"))
    parts.append(_write("step", frame.right + 14, HEIGHT - 10, "tick"))
    return parts


def _level(frame: _Frame, level: Level) -> Safe:
    return _across(frame, frame.y(level.value), "level")


def _line(frame: _Frame, line: Line, marks: bool) -> list[Safe]:
    points = [(frame.x(step), frame.y(value)) for step, value in line.points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dots = points if marks and len(points) <= 40 else points[-1:]
    return [
        *([element("path", class_=f"line {line.tone}", d=path)] if len(points) > 1 else []),
        *(element("circle", class_=f"dot {line.tone}", cx=x, cy=y, r=2.6) for x, y in dots),
    ]


def _labels(frame: _Frame, lines: Sequence[Line], levels: Sequence[Level]) -> list[Safe]:
    """Name lines and levels at their right ends, where there is room for it."""
    if not any(line.label for line in lines):
        return [
            _write(level.label, frame.right, frame.y(level.value) - 4, "level-label", anchor="end")
            for level in levels
        ]
    ends = [(line.label, f"end {line.tone}", frame.y(line.points[-1][1])) for line in lines]
    ends += [(level.label, "level-label", frame.y(level.value)) for level in levels]
    places = _spread([y for _, _, y in ends])
    return [
        _write(label, frame.right + 7, place + 3.5, class_)
        for (label, class_, _), place in zip(ends, places, strict=True)
    ]


def _across(frame: _Frame, y: float, class_: str) -> Safe:
    return element("line", class_=class_, x1=_LEFT, x2=frame.right, y1=y, y2=y)


def _write(text: str, x: float, y: float, class_: str, *, anchor: str | None = None) -> Safe:
    return element("text", text, class_=class_, x=x, y=y, text_anchor=anchor)


def _readings(frame: _Frame, title: str, lines: Sequence[Line], format_fn) -> str:
    """Say for page.js what stands where: [x, y, step, value] for each point of each line."""
    data = {
        "left": _LEFT,
        "right": round(frame.right, 1),
        "top": _TOP,
        "bottom": HEIGHT - _BOTTOM,
        "lines": [
            {
                "label": line.label or title,
                "tone": line.tone,
                "points": [
                    [round(frame.x(s), 1), round(frame.y(v), 1), f"{round(s):,}", format_fn(v)]
                    for s, v in line.points
                ],
            }
            for line in lines
        ],
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _in_words(title, unit, lines, format_fn) -> str:
    said = []
    for line in lines:
        (first, start), (last, end) = line.points[0], line.points[-1]
        name = f"{line.label}: " if line.label else ""
        said.append(
            f"{name}from {format_fn(start)} at step {round(first):,} "
            f"to {format_fn(end)} at step {round(last):,}"
        )
    return f"{title}{' in ' + unit if unit else ''}. {'; '.join(said)}."


def _finite(points) -> list[tuple[float, float]]:
    return [
        (s, v if abs(v) >= _NOTHING else 0.0)
        for s, v in points
        if v is not None and math.isfinite(v)
    ]


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Average neighbours until there are at most `_MOST_POINTS`; the last point stays."""
    if len(points) <= _MOST_POINTS:
        return points
    group = -(-len(points) // _MOST_POINTS)
    parts = [points[start : start + group] for start in range(0, len(points), group)]
    means = [(part[-1][0], sum(v for _, v in part) / len(part)) for part in parts]
    return means[:-1] + [points[-1]]


def _spread(places: Sequence[float]) -> list[float]:
    """Move labels apart until none covers another, keeping their order."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = list(places)
    for _ in range(20):
        for above, below in zip(order, order[1:], strict=False):
            overlap = _LABEL_GAP - (moved[below] - moved[above])
            if overlap > 0.01:
                moved[above] -= overlap / 2
                moved[below] += overlap / 2
    return moved
