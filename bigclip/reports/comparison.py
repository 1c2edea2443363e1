"""Several runs side by side: one page with their curves, results and differences."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from bigclip.config import ConfigError
from bigclip.reports import tables
from bigclip.reports.compared import compared_results
from bigclip.reports.headline import facts_row, main_numbers, sentence
from bigclip.reports.markup import Child, Safe, element
from bigclip.reports.overlay import Entry, Scale, sample, training_chart
from bigclip.reports.page import charts, document, write_page
from bigclip.reports.run import Run, read_run
from bigclip.reports.settings import differences, flatten

NAME = "comparison.html"
MOST_RUNS = 12


def write_comparison(workdirs: Sequence[str | Path], out: str | Path = NAME) -> Path:
    """Write a page that compares runs, and return its path.

    Args:
        workdirs: of the runs, at least two.
        out: the file to write.

    Raises:
        ConfigError: if a workdir holds no run or is named twice, or if there are too many.
    """
    resolved = [Path(workdir).resolve() for workdir in workdirs]
    for number, workdir in enumerate(resolved):
        if workdir in resolved[:number]:
            raise ConfigError(f"{workdirs[number]} is named twice: name each run once.")
    if len(resolved) > MOST_RUNS:
        raise ConfigError(
            f"{len(resolved)} runs are too many for one page: their curves could not be told "
            f"apart. Name at most {MOST_RUNS}."
        )
    return write_page(render([read_run(workdir) for workdir in workdirs]), Path(out))


def render(runs: Sequence[Run]) -> str:
    """Return the page as HTML."""
    names = distinct_names([run.workdir.resolve() for run in runs])
    entries = [Entry(n, name, run) for n, (name, run) in enumerate(zip(names, runs, strict=True))]
    scale = Scale.of(entries)
    parts = [
        ("Results", "results", compared_results(entries, scale)),
        ("Training", "training", charts("How training went", _trained(entries, scale), "training")),
        ("Differences", "differences", _differences(entries)),
        ("Each run", "runs", _each_run(entries)),
    ]
    return document(f"{len(runs)} bigclip runs compared", _header(entries, scale), parts)


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Name folders by as much of the end of their paths as tells all of them apart."""
    for length in range(1, max(len(path.parts) for path in paths)):
        names = [str(Path(*path.parts[-length:])) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _header(entries: Sequence[Entry], scale: Scale) -> Safe:
    rows = [
        element(
            "li", sample(entry.number), element("b", entry.label), element("span", _called(entry))
        )
        for entry in entries
    ]
    over = (
        "The runs have different batch sizes, so that curves are drawn over examples seen."
        if scale.by_examples
        else "Curves are drawn over training steps."
    )
    return element(
        "header",
        element("p", "bigclip", class_="over"),
        element("h1", f"{len(entries)} runs side by side"),
        element("ul", rows, class_="runs"),
        element("p", over, class_="muted"),
    )


def _called(entry: Entry) -> Child:
    long = [] if entry.label == entry.name else [element("b", entry.name), ", "]
    return [*long, sentence(entry.run)]


def _trained(entries: Sequence[Entry], scale: Scale) -> list[Safe]:
    tasks = [flatten(entry.run.config.get("task") or {}).get("loss") for entry in entries]
    sizes = [entry.run.config.get("batch_size") for entry in entries]
    unlike = len(set(map(str, tasks))) > 1 or len(set(map(str, sizes))) > 1
    note = (
        "The runs have different losses or batch sizes: these values are not to be compared."
        if unlike
        else ""
    )
    drawn: Iterable[Safe | None] = (
        training_chart("Training loss", entries, "loss", scale, note=note),
        training_chart(
            "Accuracy in the batch",
            entries,
            "batch_accuracy",
            scale,
            unit="%",
            from_zero=True,
            factor=100.0,
        ),
        training_chart("Logit scale", entries, "logit_scale", scale),
        training_chart("Learning rate", entries, "learning_rate", scale, from_zero=True),
        training_chart("Gradient norm", entries, "grad_norm", scale, from_zero=True),
        training_chart(
            "Throughput",
            entries,
            "examples_per_second",
            scale,
            unit="examples per second",
            from_zero=True,
        ),
    )
    return [chart for chart in drawn if chart]


def _differences(entries: Sequence[Entry]) -> Safe:
    configs = [entry.run.config for entry in entries]
    told = ("platform", "device_kind", "num_devices", "num_processes", "versions")
    places = [
        {key: entry.run.status[key] for key in told if key in entry.run.status}
        | {"parameters": entry.run.num_params}
        for entry in entries
    ]
    parts = [
        _difference_table("Configuration", entries, configs),
        _difference_table("Where they ran", entries, places),
    ]
    return element("section", element("h2", "Differences"), parts, id="differences")


def _difference_table(title: str, entries: Sequence[Entry], blocks: Sequence[dict]) -> Safe:
    found = differences(blocks)
    same = len({name for block in blocks for name in flatten(block)}) - len(found)
    if not found:
        return element("p", f"{title}: all {same:,} settings are the same.", class_="muted")
    rows = [tables.row(name, *cells) for name, cells in found.items()]
    heads = [[sample(entry.number), " ", entry.label] for entry in entries]
    caption = f"{title}: what differs; {same:,} further settings are the same"
    return tables.table(caption, tables.head_row("setting", *heads), rows, "settings")


def _each_run(entries: Sequence[Entry]) -> Safe:
    parts = [
        element(
            "section",
            element("h3", sample(entry.number), " ", entry.name),
            element("p", sentence(entry.run), " ", element("code", str(entry.run.workdir))),
            main_numbers(entry.run),
            facts_row(entry.run),
            class_="suite",
            id=_anchor(entry),
        )
        for entry in entries
    ]
    return element("section", element("h2", "Each run"), parts, id="runs")


def _anchor(entry: Entry) -> str:
    return f"run-{entry.number + 1}"
