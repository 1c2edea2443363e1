"""Results of several runs beside each other, and only where they may be compared.

That is where they have the same definition: the same suite, options, data and preprocessing. Where
definitions differ the page says so, and in which settings the runs differ.
"""

import math
from collections.abc import Sequence

from bigclip.reports import numbers, tables
from bigclip.reports.columns import Column
from bigclip.reports.curves import suite_title
from bigclip.reports.kinds import compared_columns
from bigclip.reports.markup import Child, Safe, element
from bigclip.reports.overlay import Entry, Scale, sample, suite_chart
from bigclip.reports.run import SuiteHistory
from bigclip.reports.settings import differences

_CHARTS = 2  # of one suite
_SHARES_OF_PICTURES = ("top1", "image_to_text/R@1")
_NORMAL_95 = 1.96

Found = list[tuple[Entry, SuiteHistory]]


def by_definition(found: Found) -> list[Found]:
    """Part results of one suite into those that may be compared with each other.

    A result of an old format, which has no definition, may be compared with none.
    """
    groups: dict[object, Found] = {}
    for entry, suite in found:
        key = (suite.kind, suite.definition) if suite.definition else entry.number
        groups.setdefault(key, []).append((entry, suite))
    return list(groups.values())


def compared_results(entries: Sequence[Entry], scale: Scale) -> Safe | None:
    """Compare the results of each suite that any run has."""
    suites: dict[str, Found] = {}
    for entry in entries:
        for suite in entry.run.suites:
            suites.setdefault(suite.name, []).append((entry, suite))
    if not suites:
        return None
    parts = [_suite(name, found, entries, scale) for name, found in suites.items()]
    note = (
        "The best number of a column is set bold. The best step was chosen by the very set that it "
        "is measured on, which flatters it a little; the last step was not chosen."
    )
    return element(
        "section",
        element("h2", "Results"),
        element("p", note, class_="muted intro"),
        parts,
        id="results",
    )


def _suite(name: str, found: Found, entries: Sequence[Entry], scale: Scale) -> Safe:
    groups = by_definition(found)
    parts: list[Child] = [element("h3", suite_title(found[0][1]))]
    missing = [entry.label for entry in entries if all(entry is not other for other, _ in found)]
    if missing:
        parts.append(element("p", f"No result of {', '.join(missing)}.", class_="muted"))
    if len(groups) > 1:
        parts.append(_warning(name, found, groups))
    for group in groups:
        parts += _group(group, scale, apart=len(groups) > 1)
    return element("section", parts, class_="suite")


def _warning(name: str, found: Found, groups: list[Found]) -> Safe:
    blocks = []
    for entry, _ in found:
        config = entry.run.config
        block = {f"evals.{name}": (config.get("evals") or {}).get(name) or {}}
        blocks.append(block | {"preprocess": config.get("preprocess") or {}})
    keys = [key for key in differences(blocks) if not key.endswith(".every_steps")]
    where = (
        f" The runs differ in {', '.join(keys)}."
        if keys
        else " Their settings are alike, so that the data differ, or the version of the suite."
    )
    return element(
        "p",
        element("b", "Not to be compared with each other: "),
        f"the runs were evaluated under {len(groups)} definitions of this suite (options, data or "
        f"preprocessing), shown one below the other.{where}",
        class_="warning",
    )


def _group(group: Found, scale: Scale, *, apart: bool) -> list[Child]:
    """Return the table and the charts of results that may be compared."""
    first = group[0][1]
    everything = {
        name: value for _, suite in group for name, value in suite.last["metrics"].items()
    }
    columns = compared_columns(first.kind, everything)
    title = suite_title(first)
    if apart:
        title += f" ({', '.join(entry.label for entry, _ in group)})"
    drawn = [suite_chart(title, group, column, scale) for column in columns[:_CHARTS]]
    drawn = [chart for chart in drawn if chart]
    margin = _by_chance(group, columns)
    return [
        _table(group, columns, first.definition),
        element("p", margin, class_="muted intro") if margin else None,
        element("div", drawn, class_="charts") if drawn else None,
    ]


def _table(group: Found, columns: Sequence[Column], definition: str | None) -> Safe:
    bests = [_winner(group, column) for column in columns]
    several = any(len(suite.lines) > 1 for _, suite in group)
    choosing = {column.metric for column in columns if column.better and several}
    rows = []
    for entry, suite in group:
        cells: list[Child] = [numbers.count(suite.last["step"])]
        for column, winner in zip(columns, bests, strict=True):
            value = suite.last["metrics"].get(column.metric)
            shown = tables.shown(value, column.form)
            is_best = winner is not None and value == winner
            cells.append(element("b", shown, class_="best") if is_best else shown)
            if column.metric in choosing:
                cells.append(_best_step(suite, column))
        named = [sample(entry.number), " ", entry.label]
        rows.append(tables.row(named, *cells))
    heads = ["run", "last step"]
    for column in columns:
        heads += [column.label, *(["best, at step"] if column.metric in choosing else [])]
    percent = all(column.form == "percent" for column in columns)
    name, told = group[0][1].name, f"definition {definition or 'unknown'}"
    caption = f"{name}{', in percent' if percent else ''}; {told}"
    return tables.table(caption, tables.head_row(*heads), rows, "compared")


def chance_margin(share: float, num: int) -> float:
    """Return how far two shares of `num` draws lie apart by chance, at most, in 95 of 100 cases.

    The normal approximation of the difference of two independent shares of equal expectation.

    Args:
        share: the expectation, in [0, 1].
        num: draws of each.
    """
    return _NORMAL_95 * math.sqrt(2 * share * (1 - share) / num)


def _by_chance(group: Found, columns: Sequence[Column]) -> str:
    """Say how much of a difference in the first share of pictures may be chance."""
    first = next((column for column in columns if column.metric in _SHARES_OF_PICTURES), None)
    if first is None or len(group) < 2:
        return ""
    values = [suite.last["metrics"].get(first.metric) for _, suite in group]
    values = [value for value in values if value is not None]
    images = group[0][1].last["counts"].get("images", 0)
    if len(values) < 2 or images < 1:
        return ""
    points = 100 * chance_margin(min(max(sum(values) / len(values), 0.0), 1.0), images)
    return (
        f"With {images:,} pictures, equally good runs differ in {first.label} by up to "
        f"{points:.1f} points by chance (95 %, mistakes of the runs taken as independent)."
    )


def _winner(group: Found, column: Column) -> float | None:
    """Return the best last value of a column, None where nothing is to be won."""
    values = [suite.last["metrics"].get(column.metric) for _, suite in group]
    values = [value for value in values if value is not None]
    if len(values) < 2 or not column.better or min(values) == max(values):
        return None
    return max(values) if column.better == "higher" else min(values)


def _best_step(suite: SuiteHistory, column: Column) -> Safe | str:
    points = [(line["metrics"].get(column.metric), line["step"]) for line in suite.lines]
    points = [(value, step) for value, step in points if value is not None]
    if len(points) < 2:
        return ""
    sign = 1 if column.better == "higher" else -1
    value, step = max(points, key=lambda point: sign * point[0])
    return element(
        "span", f"{tables.shown(value, column.form)} at {numbers.count(step)}", class_="quiet"
    )
