"""The numbers of a suite: over the training steps, over the groups of one result."""

import re
from collections.abc import Sequence

from bigclip.reports import numbers, tables
from bigclip.reports.columns import Column, expand, natural
from bigclip.reports.curves import suite_title
from bigclip.reports.details import sections_of
from bigclip.reports.headline import suite_anchor
from bigclip.reports.kinds import KINDS, columns_of, kind_of
from bigclip.reports.markup import Safe, element
from bigclip.reports.run import Run, SuiteHistory

_OPEN_ROWS = 12
_COUNTED = (
    ("images", "pictures"),
    ("train_images", "training pictures"),
    ("val_images", "validation pictures"),
    ("texts", "texts"),
    ("paraphrases", "paraphrases"),
    ("images_without_text", "pictures without a text"),
    ("images_left_out", "pictures of other classes left out"),
    ("ood_images", "pictures of no class"),
    ("classes", "classes"),
    ("templates", "prompt templates"),
    ("sets", "sets of scenes"),
    ("corruptions", "corruptions"),
    ("folds", "folds"),
    ("seeds", "draws"),
    ("not_converged", "fits that did not converge"),
)


def results(run: Run) -> Safe | None:
    """All that is known of every suite: its numbers, and what its details add."""
    if not run.suites:
        return None
    parts = []
    for suite in run.suites:
        kind = kind_of(suite.kind, suite.last["metrics"])
        shown = [over_steps(suite), over_groups(suite), sections_of(suite), further(suite)]
        about = ", ".join(part for part in (kind.title, evaluated_on(suite)) if part)
        head = [element("h3", suite_title(suite)), element("p", about, class_="muted about")]
        parts.append(element("section", head, shown, id=suite_anchor(suite), class_="suite"))
    return element("section", element("h2", "Results"), parts, id="results")


def over_steps(suite: SuiteHistory) -> Safe:
    """One row a step, the last one set off, and chance at the end; old rows fold away."""
    columns = columns_of(suite.kind, suite.last["metrics"])
    head = tables.metrics_head("step", columns)
    rows = [
        _metrics_row(
            numbers.count(line["step"]),
            columns,
            line["metrics"],
            "last" if line is suite.last else None,
        )
        for line in suite.lines
    ]
    newest = rows[-_OPEN_ROWS:]
    if any(column.metric in suite.last["chance"] for column in columns):
        newest.append(_metrics_row("chance", columns, suite.last["chance"], "chance"))
    over = "over the training steps" if len(suite.lines) > 1 else "at one step"
    caption = f"{suite.name} {over}{_units(columns)}"
    class_ = "narrow" if len(columns) < 6 else None
    shown = tables.table(caption, head, newest, class_)
    older = rows[:-_OPEN_ROWS]
    if not older:
        return shown
    earlier = tables.table(f"{caption}, earlier", head, older, class_)
    summary = element("summary", f"{len(older)} earlier steps")
    return element("div", shown, element("details", summary, earlier))


def over_groups(suite: SuiteHistory) -> list[Safe]:
    """One table for each grouping of the last step, such as style=flat/... or shots=5/..."""
    if suite.kind not in KINDS:
        return []  # whose table over the steps has every metric already
    shown = {column.metric for column in columns_of(suite.kind, suite.last["metrics"])}
    grouped = [name for name in suite.last["metrics"] if _group_of(name)]
    names = [name.split("=", 1)[0] for name in grouped if name not in shown]
    return [_over_group(suite, name) for name in dict.fromkeys(names)]


def further(suite: SuiteHistory) -> Safe | None:
    """The metrics of the last step that no other table shows, folded away."""
    metrics, chance = suite.last["metrics"], suite.last["chance"]
    elsewhere = re.compile(kind_of(suite.kind, metrics).elsewhere)
    shown = {column.metric for column in columns_of(suite.kind, metrics)}
    left = [
        name
        for name in metrics
        if name not in shown and not _group_of(name) and not elsewhere.fullmatch(name)
    ]
    if not left:
        return None
    rows = [
        tables.row(
            name, tables.shown(metrics[name], "number"), tables.shown(chance.get(name), "number")
        )
        for name in left
    ]
    caption = f"{suite.name} at step {suite.last['step']:,}"
    shown_table = tables.table(
        caption, tables.head_row("metric", "value", "chance"), rows, "narrow"
    )
    summary = element("summary", f"{len(left):,} further metrics")
    return element("details", summary, shown_table)


def evaluated_on(suite: SuiteHistory) -> str:
    """Say how much was evaluated."""
    counts = suite.last["counts"]
    parts = [
        f"{counts[name]:,} {label}"
        for name, label in _COUNTED
        if counts.get(name) and (name, counts[name]) != ("folds", 1)
    ]
    if counts.get("pools", 1) > 1:
        parts.append(f"{counts['pools']:,} groups")
    if isinstance(layer := suite.details.get("layer"), str):
        parts.append(f"layer {layer}")
    return ", ".join(parts)


def chance_of(suite: SuiteHistory) -> str:
    """Say what chance would give in the suite's main metrics."""
    chance = suite.last["chance"]
    columns = expand(kind_of(suite.kind, suite.last["metrics"]).main, chance)
    return ", ".join(
        f"{column.label} by chance {100 * chance[column.metric]:.2f}{numbers.THIN}%"
        for column in columns
    )


def _over_group(suite: SuiteHistory, group: str) -> Safe:
    kind, metrics, chance = KINDS[suite.kind], suite.last["metrics"], suite.last["chance"]
    rows: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        if (_group_of(name) or "").startswith(f"{group}="):
            member, rest = name.split("/", 1)
            rows.setdefault(member, {})[rest] = value
    everything = {name: value for row in rows.values() for name, value in row.items()}
    columns = columns_of(suite.kind, everything)
    columns += [
        Column(name, name, "number")
        for name in everything
        if "/" in name and not _has(columns, name)
    ]
    first = columns[0]
    by_chance = {member: chance.get(f"{member}/{first.metric}") for member in rows}
    has_chance = any(value is not None for value in by_chance.values())

    def line(title, values, level, class_=None):
        last = element("td", tables.shown(level, first.form, fine=True), class_="quiet")
        cells = [*tables.metrics_cells(columns, values), *([last] if has_chance else [])]
        return element("tr", element("th", title, scope="row"), cells, class_=class_)

    body = [
        line(member.split("=", 1)[1], rows[member], by_chance[member])
        for member in sorted(rows, key=natural)
    ]
    if kind.pooled and first.metric in metrics:
        body.append(line("mean", metrics, chance.get(first.metric), "last"))
    said = f", {kind.pooled}" if kind.pooled else ""
    extra = f"chance {first.label}" if has_chance else None
    return tables.table(
        f"{suite.name} by {group} at step {suite.last['step']:,}{said}",
        tables.metrics_head(group, columns, extra),
        body,
        "narrow" if len(columns) < 6 else None,
    )


def _metrics_row(first: str, columns: Sequence[Column], metrics, class_: str | None) -> Safe:
    cells = tables.metrics_cells(columns, metrics, fine=class_ == "chance")
    return element("tr", element("th", first, scope="row"), cells, class_=class_)


def _group_of(metric: str) -> str | None:
    head, slash, _ = metric.partition("/")
    return head if slash and "=" in head else None


def _has(columns: Sequence[Column], metric: str) -> bool:
    return any(column.metric == metric for column in columns)


def _units(columns: Sequence[Column]) -> str:
    forms = {column.form for column in columns}
    if forms == {"percent"}:
        return ", in percent"
    if forms == {"percent", "rank"}:
        return ", in percent except for ranks"
    if "percent" in forms:
        others = [column.full_label for column in columns if column.form != "percent"]
        return ", in percent except for " + ", ".join(dict.fromkeys(others))
    return ""
