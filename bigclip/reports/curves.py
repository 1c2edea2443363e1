"""The curves of a run: what was evaluated, and how training went."""

import math

from bigclip.reports import numbers
from bigclip.reports.charts import Level, Line, line_chart
from bigclip.reports.headline import suite_title
from bigclip.reports.markup import Safe
from bigclip.reports.run import Run, SuiteHistory

_EVALUATED = {
    "retrieval": (
        "R@1",
        (("image_to_text/R@1", "image \u2192 text"), ("text_to_image/R@1", "text \u2192 image")),
    ),
    "zero_shot": ("accuracy", (("top1", "top-1"), ("top5", "top-5"))),
}


def evaluation_charts(run: Run) -> list[Safe]:
    """One chart a suite: its main metrics over the training steps, against chance."""
    charts = [_suite_chart(suite) for suite in run.suites]
    return [chart for chart in charts if chart]


def _suite_chart(suite: SuiteHistory) -> Safe | None:
    if suite.kind not in _EVALUATED:
        return None
    unit, wanted = _EVALUATED[suite.kind]
    lines = [
        Line(label, [(line["step"], line["metrics"].get(name)) for line in suite.lines], tone)
        for (name, label), tone in zip(wanted, ("first", "second"), strict=True)
    ]
    chance = (suite.last.get("chance") or {}).get(wanted[0][0])
    levels = [Level("chance", chance)] if chance is not None else []
    return line_chart(
        suite_title(suite),
        lines,
        unit=f"{unit}, %",
        levels=levels,
        from_zero=True,
        marks=True,
        format_fn=lambda value: f"{100 * value:.3g}",
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
