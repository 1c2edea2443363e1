"""Tables of results: over the steps, over the pools, over the classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from bigclip.reports import numbers
from bigclip.reports.markup import Child, Safe, element
from bigclip.reports.run import SuiteHistory

DIRECTIONS = (("image_to_text", "image \u2192 text"), ("text_to_image", "text \u2192 image"))
_RANKED = (
    ("R@1", "R@1"),
    ("R@5", "R@5"),
    ("R@10", "R@10"),
    ("median_rank", "median rank"),
    ("mrr", "MRR"),
)
_CLASSIFIED = (("top1", "top-1"), ("top5", "top-5"), ("mean_per_class", "mean per class"))
_OPEN_ROWS = 12


def over_steps(suite: SuiteHistory) -> Safe:
    """One row a step, the last one set off, and chance at the end; old rows fold away."""
    columns = _columns(suite)
    rows = [
        element(
            "tr",
            element("th", numbers.count(line["step"]), scope="row"),
            [_cell(line["metrics"], name) for name, _ in columns],
            class_="last" if line is suite.last else None,
        )
        for line in suite.lines
    ]
    chance = element(
        "tr",
        element("th", "chance", scope="row"),
        [_cell(suite.last.get("chance") or {}, name) for name, _ in columns],
        class_="chance",
    )
    caption = f"{suite.name} over the training steps, in percent except for ranks"
    class_ = "narrow" if len(columns) < 6 else None
    newest = rows[-_OPEN_ROWS:] + [chance]
    table = _table(caption, _head(suite, columns, "step"), newest, class_=class_)
    if len(rows) <= _OPEN_ROWS:
        return table
    older = _table(
        f"{caption}, earlier",
        _head(suite, columns, "step"),
        rows[:-_OPEN_ROWS],
        class_=class_,
    )
    summary = element("summary", f"{len(rows) - _OPEN_ROWS} earlier steps")
    return element("div", table, element("details", summary, older))


def over_pools(suite: SuiteHistory) -> Safe | None:
    """One row for each pool of a grouped suite at the last step, or None if it has none."""
    metrics, chance = suite.last["metrics"], suite.last.get("chance") or {}
    pools = sorted({name.split("/", 1)[0] for name in metrics if "=" in name.split("/", 1)[0]})
    if not pools:
        return None
    group = pools[0].split("=", 1)[0]
    columns = _columns(suite)
    rows = [
        element(
            "tr",
            element("th", pool.split("=", 1)[1], scope="row"),
            [_cell(metrics, f"{pool}/{name}") for name, _ in columns],
            element("td", _percent(chance.get(f"{pool}/image_to_text/R@1")), class_="quiet"),
        )
        for pool in pools
    ]
    mean = element(
        "tr",
        element("th", "mean", scope="row"),
        [_cell(metrics, name) for name, _ in columns],
        element("td", _percent(chance.get("image_to_text/R@1")), class_="quiet"),
        class_="last",
    )
    caption = f"{suite.name} by {group} at step {suite.last['step']:,}, each ranked within itself"
    return _table(caption, _head(suite, columns, group, extra="chance R@1"), [*rows, mean])


def over_classes(suite: SuiteHistory) -> Safe | None:
    """Accuracy of every class, best first, folded away; None if the suite has no classes."""
    per_class: Mapping[str, Any] = suite.details.get("per_class") or {}
    if not per_class:
        return None
    ordered = sorted(per_class.values(), key=lambda entry: (-entry["top1"], entry["name"]))
    rows = [
        element(
            "tr",
            element("th", entry["name"], scope="row"),
            element("td", numbers.percent(entry["top1"])),
            element("td", numbers.count(entry["images"])),
        )
        for entry in ordered
    ]
    head = [
        element("tr", [element("th", text, scope="col") for text in ("class", "top-1", "images")])
    ]
    never = sum(entry["top1"] == 0 for entry in ordered)
    always = sum(entry["top1"] == 1 for entry in ordered)
    summary = element(
        "summary",
        f"All {len(ordered):,} classes: {always:,} always right, {never:,} never right",
    )
    return element("details", summary, _table(f"{suite.name}, by class", head, rows, "narrow"))


def facts(caption: str, rows: Sequence[tuple[Child, Child]]) -> Safe:
    """A table of two columns, name and value."""
    body = [
        element("tr", element("th", name, scope="row"), element("td", value))
        for name, value in rows
    ]
    return _table(caption, [], body, class_="facts")


def _columns(suite: SuiteHistory) -> list[tuple[str, str]]:
    if suite.kind == "zero_shot":
        wanted = list(_CLASSIFIED)
    else:
        wanted = [(f"{way}/{key}", label) for way, _ in DIRECTIONS for key, label in _RANKED]
    return [(name, label) for name, label in wanted if name in suite.last["metrics"]]


def _head(suite: SuiteHistory, columns, first: str, extra: str | None = None) -> list[Safe]:
    names = [element("th", label, scope="col", class_=_opens(name)) for name, label in columns]
    names += [element("th", extra, scope="col")] if extra else []
    if suite.kind == "zero_shot":
        return [element("tr", element("th", first, scope="col"), names)]
    groups = []
    for way, label in DIRECTIONS:
        span = sum(name.startswith(way) for name, _ in columns)
        groups += [element("th", label, scope="colgroup", colspan=span)] if span else []
    groups += [element("td")] if extra else []
    corner = element("th", first, scope="col", rowspan=2)
    return [element("tr", corner, groups, class_="groups"), element("tr", names)]


def _cell(metrics: Mapping[str, Any], name: str) -> Safe:
    value = metrics.get(name)
    if value is None:
        text = None
    elif name.endswith("median_rank"):
        text = f"{value:,.1f}".removesuffix(".0")
    else:
        text = numbers.percent(value)
    return element("td", text, class_=_opens(name))


def _opens(name: str) -> str | None:
    """Set the columns of the second direction off from those of the first."""
    return "opens" if name.endswith("text_to_image/R@1") else None


def _percent(value: float | None) -> str:
    return "" if value is None else numbers.percent(value)


def _table(caption: str, head: list[Safe], rows: list[Safe], class_: str | None = None) -> Safe:
    table = element(
        "table",
        element("caption", caption),
        element("thead", head) if head else None,
        element("tbody", rows),
        class_=class_,
    )
    # Wide tables scroll in a box of their own; the box takes the focus, so that keys scroll it.
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)
