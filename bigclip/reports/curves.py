"""The curves of a run: what was evaluated, and how training went."""

import math
from collections.abc import Sequence

from bigclip.reports import numbers
from bigclip.reports.charts import TONES, Line, line_chart, line_of
from bigclip.reports.columns import Chart, Column, expand
from bigclip.reports.frame import Level
from bigclip.reports.kinds import kind_of
from bigclip.reports.markup import Safe
from bigclip.reports.run import Run, SuiteHistory

_ONE_LEVEL = 0.02  # levels of chance nearer than this are drawn as one


def evaluation_charts(run: Run) -> list[Safe]:
    """The main metrics of each suite over the training steps, against chance.

    A suite that ran at one step only has no curve: its numbers stand in its table.
    """
    charts = [
        _suite_chart(suite, chart)
        for suite in run.suites
        if len(suite.lines) > 1
        for chart in kind_of(suite.kind, suite.last["metrics"]).charts
    ]
    return [chart for chart in charts if chart]


def suite_title(suite: SuiteHistory) -> str:
    """heldout_concepts -> "heldout concepts"."""
    return suite.name.replace("_", " ")


def chance_levels(columns: Sequence[Column], chance: dict[str, float]) -> list[Level]:
    """Return the levels of chance of some metrics, nearly equal ones once."""
    levels: list[Level] = []
    for column in columns:
        value = chance.get(column.metric)
        if value is None or any(abs(level.value - value) < _ONE_LEVEL for level in levels):
            continue
        levels.append(Level("chance", value))
    return levels


def as_percent(value: float) -> str:
    """0.3123 -> "31.2", for axes and readings."""
    return f"{100 * value:.3g}"


def format_of(columns: Sequence[Column]):
    """Return what writes the values of some metrics of one scale."""
    return as_percent if columns[0].form == "percent" else numbers.short


def _suite_chart(suite: SuiteHistory, chart: Chart) -> Safe | None:
    columns = expand(chart.columns, suite.last["metrics"])[: len(TONES)]
    if not columns:
        return None
    lines = []
    for number, column in enumerate(columns):
        points = [(line["step"], line["metrics"].get(column.metric)) for line in suite.lines]
        tone, pattern = line_of(number)
        lines.append(Line(column.label, points, tone, pattern if len(columns) > 3 else 0))
    return line_chart(
        suite_title(suite),
        lines,
        unit=chart.unit,
        levels=chance_levels(columns, suite.last["chance"]),
        from_zero=columns[0].form == "percent",
        marks=True,
        format_fn=format_of(columns),
    )


def training_charts(run: Run) -> list[Safe]:
    """Loss, speed, logits, learning rate and gradients, as far as they were written."""
    series = run.series
    batch_size = run.config.get("batch_size")
    softmax = (run.config.get("task") or {}).get("loss") == "softmax"
    guess = []
    if softmax and batch_size:
        guess = [Level(f"guessing: ln {batch_size:,}", math.log(batch_size))]
    logits = [
        Line("right pairs", series("positive_logit"), "first"),
        Line("wrong pairs", series("negative_logit"), "second"),
    ]
    gradients = [
        Line("image", series("grad_norm/image"), "first"),
        Line("text", series("grad_norm/text"), "second"),
    ]
    if not any(line.points for line in gradients):
        gradients = [Line("", series("grad_norm"))]
    waited = [(step, 100 * value) for step, value in series("data_wait_fraction")]
    accuracy = [(step, 100 * value) for step, value in series("batch_accuracy")]
    used = [(step, 100 * value) for step, value in series("mfu")]
    charts = [
        line_chart("Training loss", [Line("", series("loss"))], levels=guess),
        line_chart(
            "Accuracy in the batch",
            [Line("", accuracy)],
            unit="%",
            from_zero=True,
            note="Pictures whose own text has the highest logit of the training batch.",
        ),
        line_chart("Logit scale", [Line("", series("logit_scale"))]),
        line_chart("Mean logits", logits),
        line_chart("Learning rate", [Line("", series("learning_rate"))], from_zero=True),
        line_chart("Gradient norm", gradients, unit="by tower", from_zero=True),
        line_chart(
            "Throughput",
            [Line("", series("examples_per_second"))],
            unit="examples per second",
            from_zero=True,
        ),
        line_chart("Model FLOPs utilisation", [Line("", used)], unit="%", from_zero=True),
        line_chart(
            "Waiting for data",
            [Line("", waited)],
            unit="% of the time",
            from_zero=True,
            up_to=10.0,
            format_fn=lambda value: numbers.short(round(value, 1)),
        ),
    ]
    return [chart for chart in charts if chart]
