"""Probes: accuracy over the strength of regularisation, and over the number of examples."""

from bigclip.reports import numbers, tables
from bigclip.reports.charts import TONES, Line, line_chart, line_of
from bigclip.reports.curves import as_percent, suite_title
from bigclip.reports.frame import Axis
from bigclip.reports.kinds import columns_of
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
        chosen = (suite.details.get("strength") or {}).get(layer) or []
        if len(chosen) == 1 and chosen[0] in found:  # of equals, the suite's own choice
            strength = chosen[0]
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


def folds(suite: SuiteHistory) -> Safe | None:
    """The numbers of each fold, and the strength that it chose; folded away."""
    found = suite.details.get("per_fold") or []
    if len(found) < 2:
        return None
    names = [str(entry["fold"]) for entry in suite.details.get("sweep") or [] if "fold" in entry]
    names = list(dict.fromkeys(names))
    if len(names) != len(found):
        names = [str(number) for number in range(1, len(found) + 1)]
    chosen = (suite.details.get("strength") or {}).get(suite.details.get("layer")) or []
    chosen = chosen if len(chosen) == len(found) else [None] * len(found)
    columns = columns_of(suite.kind, {name: value for one in found for name, value in one.items()})
    rows = [
        tables.row(
            name,
            "" if strength is None else numbers.short(float(strength)),
            *(tables.shown(one.get(column.metric), column.form) for column in columns),
        )
        for name, strength, one in zip(names, chosen, found, strict=True)
    ]
    shown = tables.table(
        f"{suite.name} by fold at step {suite.last['step']:,}, in percent but for the strength",
        tables.head_row("fold", "strength", *(column.full_label for column in columns)),
        rows,
        "narrow",
    )
    return element("details", element("summary", f"Each of {len(found):,} folds"), shown)


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
