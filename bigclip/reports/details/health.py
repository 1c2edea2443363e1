"""Histograms of the logits of right and of wrong pairs."""

from collections.abc import Mapping
from typing import Any

from bigclip.reports import numbers
from bigclip.reports.charts import Line, as_figure, draw_path, readings
from bigclip.reports.frame import HEIGHT, WIDTH, Axis, Frame, draw_axes, write
from bigclip.reports.markup import Safe, element
from bigclip.reports.run import SuiteHistory

_NAMES = {"positive": "right pairs", "negative": "wrong pairs"}
_HEADROOM = 1.35  # for the names above the areas
_TONES = ("first", "second", "third", "fourth")


def histograms(suite: SuiteHistory) -> Safe | None:
    """Draw the histograms over one axis, each with area one."""
    found: Mapping[str, Any] = suite.details.get("histograms") or {}
    lines, outlines = [], []
    for (name, histogram), tone in zip(found.items(), _TONES, strict=False):
        edges = [float(edge) for edge in histogram["edges"]]
        counts = [float(count) for count in histogram["counts"]]
        total = sum(counts)
        if total <= 0:
            continue
        bins = zip(counts, edges[:-1], edges[1:], strict=True)
        heights = [count / total / (right - left) for count, left, right in bins]
        middles = [(left + right) / 2 for left, right in zip(edges, edges[1:], strict=False)]
        label = _NAMES.get(name, name.replace("_", " "))
        lines.append(Line(label, list(zip(middles, heights, strict=True)), tone))
        outlines.append(_outline(edges, heights))
    if not lines:
        return None
    axis = Axis("logit", format_fn=numbers.short)
    frame = Frame.around(
        [x for outline in outlines for x, _ in outline],
        [y for outline in outlines for _, y in outline],
        axis=axis,
        from_zero=True,
        up_to=_HEADROOM * max(y for outline in outlines for _, y in outline),
    )
    title = "Logits of right and wrong pairs"
    drawing = element(
        "svg",
        draw_axes(frame, numbers.short),
        [_area(frame, outline, line) for outline, line in zip(outlines, lines, strict=True)],
        [_name(number, line) for number, line in enumerate(lines)],
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        tabindex=0,
        aria_label=f"{title}. {_in_words(lines)}.",
        data_chart=readings(frame, title, lines, numbers.short),
    )
    note = (
        "Each area is one. The less the two overlap, the better a threshold on the logit tells "
        "right pairs from wrong ones."
    )
    return element("div", as_figure(title, "density", drawing, note), class_="charts")


def _outline(edges, heights) -> list[tuple[float, float]]:
    """Return the corners of a histogram's outline, from the axis up and back to it."""
    corners = [(edges[0], 0.0)]
    for left, right, height in zip(edges, edges[1:], heights, strict=False):
        corners += [(left, height), (right, height)]
    return [*corners, (edges[-1], 0.0)]


def _area(frame: Frame, outline, line: Line) -> list[Safe]:
    places = [(frame.x(x), frame.y(y)) for x, y in outline]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) + "Z"
    pattern = _TONES.index(line.tone)
    return [
        element("path", class_=f"area {line.tone}", d=path),
        draw_path(places, line.tone, pattern),
    ]


def _name(number: int, line: Line) -> Safe:
    return write(line.label, WIDTH - 36, 20 + 14 * number, f"end {line.tone}", anchor="end")


def _in_words(lines) -> str:
    peaks = [(line.label, max(line.points, key=lambda point: point[1])[0]) for line in lines]
    return "; ".join(f"{label}: most at {numbers.short(peak)}" for label, peak in peaks)
