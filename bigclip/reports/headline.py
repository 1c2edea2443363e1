"""The top of the page: what the run is, and its main numbers against chance."""

from bigclip.reports import numbers
from bigclip.reports.markup import Child, Safe, element, join
from bigclip.reports.run import Run, SuiteHistory


def headline(run: Run) -> Safe:
    """Return the header: name, status, main numbers and the facts of the run."""
    name = run.workdir.resolve().name
    title = element(
        "div",
        element("p", "bigclip run", class_="over"),
        element("h1", name),
        element("p", _sentence(run), class_="lead"),
    )
    tiles = [tile for suite in run.suites if (tile := _tile(suite))]
    facts = [
        element("div", element("dt", label), element("dd", value)) for label, value in _facts(run)
    ]
    return element(
        "header",
        title,
        element("div", tiles, class_="tiles") if tiles else _no_results(),
        element("dl", facts, class_="facts-row"),
    )


def suite_title(suite: SuiteHistory) -> str:
    """heldout_concepts -> "heldout concepts"."""
    return suite.name.replace("_", " ")


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


def _sentence(run: Run) -> Safe:
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
        element("span", status, class_=f"status {status if status == 'complete' else 'other'}"),
        f" after {where}" if status == "complete" else f" at {where}",
        ".",
    )


def _tile(suite: SuiteHistory) -> Safe | None:
    rows = {
        "retrieval": (
            ("image_to_text/R@1", "image \u2192 text, R@1"),
            ("text_to_image/R@1", "text \u2192 image, R@1"),
        ),
        "zero_shot": (("top1", "zero-shot, top-1"), ("top5", "zero-shot, top-5")),
    }.get(suite.kind, ())
    metrics, chance = suite.last["metrics"], suite.last.get("chance") or {}
    rows = [(name, label) for name, label in rows if name in metrics]
    if not rows:
        return None
    (name, label), *others = rows
    value, by_chance = metrics[name], chance.get(name)
    return element(
        "section",
        element("h2", suite_title(suite)),
        element(
            "p",
            element("span", numbers.percent(value), class_="number"),
            element("span", "%", class_="unit"),
            class_="big",
        ),
        element("p", label, class_="what"),
        _bar(value, by_chance),
        element("p", _against_chance(value, by_chance), class_="muted"),
        [
            element(
                "p", f"{other}: ", element("b", f"{numbers.percent(metrics[key])}{numbers.THIN}%")
            )
            for key, other in others
        ],
        class_="tile",
    )


def _bar(value: float, chance: float | None) -> Safe:
    mark = chance is not None and element(
        "line", class_="by-chance", x1=200 * chance, x2=200 * chance, y1=0, y2=10
    )
    return element(
        "svg",
        element("rect", class_="track", x=0, y=3, width=200, height=4),
        element("rect", class_="fill", x=0, y=3, width=max(200 * value, 1.0), height=4),
        mark or None,
        viewBox="0 0 200 10",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def _against_chance(value: float, chance: float | None) -> str:
    if not chance:
        return ""
    times = value / chance
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


def _no_results() -> Safe:
    return element(
        "p",
        "No evaluation yet. ",
        element("code", "python -m bigclip.evaluate --workdir \u2026 --follow"),
        " evaluates the checkpoints, also while the run goes on.",
        class_="muted",
    )
