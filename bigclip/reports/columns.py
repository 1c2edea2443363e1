"""Columns: which metrics a kind of suite has, and how each is shown.

A metric's name may hold one star, "shots=*/top1": it stands for every metric of the results that
fits, in natural order, and {} in the label for what the star matched.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Column(NamedTuple):
    """A metric and how it is shown.

    Attributes:
        metric: its name in the results; one star for several.
        label: the heading.
        form: "percent" of a share, "rank" of a position, or "number".
        group: a heading over neighbouring columns.
        better: "higher", "lower", or "" where neither is.
    """

    metric: str
    label: str
    form: str = "percent"
    group: str = ""
    better: str = "higher"

    @property
    def full_label(self) -> str:
        """The label with the heading above it, for places without headings."""
        return f"{self.group}, {self.label}" if self.group else self.label


class Chart(NamedTuple):
    """Metrics of one scale, drawn over the training steps.

    Attributes:
        unit: of the values, beside the title.
        columns: the lines, at most eight.
    """

    unit: str
    columns: tuple[Column, ...]


class Kind(NamedTuple):
    """What is shown of a kind of suite.

    Attributes:
        title: what the suite is, in words.
        columns: of the tables.
        main: of the tile at the top; the first that is there is set large.
        charts: over the training steps.
        compared: where runs are compared; the main ones by default.
        note: what to know to read the numbers.
        pooled: how groups of records make the main numbers, if these are means over groups.
        elsewhere: pattern of the metrics that tables of their own show.
    """

    title: str
    columns: tuple[Column, ...]
    main: tuple[Column, ...] = ()
    charts: tuple[Chart, ...] = ()
    compared: tuple[Column, ...] = ()
    note: str = ""
    pooled: str = ""
    elsewhere: str = ""


def expand(columns: Iterable[Column], metrics: Mapping[str, float]) -> list[Column]:
    """Return those columns that the metrics have, each star replaced by what it stands for."""
    found = []
    for column in columns:
        head, star, tail = column.metric.partition("*")
        if not star:
            found += [column] if column.metric in metrics else []
            continue
        fitting = re.compile(re.escape(head) + r"([^/]+)" + re.escape(tail))
        matches = [match for name in metrics if (match := fitting.fullmatch(name))]
        for match in sorted(matches, key=lambda match: natural(match[1])):
            label = column.label.replace("{}", match[1])
            found.append(column._replace(metric=match[0], label=label))
    return found


def natural(text: str) -> tuple:
    """Return a key that sorts "k=5" before "k=20"."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)
