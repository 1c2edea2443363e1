"""Line charts as inline SVG: hairline axes, lines named at their ends, readings on hover.

`page.js` reads the data-* attributes and shows the values under the pointer; without scripts the
chart is still whole. Lines differ by colour, dash and mark, never by colour alone.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from bigclip.reports import numbers
from bigclip.reports.frame import (
    BOTTOM,
    HEIGHT,
    LEFT,
    STEPS,
    TOP,
    WIDTH,
    Axis,
    Frame,
    Level,
    draw_axes,
    draw_level,
    draw_names,
)
from bigclip.reports.markup import Safe, element

# Classes of style.css, each a colour of its own.
TONES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")

_MOST_POINTS = 300
_MOST_MARKS = 40
_NOTHING = 1e-300  # smaller sizes are drawn as 0: their differences are no longer numbers

# Corners of the marks in pixels around their point; a circle has none.
_MARKS = (
    (),
    ((-2.7, -2.7), (2.7, -2.7), (2.7, 2.7), (-2.7, 2.7)),
    ((0, -3.6), (3.4, 2.7), (-3.4, 2.7)),
    ((0, -3.9), (3.9, 0), (0, 3.9), (-3.9, 0)),
    ((-3.4, -2.7), (3.4, -2.7), (0, 3.6)),
)
_NUM_DASHES = 4  # .dash-0 (solid) to .dash-3 of style.css


class Line(NamedTuple):
    """One line of a chart.

    Attributes:
        label: named at its end; "" for a single line, which the title names.
        points: (position, value), ascending positions; a step is a position.
        tone: one of `TONES`, or "quiet".
        pattern: number of its dash and mark; 0 is solid with round dots.
        errors: half the length of a whisker at each point, in units of the value.
    """

    label: str
    points: Sequence[tuple[float, float]]
    tone: str = "first"
    pattern: int = 0
    errors: Sequence[float] | None = None


def line_of(number: int) -> tuple[str, int]:
    """Return the tone and the pattern of line `number`: forty differ before two are alike."""
    return TONES[number % len(TONES)], number % (_NUM_DASHES * len(_MARKS))


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    unit: str = "",
    note: str = "",
    levels: Sequence[Level] = (),
    axis: Axis = STEPS,
    from_zero: bool = False,
    up_to: float | None = None,
    marks: bool = False,
    format_fn: Callable[[float], str] = numbers.short,
) -> Safe | None:
    """Draw a chart as a figure.

    Args:
        title: what is shown.
        lines: at most eight that have labels.
        unit: of the values, beside the title.
        note: one sentence under the chart.
        levels: dashed lines to compare with; one far outside of the data does not stretch the axis.
        axis: what the positions are.
        from_zero: the value axis begins at 0.
        up_to: the value axis ends here or higher, so that small noise looks small.
        marks: draw a mark at each point.
        format_fn: writes a value of the axis and of a reading.

    Returns:
        The figure, or None if no line has a point.
    """
    lines = [prepared for line in lines if (prepared := _prepare(line, axis)).points]
    if not lines:
        return None
    frame = Frame.around(
        [position for line in lines for position, _ in line.points],
        [value for line in lines for value in _reach(line)],
        labels=[line.label for line in lines],
        levels=levels,
        axis=axis,
        from_zero=from_zero,
        up_to=up_to,
    )
    levels = frame.shown(levels)
    ends = [(line.label, f"end {line.tone}", frame.y(line.points[-1][1])) for line in lines]
    drawing = element(
        "svg",
        draw_axes(frame, format_fn),
        [draw_level(frame, level) for level in levels],
        [_draw_line(frame, line, marks) for line in lines],
        draw_names(frame, ends, levels),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        tabindex=0,
        aria_label=_in_words(title, unit, lines, axis, format_fn),
        data_chart=readings(frame, title, lines, format_fn),
    )
    return as_figure(title, unit, drawing, note)


def as_figure(title: str, unit: str, drawing: Safe, note: str = "") -> Safe:
    """Put a drawing under its title and above its note."""
    heading = element("figcaption", element("b", title), f" {unit}" if unit else None)
    below = element("p", note, class_="note") if note else None
    return element("figure", heading, drawing, below, class_="chart")


def draw_mark(x: float, y: float, tone: str, pattern: int) -> Safe:
    """Draw the mark of a line at a place in pixels."""
    corners = _MARKS[pattern % len(_MARKS)]
    if not corners:
        return element("circle", class_=f"dot {tone}", cx=x, cy=y, r=2.6)
    path = "M" + "L".join(f"{x + dx:.1f} {y + dy:.1f}" for dx, dy in corners) + "Z"
    return element("path", class_=f"dot {tone}", d=path)


def draw_path(points: Iterable[tuple[float, float]], tone: str, pattern: int) -> Safe:
    """Draw a line through places in pixels."""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dash = pattern % _NUM_DASHES
    return element("path", class_=f"line {tone}" + (f" dash-{dash}" if dash else ""), d=path)


def readings(frame: Frame, title: str, lines: Sequence[Line], format_fn) -> str:
    """Say for page.js what stands where: [x, y, position, value] for each point of each line."""
    where = frame.axis.format_fn
    data = {
        "axis": frame.axis.label,
        "left": LEFT,
        "right": round(frame.right, 1),
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
        "lines": [
            {
                "label": line.label or title,
                "tone": line.tone,
                "points": [
                    [round(frame.x(s), 1), round(frame.y(v), 1), where(s), format_fn(v)]
                    for s, v in line.points
                ],
            }
            for line in lines
        ],
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _draw_line(frame: Frame, line: Line, marks: bool) -> list[Safe]:
    points = [(frame.x(position), frame.y(value)) for position, value in line.points]
    marked = points if marks and len(points) <= _MOST_MARKS else points[-1:]
    parts = [draw_path(points, line.tone, line.pattern)] if len(points) > 1 else []
    for (position, value), error in zip(line.points, line.errors or (), strict=False):
        x, low, high = frame.x(position), frame.y(value - error), frame.y(value + error)
        parts.append(element("line", class_=f"line {line.tone}", x1=x, x2=x, y1=low, y2=high))
    return parts + [draw_mark(x, y, line.tone, line.pattern) for x, y in marked]


def _in_words(title, unit, lines, axis, format_fn) -> str:
    said = []
    for line in lines:
        (first, start), (last, end) = line.points[0], line.points[-1]
        name = f"{line.label}: " if line.label else ""
        said.append(
            f"{name}from {format_fn(start)} at {axis.label} {axis.format_fn(first)} "
            f"to {format_fn(end)} at {axis.label} {axis.format_fn(last)}"
        )
    return f"{title}{' in ' + unit if unit else ''}. {'; '.join(said)}."


def _prepare(line: Line, axis: Axis) -> Line:
    """Leave out what cannot be drawn, and thin long lines."""
    errors = line.errors or [0.0] * len(line.points)
    whole = [
        (s, v if abs(v) >= _NOTHING else 0.0, e)
        for (s, v), e in zip(line.points, errors, strict=True)
        if v is not None and math.isfinite(v) and math.isfinite(s) and (s > 0 or not axis.is_log)
    ]
    if line.errors is None:
        return line._replace(points=_thin([(s, v) for s, v, _ in whole]))
    kept = [e if e is not None and math.isfinite(e) else 0.0 for _, _, e in whole]
    return line._replace(points=[(s, v) for s, v, _ in whole], errors=kept)


def _reach(line: Line) -> Iterable[float]:
    """Give every value of a line, with both ends of its whiskers."""
    for number, (_, value) in enumerate(line.points):
        error = line.errors[number] if line.errors else 0.0
        yield value - error
        yield value + error


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Average neighbours until there are at most `_MOST_POINTS`; the last point stays."""
    if len(points) <= _MOST_POINTS:
        return points
    group = -(-len(points) // _MOST_POINTS)
    parts = [points[start : start + group] for start in range(0, len(points), group)]
    means = [(part[-1][0], sum(v for _, v in part) / len(part)) for part in parts]
    return means[:-1] + [points[-1]]
