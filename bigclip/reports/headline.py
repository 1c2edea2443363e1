"""The top of the page: what the run is, and its main numbers against chance."""

import re

from bigclip.reports import numbers, tables
from bigclip.reports.columns import expand
from bigclip.reports.curves import suite_title
from bigclip.reports.kinds import kind_of
from bigclip.reports.markup import Child, Safe, element, join
from bigclip.reports.run import Run, SuiteHistory

_DONE = ("complete", "evaluated")  # a run's status, or that of a checkpoint evaluated alone
_OTHERS = 3  # further numbers in a tile


def headline(run: Run) -> Safe:
    """Return the header: name, status, main numbers and the facts of the run."""
    title = element(
        "div",
        element("p", "bigclip run", class_="over"),
        element("h1", run.workdir.resolve().name),
        element("p", sentence(run), class_="lead"),
    )
    return element("header", title, main_numbers(run, linked=True), facts_row(run))


def main_numbers(run: Run, *, linked: bool = False) -> Safe:
    """Return one tile for each suite that has a main number.

    Args:
        run: whose suites.
        linked: the page has a section `suite_anchor` for each suite.
    """
    tiles = [tile for suite in run.suites if (tile := _tile(suite, linked))]
    return element("div", tiles, class_="tiles") if tiles else _no_results(run)


def facts_row(run: Run) -> Safe:
    """Return the facts of a run: its size, how long, how fast, where."""
    facts = [
        element("div", element("dt", label), element("dd", value)) for label, value in _facts(run)
    ]
    return element("dl", facts, class_="facts-row")


def suite_anchor(suite: SuiteHistory) -> str:
    """Return the id of a suite's section on the page of its run."""
    return "suite-" + re.sub(r"[^A-Za-z0-9_-]", lambda match: f"-{ord(match[0]):x}-", suite.name)


def progress(run: Run) -> tuple[int, int | None]:
    """Return the newest step that anything tells of, and the run's length."""
    steps = [run.status.get("step") or 0]
    steps += [run.metrics[-1]["step"]] if run.metrics else []
    steps += [suite.last["step"] for suite in run.suites]
    return max(steps), run.status.get("total_steps") or run.config.get("total_steps")


def training_seconds(run: Run) -> float:
    """Add up the time of the steps, without compilation and pauses."""
    seconds, last = 0.0, 0
    for row in run.metrics:
        seconds += (row["step"] - last) * (row.get("seconds_per_step") or 0.0)
        last = row["step"]
    return seconds


def sentence(run: Run) -> Safe:
    """Say what the run is and how far it came."""
    task = run.config.get("task") or {}
    loss = task.get("loss")
    method = {"softmax": "CLIP (softmax loss)", "sigmoid": "SigLIP (sigmoid loss)"}.get(
        loss, task.get("name") or "an image-text model"
    )
    step, total = progress(run)
    status = run.status.get("status") or "of unknown status"
    where = f"{step:,}" + (f" of {total:,}" if total else "") + " steps"
    return join(
        f"{method}, ",
        element("span", status, class_=f"status {'complete' if status in _DONE else 'other'}"),
        f" after {where}" if status == "complete" else f" at {where}",
        ".",
    )


def _tile(suite: SuiteHistory, linked: bool) -> Safe | None:
    metrics, chance = suite.last["metrics"], suite.last["chance"]
    columns = expand(kind_of(suite.kind, metrics).main, metrics)
    if not columns:
        return None
    first, *others = columns
    value, by_chance = metrics[first.metric], chance.get(first.metric)
    title: Child = suite_title(suite)
    if linked:
        title = element("a", title, href=f"#{suite_anchor(suite)}")
    return element(
        "section",
        element("h2", title),
        element(
            "p",
            element("span", numbers.percent(value), class_="number"),
            element("span", "%", class_="unit"),
            class_="big",
        ),
        element("p", first.label, class_="what"),
        tables.bar(value, by_chance),
        element("p", _against_chance(value, by_chance), class_="muted"),
        [
            element(
                "p",
                f"{column.label}: ",
                element("b", f"{numbers.percent(metrics[column.metric])}{numbers.THIN}%"),
            )
            for column in others[:_OTHERS]
        ],
        class_="tile",
    )


def _against_chance(value: float, chance: float | None) -> str:
    if not chance:
        return ""
    times = value / chance
    if chance > 0.2:
        return f"chance: {_small_percent(chance)}{numbers.THIN}%"
    factor = f"{times:.0f}" if times >= 10 else f"{times:.1f}"
    return f"{factor}{numbers.THIN}\u00d7 chance ({_small_percent(chance)}{numbers.THIN}%)"


def _small_percent(value: float) -> str:
    return f"{100 * value:.2f}" if value < 0.01 else f"{100 * value:.1f}"


def _facts(run: Run) -> list[tuple[str, Child]]:
    facts: list[tuple[str, Child]] = []
    if run.num_params:
        facts.append(("parameters", numbers.short(sum(run.num_params.values()))))
    seen = run.latest("examples_seen")
    if seen is not None:
        facts.append(("examples seen", numbers.count(seen)))
    if run.config.get("batch_size"):
        facts.append(("batch size", numbers.count(run.config["batch_size"])))
    seconds = training_seconds(run)
    if seconds:
        facts.append(("time in steps", numbers.duration(seconds)))
    speed = run.latest("examples_per_second")
    if speed:
        facts.append(("examples per second", numbers.short(speed)))
    if run.status.get("num_devices"):
        kind = run.status.get("device_kind") or run.status.get("platform") or "device"
        facts.append(("trained on", f"{run.status['num_devices']} \u00d7 {kind}"))
    loss = run.latest("loss")
    if loss is not None:
        facts.append(("training loss", numbers.short(loss)))
    return facts


def _no_results(run: Run) -> Safe:
    if run.suites:
        return element("p", "No suite with a main number ran; see the results.", class_="muted")
    return element(
        "p",
        "No evaluation yet. ",
        element("code", "python -m bigclip.evaluate --workdir \u2026 --follow"),
        " evaluates the checkpoints, also while the run goes on.",
        class_="muted",
    )
