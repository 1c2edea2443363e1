"""The whole page: `WORKDIR/report.html`, one file that needs nothing beside it."""

import time
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from bigclip import __version__
from bigclip.reports import curves
from bigclip.reports.about import data_and_limits
from bigclip.reports.examples import examples, maps
from bigclip.reports.headline import headline
from bigclip.reports.made import how_it_was_made
from bigclip.reports.markup import Safe, element, join
from bigclip.reports.pictures import Books
from bigclip.reports.results import results
from bigclip.reports.run import Run, read_run

NAME = "report.html"

# The page may load nothing: no font, no script, no picture but those within it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_report(workdir: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of a run, whatever of it exists so far, and return its path.

    Args:
        workdir: the run's directory.
        out: the file to write; report.html in the workdir by default.

    Raises:
        ConfigError: if the workdir holds no run.
    """
    run = read_run(workdir)
    return write_page(render(run), run.workdir / NAME if out is None else Path(out))


def render(run: Run) -> str:
    """Return the page of a run as HTML."""
    evaluated, trained = curves.evaluation_charts(run), curves.training_charts(run)
    books = Books(run)
    parts = [
        ("Over the steps", "curves", charts("Over the training steps", evaluated, "curves")),
        ("Pictures", "pictures", examples(run, books)),
        ("Results", "results", results(run)),
        ("Map", "map", maps(run, books)),
        ("Training", "training", charts("How training went", trained, "training")),
        ("Data and limits", "data", data_and_limits(run)),
        ("How it was made", "made", how_it_was_made(run)),
    ]
    return document(f"{run.workdir.resolve().name}: bigclip run", headline(run), parts)


def document(title: str, header: Safe, parts: Iterable[tuple[str, str, Safe | None]]) -> str:
    """Put a page together: styles and scripts inside, a list of its parts, the parts.

    Args:
        title: of the window.
        header: the top of the page.
        parts: (name in the list of parts, id, section); those that are None are left out.
    """
    parts = [part for part in parts if part[2]]
    links = [element("li", element("a", name, href=f"#{anchor}")) for name, anchor, _ in parts]
    body = [
        element("a", "Skip to the results", href="#results", class_="skip")
        if any(anchor == "results" for _, anchor, _ in parts)
        else None,
        element(
            "main",
            header,
            element("nav", element("ul", links), aria_label="parts of this page"),
            [section for _, _, section in parts],
        ),
        element(
            "footer",
            f"Written by bigclip {__version__} on ",
            time.strftime("%Y-%m-%d at %H:%M UTC", time.gmtime()),
            ".",
        ),
        element("div", id="reading", role="status", hidden=True),
        element("script", _file("page.js"), _file("map.js")),
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", _file("style.css"), _file("parts.css")),
    )
    return "<!doctype html>\n" + element("html", head, element("body", body), lang="en") + "\n"


def charts(title: str, drawn: list[Safe], anchor: str) -> Safe | None:
    """Return a section of charts side by side, None if there are none."""
    if not drawn:
        return None
    return element(
        "section",
        element("h2", title),
        element("div", drawn, class_="charts"),
        id=anchor,
    )


def write_page(text: str, path: Path) -> Path:
    """Write a page in one move, so that whoever reads it never sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path


def _file(name: str) -> Safe:
    """Return a file of this package, which is ours and therefore safe."""
    text = resources.files("bigclip.reports").joinpath(name).read_text(encoding="utf-8")
    return join(Safe(text))
