"""Probes: accuracy over the strength of regularisation, and over the number of examples."""

from bigclip.reports import numbers
from bigclip.reports.charts import TONES, Line, line_chart, line_of
from bigclip.reports.curves import as_percent, suite_title
from bigclip.reports.frame import Axis
from bigclip.reports.markup import Safe, element
from bigclip.reports.run import SuiteHistory

_AXES = {"strength": "strength", "learning_rate": "rate"}  # name in the details -> of the axis


def sweep(suite: SuiteHistory) -> Safe | None:
    """Validation accuracy of each layer over the strengths, or learning rates, that were tried."""
    layers: dict[str, dict[float, list[float]]] = {}
    entries = suite.details.get("sweep") or []
    if not entries:
        return None
    tried = "strength" if "strength" in entries[0] else "learning_rate"
    for entry in entries:
        layer = layers.setdefault(str(entry.get("layer") or ""), {})
        layer.setdefault(float(entry[tried]), []).append(float(entry["val"]))
    lines, best = [], []
    for number, (layer, found) in enumerate(layers.items()):
        points = [(strength, sum(found[strength]) / len(found[strength])) for strength in found]
        if number < len(TONES):
            tone, pattern = line_of(number)
            lines.append(Line(layer, sorted(points), tone, pattern))
        strength, value = max(points, key=lambda point: point[1])
        name = f"{layer}: " if layer else ""
        best.append(f"{name}{as_percent(value)}{numbers.THIN}% at {numbers.short(strength)}")
    chart = line_chart(
        f"Sweep of {suite_title(suite)}",
        lines,
        unit="on the validation set, %",
        axis=Axis(_AXES[tried], is_log=True, format_fn=numbers.short),
        marks=True,
        format_fn=as_percent,
        note=f"Best {', '.join(best)}."
        + (" Means over the folds that tried a strength." if "fold" in entries[0] else ""),
    )
    return element("div", chart, class_="charts") if chart else None


def shots(suite: SuiteHistory) -> Safe | None:
    """Accuracy over the number of examples of each class."""
    entries = sorted(suite.details.get("curve") or [], key=lambda entry: entry["shots"])
    points = [(float(entry["shots"]), float(entry["mean"])) for entry in entries]
    if len(points) < 2:
        return None
    errors = [float(entry.get("std") or 0.0) for entry in entries]
    chart = line_chart(
        f"Shots of {suite_title(suite)}",
        [Line("", points, errors=errors)],
        unit="top-1, %",
        axis=Axis("shots", is_log=True, ticks=[shot for shot, _ in points]),
        from_zero=True,
        marks=True,
        format_fn=as_percent,
        note="Whiskers: one standard deviation over the draws of the examples.",
    )
    return element("div", chart, class_="charts") if chart else None
