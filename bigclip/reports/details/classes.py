"""Classes: accuracy of each, what the worst are taken for, wording, calibration."""

from collections.abc import Mapping
from typing import Any

from bigclip.reports import numbers, tables
from bigclip.reports.charts import Line, line_chart
from bigclip.reports.curves import suite_title
from bigclip.reports.frame import Axis
from bigclip.reports.markup import Safe, element
from bigclip.reports.run import SuiteHistory

_HEADINGS = {
    "top1": "top-1",
    "top5": "top-5",
    "ap": "AP",
    "average_precision": "AP",
    "roc_auc": "ROC AUC",
}
_FACTS = ("label", "name", "images")
_TAKEN_FOR = 3
_FEWEST = 5  # pictures in a bin that says anything


def every_class(suite: SuiteHistory) -> Safe | None:
    """Accuracy of every class, best first, folded away."""
    per_class: Mapping[str, Any] = suite.details.get("per_class") or {}
    if not per_class:
        return None
    entries = list(per_class.values())
    keys = dict.fromkeys(key for entry in entries for key in entry if key not in _FACTS)
    measures = [key for key in keys if all(_is_measure(entry.get(key)) for entry in entries)]
    first = measures[0]
    # A class without pictures has no accuracy: it stands at the end.
    ordered = sorted(
        entries, key=lambda entry: (entry[first] is None, -(entry[first] or 0), str(entry["name"]))
    )
    rows = [
        tables.row(
            str(entry["name"]),
            *(tables.shown(entry.get(key), "percent") for key in measures),
            numbers.count(entry["images"]),
        )
        for entry in ordered
    ]
    heads = [_HEADINGS.get(key, key.replace("_", " ")) for key in measures]
    shown = tables.table(
        f"{suite.name}, by class, in percent",
        tables.head_row("class", *heads, "images"),
        rows,
        "narrow",
    )
    summary = f"All {len(ordered):,} classes"
    if first == "top1":
        never = sum(entry["top1"] == 0 for entry in ordered)
        always = sum(entry["top1"] == 1 for entry in ordered)
        summary += f": {always:,} always right, {never:,} never right"
    return element("details", element("summary", summary), shown)


def _is_measure(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def confusions(suite: SuiteHistory) -> Safe | None:
    """The worst classes, and what they are taken for."""
    entries = suite.details.get("confusions") or []
    rows = []
    for entry in entries:
        others = [
            element(
                "span",
                str(other["name"]),
                _share(other["share"]) if entry["images"] > 1 else None,
                class_="taken",
            )
            for other in entry["confused_with"][:_TAKEN_FOR]
        ]
        rows.append(
            tables.row(
                str(entry["name"]),
                numbers.count(entry["images"]),
                numbers.percent(entry["top1"]),
                others or "\u2013",
            )
        )
    if not rows:
        return None
    return tables.table(
        f"The worst classes of {suite.name} at step {suite.last['step']:,}, and what their "
        "pictures are taken for",
        tables.head_row("class", "images", "top-1", "taken for"),
        rows,
        "wordy",
    )


def _share(share: float) -> Safe:
    return element("small", f" {numbers.percent(share)}{numbers.THIN}%")


def templates(suite: SuiteHistory) -> Safe | None:
    """Accuracy with each prompt template alone, best first, folded away if there are many."""
    entries = suite.details.get("per_template") or []
    if not entries:
        return None
    ordered = sorted(entries, key=lambda entry: -entry["top1"])
    rows = [
        tables.row(element("code", str(entry["template"])), numbers.percent(entry["top1"]))
        for entry in ordered
    ]
    ensemble = suite.last["metrics"].get("top1")
    if ensemble is not None:
        rows.append(tables.row("all of them, averaged", numbers.percent(ensemble), class_="last"))
    shown = tables.table(
        f"{suite.name}: one prompt template at a time, top-1 in percent",
        tables.head_row("template", "top-1"),
        rows,
        "narrow",
    )
    if len(rows) <= 8:
        return shown
    best, worst = ordered[0]["top1"], ordered[-1]["top1"]
    summary = (
        f"Each of {len(ordered):,} prompt templates alone: {numbers.percent(worst)} to "
        f"{numbers.percent(best)}{numbers.THIN}%"
    )
    return element("details", element("summary", summary), shown)


def calibration(suite: SuiteHistory) -> Safe | None:
    """Accuracy over confidence: how far the model's probabilities can be believed."""
    images = suite.last["counts"].get("images", 0)
    bins = [
        bin_
        for bin_ in suite.details.get("calibration") or []
        if bin_["share"] > 0 and not 0 < round(bin_["share"] * images) < _FEWEST
    ]
    points = sorted((float(bin_["confidence"]), float(bin_["accuracy"])) for bin_ in bins)
    if not points:
        return None
    error = suite.last["metrics"].get("ece")
    note = (
        "Pictures in bins by the probability of the first answer. Above the dashed line the model "
        "knows more than it claims, below it claims more than it knows. Bins of fewer than "
        f"{_FEWEST} pictures are left out."
    )
    if error is not None:
        note += f" Expected calibration error: {100 * error:.1f}{numbers.THIN}%."
    last = points[-1][0]
    end = max(1.0, last)
    return _single(
        line_chart(
            f"Calibration of {suite_title(suite)}",
            [
                Line("perfect", [(0.0, 0.0), (end, end)], "quiet", 1),
                Line("measured", points),
            ],
            unit="accuracy, %",
            axis=Axis("confidence", format_fn=lambda value: f"{100 * value:.1f}{numbers.THIN}%"),
            from_zero=True,
            marks=True,
            format_fn=lambda value: f"{100 * value:.3g}",
            note=note,
        )
    )


def _single(chart: Safe | None) -> Safe | None:
    return element("div", chart, class_="charts") if chart else None
