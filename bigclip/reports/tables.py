"""Tables as elements: a caption, a head that may group its columns, rows, a box that scrolls."""

from collections.abc import Mapping, Sequence

from bigclip.reports import numbers
from bigclip.reports.columns import Column
from bigclip.reports.markup import Child, Safe, element


def table(
    caption: Child, head: Sequence[Safe], rows: Sequence[Safe], class_: str | None = None
) -> Safe:
    """Build a table in a box of its own, which scrolls where the page is narrow.

    Args:
        caption: what the table shows.
        head: its header rows, if any.
        rows: its body.
        class_: "narrow" for few columns, "facts" for two columns of text.
    """
    built = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", head) if head else None,
        element("tbody", rows),
        class_=class_,
    )
    # The box takes the focus, so that keys scroll it.
    label = str(caption) if isinstance(caption, str) else None
    return element("div", built, class_="scroll", tabindex=0, role="region", aria_label=label)


def head_row(*names: Child) -> list[Safe]:
    """A header of one row."""
    return [element("tr", [element("th", name, scope="col") for name in names])]


def row(first: Child, *cells: Child, class_: str | None = None) -> Safe:
    """A row whose first cell names it."""
    named = element("th", first, scope="row")
    return element("tr", named, [element("td", cell) for cell in cells], class_=class_)


def facts(caption: str, rows: Sequence[tuple[Child, Child]]) -> Safe:
    """A table of two columns, name and value."""
    return table(caption, [], [row(name, value) for name, value in rows], class_="facts")


def metrics_head(first: str, columns: Sequence[Column], extra: str | None = None) -> list[Safe]:
    """A header for columns of metrics; a row above names their groups, if there are any.

    Args:
        first: heading of the column that names the rows.
        columns: the metrics.
        extra: heading of one more column at the end.
    """
    opens = _opens(columns)
    names = [
        element("th", column.label, scope="col", class_="opens" if new else None)
        for column, new in zip(columns, opens, strict=True)
    ]
    names += [element("th", extra, scope="col")] if extra else []
    if not any(column.group for column in columns):
        return [element("tr", element("th", first, scope="col"), names)]
    groups, start = [], 0
    while start < len(columns):
        group = columns[start].group
        end = start
        while end < len(columns) and columns[end].group == group:
            end += 1
        if group:
            groups.append(element("th", group, scope="colgroup", colspan=end - start))
        else:
            groups += [element("td")] * (end - start)
        start = end
    groups += [element("td")] if extra else []
    corner = element("th", first, scope="col", rowspan=2)
    return [element("tr", corner, groups, class_="groups"), element("tr", names)]


def metrics_cells(
    columns: Sequence[Column], metrics: Mapping[str, float], *, fine: bool = False
) -> list[Safe]:
    """One cell for each column; empty where the metric is missing.

    Args:
        columns: what to show.
        metrics: the values.
        fine: small shares get one more digit, as levels of chance need.
    """
    return [
        element("td", shown(metrics.get(column.metric), column.form, fine), class_=new and "opens")
        for column, new in zip(columns, _opens(columns), strict=True)
    ]


def shown(value: float | None, form: str, fine: bool = False) -> str:
    """Write a value in a column's form, without its unit; "" for None."""
    if value is None:
        return ""
    if form == "percent":
        return f"{100 * value:.2f}" if fine and 0 < value < 0.01 else numbers.percent(value)
    if form == "rank":
        return f"{value:,.1f}".removesuffix(".0")
    return numbers.short(value)


def bar(value: float, chance: float | None = None) -> Safe:
    """Draw a share of one as a bar, with a mark where chance stands."""
    value, mark = min(max(value, 0.0), 1.0), None
    if chance is not None:
        x = 200 * min(max(chance, 0.0), 1.0)
        mark = element("line", class_="by-chance", x1=x, x2=x, y1=0, y2=10)
    return element(
        "svg",
        element("rect", class_="track", x=0, y=3, width=200, height=4),
        element("rect", class_="fill", x=0, y=3, width=max(200 * value, 1.0), height=4),
        mark,
        viewBox="0 0 200 10",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def _opens(columns: Sequence[Column]) -> list[bool]:
    """Say which columns begin a group, to set them off from those before."""
    before = [None, *(column.group for column in columns)]
    return [number > 0 and column.group != before[number] for number, column in enumerate(columns)]
