"""Curves of several runs in one chart: one colour, dash and mark a run, the same in every chart."""

from collections.abc import Sequence
from typing import NamedTuple

from bigclip.reports import numbers
from bigclip.reports.charts import Line, draw_mark, draw_path, line_chart, line_of
from bigclip.reports.columns import Column
from bigclip.reports.curves import chance_levels, format_of
from bigclip.reports.frame import STEPS, Axis
from bigclip.reports.markup import Safe, element
from bigclip.reports.run import Run, SuiteHistory

_LONG_NAME = 14  # longer ones would leave no room for the curves


class Entry(NamedTuple):
    """A run of a comparison.

    Attributes:
        number: from 0, which gives its colour, dash and mark.
        name: by which it is told from the others.
        run: the run.
    """

    number: int
    name: str
    run: Run

    @property
    def label(self) -> str:
        """The name at the end of a curve."""
        return self.name if len(self.name) <= _LONG_NAME else f"run {self.number + 1}"


class Scale(NamedTuple):
    """What the curves are drawn over: steps, or examples where a step is not the same to all.

    Attributes:
        by_examples: whether steps are multiplied by the run's batch size.
    """

    by_examples: bool

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Scale":
        """Choose examples if every run has a batch size and they differ."""
        sizes = [entry.run.config.get("batch_size") for entry in entries]
        known = all(isinstance(size, int) and size > 0 for size in sizes)
        return cls(known and len(set(sizes)) > 1)

    @property
    def axis(self) -> Axis:
        """The horizontal axis."""
        return Axis("examples", format_fn=numbers.short) if self.by_examples else STEPS

    def place(self, run: Run, step: float) -> float:
        """Return where a step of a run stands."""
        return step * run.config["batch_size"] if self.by_examples else step


def sample(number: int) -> Safe:
    """Draw a short piece of a run's line, for a legend."""
    tone, pattern = line_of(number)
    return element(
        "svg",
        draw_path([(1, 8), (39, 8)], tone, pattern),
        draw_mark(20, 8, tone, pattern),
        viewBox="0 0 40 16",
        class_="sample",
        aria_hidden="true",
    )


def suite_chart(
    title: str,
    found: Sequence[tuple[Entry, SuiteHistory]],
    column: Column,
    scale: Scale,
) -> Safe | None:
    """Draw one metric of one suite for several runs; None if no run has it at two steps."""
    if not any(len(suite.lines) > 1 for _, suite in found):
        return None
    lines, chance = [], {}
    for entry, suite in found:
        points = [
            (scale.place(entry.run, line["step"]), line["metrics"].get(column.metric))
            for line in suite.lines
        ]
        lines.append(_line(entry, points))
        chance |= suite.last["chance"]
    return line_chart(
        title,
        lines,
        unit=f"{column.label}, %" if column.form == "percent" else column.label,
        levels=chance_levels([column], chance),
        axis=scale.axis,
        from_zero=column.form == "percent",
        marks=True,
        format_fn=format_of([column]),
    )


def training_chart(
    title: str,
    entries: Sequence[Entry],
    metric: str,
    scale: Scale,
    *,
    unit: str = "",
    note: str = "",
    from_zero: bool = False,
    factor: float = 1.0,
) -> Safe | None:
    """Draw one training metric for several runs; None if none wrote it."""
    lines = []
    for entry in entries:
        series = entry.run.series(metric)
        points = [(scale.place(entry.run, step), factor * value) for step, value in series]
        lines.append(_line(entry, points))
    return line_chart(title, lines, unit=unit, note=note, axis=scale.axis, from_zero=from_zero)


def _line(entry: Entry, points) -> Line:
    tone, pattern = line_of(entry.number)
    return Line(entry.label, points, tone, pattern)
