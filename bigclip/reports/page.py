"""The whole page: `WORKDIR/report.html`, one file that needs nothing beside it."""

import time
from importlib import resources
from pathlib import Path

from bigclip import __version__
from bigclip.reports import curves, sections
from bigclip.reports.headline import headline
from bigclip.reports.markup import Safe, element, join
from bigclip.reports.run import Run, read_run

NAME = "report.html"

# The page may load nothing: no font, no script, no picture but those within it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_report(workdir: str | Path) -> Path:
    """Write the page of a run, whatever of it exists so far, and return its path.

    Raises:
        ConfigError: if the workdir holds no run.
    """
    run = read_run(workdir)
    path = run.workdir / NAME
    part = path.with_suffix(".part")
    part.write_text(render(run), encoding="utf-8")
    part.replace(path)
    return path


def render(run: Run) -> str:
    """Return the page as HTML."""
    evaluated, trained = curves.evaluation_charts(run), curves.training_charts(run)
    body = [
        element("a", "Skip to the results", href="#results", class_="skip") if run.suites else None,
        element(
            "main",
            headline(run),
            _charts("Over the training steps", evaluated, "curves"),
            sections.examples(run),
            sections.results(run),
            _charts("How training went", trained, "training"),
            sections.data_and_limits(run),
            sections.how_it_was_made(run),
        ),
        element(
            "footer",
            f"Written by bigclip {__version__} on ",
            time.strftime("%Y-%m-%d at %H:%M UTC", time.gmtime()),
            ".",
        ),
        element("div", id="reading", role="status", hidden=True),
        element("script", _file("page.js")),
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{run.workdir.resolve().name}: bigclip run"),
        element("style", _file("style.css")),
    )
    return "<!doctype html>\n" + element("html", head, element("body", body), lang="en") + "\n"


def _charts(title: str, charts: list[Safe], anchor: str) -> Safe | None:
    if not charts:
        return None
    return element(
        "section",
        element("h2", title),
        element("div", charts, class_="charts"),
        id=anchor,
    )


def _file(name: str) -> Safe:
    """Return a file of this package, which is ours and therefore safe."""
    text = resources.files("bigclip.reports").joinpath(name).read_text(encoding="utf-8")
    return join(Safe(text))
