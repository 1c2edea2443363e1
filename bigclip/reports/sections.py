"""The parts of the page below its top: pictures, results, data and limits, how it was made."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigclip import __version__
from bigclip.data import embedded
from bigclip.data.sources import open_source
from bigclip.reports import gallery, numbers, tables
from bigclip.reports.headline import suite_title
from bigclip.reports.markup import Child, Safe, element, join
from bigclip.reports.pictures import PictureBook
from bigclip.reports.run import Run, SuiteHistory


def examples(run: Run) -> Safe | None:
    """Ranked examples of every suite; the first open, the others folded away."""
    parts = []
    for suite in run.suites:
        block = ((run.config.get("evals") or {}).get(suite.name) or {}).get("source")
        shown = _suite_examples(suite, PictureBook(block))
        if not shown:
            continue
        if not parts:
            parts.append(element("div", element("h3", suite_title(suite)), shown))
        else:
            parts.append(element("details", element("summary", suite_title(suite)), shown))
    if not parts:
        return None
    return element("section", element("h2", "What the model put first"), parts, id="pictures")


def _suite_examples(suite: SuiteHistory, book: PictureBook) -> list[Safe]:
    details = suite.details
    texts = details.get("texts") or {}
    what = "class" if suite.kind == "zero_shot" else "text"
    parts = []
    drawn = (
        f"Drawn by seed {details.get('seed')} from all {{}} of the set without a look at any "
        f"score; the same at every step. Step {suite.last['step']:,}.{{}}"
    )
    if details.get("text_to_image"):
        parts += [
            element("h4", "Pictures for a text", class_="kind"),
            element("p", drawn.format("texts", ""), class_="muted"),
            gallery.pictures_for_texts(details["text_to_image"], texts, book),
        ]
    if details.get("image_to_text"):
        parts += [
            element("h4", f"A {what} for a picture", class_="kind"),
            element("p", drawn.format("pictures", " Figures are scores."), class_="muted"),
            gallery.texts_for_pictures(details["image_to_text"], texts, book),
        ]
    if details.get("mistakes"):
        chosen = (
            "No fair choice: the pictures of the whole set whose first answer is wrong by the "
            f"widest margin over the right one, at most one picture for a {what}."
        )
        parts += [
            element("h4", "Most confident mistakes", class_="kind"),
            element("p", chosen, class_="muted"),
            gallery.texts_for_pictures(details["mistakes"], texts, book),
        ]
    if parts and not book.is_open:
        lost = "The pictures are not shown: their source cannot be opened on this machine."
        parts.insert(0, element("p", lost, class_="muted"))
    return parts


def results(run: Run) -> Safe | None:
    """All metrics of every suite."""
    if not run.suites:
        return None
    parts = []
    for suite in run.suites:
        parts.append(element("h3", suite_title(suite)))
        parts += [tables.over_steps(suite), tables.over_pools(suite), tables.over_classes(suite)]
    return element("section", element("h2", "Results"), parts, id="results")


def data_and_limits(run: Run) -> Safe:
    """What was trained and evaluated on, the levels of chance, and what the numbers do not say."""
    source = (run.config.get("data") or {}).get("source") or {}
    rows: list[tuple[Child, Child]] = [("training", _training_set(source))]
    for suite in run.suites:
        rows.append((suite_title(suite), _evaluated_set(suite)))
    notes = [
        "R@k: a query counts as right if any of its right candidates is among the first k. Texts "
        "that are equal as strings are one text; a picture may have several right texts, and a "
        "text several right pictures.",
        "Ties are broken by lot, in expectation: a model that scores everything alike stands at "
        "chance, neither above nor below.",
    ]
    if any("=" in name for suite in run.suites for name in suite.last["metrics"]):
        notes.append(
            "A grouped suite ranks each group within itself, and its main numbers are means over "
            "the groups."
        )
    if _is_embedded(source):
        notes += _embedded_notes()
    return element(
        "section",
        element("h2", "Data and limits"),
        tables.facts("Sets, and what chance would give", rows),
        element("ul", [element("li", note) for note in notes], class_="notes"),
        id="data",
    )


def _training_set(source: Mapping[str, Any]) -> str:
    try:
        opened = open_source(**source)
        return f"{len(opened):,} records" if hasattr(opened, "__len__") else repr(opened)
    except Exception:  # the training data may live on another machine than the report
        return "not at hand on this machine"


def _evaluated_set(suite: SuiteHistory) -> str:
    counts = suite.last.get("counts") or {}
    chance = suite.last.get("chance") or {}
    parts = [
        f"{counts[name]:,} {label}"
        for name, label in (
            ("images", "pictures"),
            ("texts", "texts"),
            ("classes", "classes"),
            ("templates", "prompt templates"),
        )
        if counts.get(name)
    ]
    if counts.get("pools", 1) > 1:
        parts.append(f"{counts['pools']} groups")
    for name, label in (
        ("image_to_text/R@1", "image \u2192 text R@1"),
        ("text_to_image/R@1", "text \u2192 image R@1"),
        ("top1", "top-1"),
    ):
        if name in chance:
            parts.append(f"{label} by chance {100 * chance[name]:.2f}{numbers.THIN}%")
    return ", ".join(parts)


def _is_embedded(source: Mapping[str, Any]) -> bool:
    folder = os.path.dirname(embedded.__file__)
    shards = source.get("shards") or []
    shards = [shards] if isinstance(shards, str) else shards
    return bool(shards) and all(os.path.dirname(str(path)) == folder for path in shards)


def _embedded_notes() -> list[str]:
    summary = embedded.summary()
    splits = ", ".join(
        f"{name} {split['records']:,} pictures of {split['concepts']:,} concepts"
        for name, split in summary["splits"].items()
    )
    licenses = ", ".join(f"{name} {n:,}" for name, n in summary["licenses"].items())
    return [
        "These are drawings, not photographs: emoji by several vendors with their Unicode names "
        "and keywords, and public-domain clip art with its titles, 64 \u00d7 64 pixels. The "
        "numbers compare runs on this set with each other; they say nothing about photographs.",
        f"Splits: {splits}. Held-out concepts are in no style of the training set, and no training "
        "caption equals one of their names.",
        f"Licences: {licenses}. NOTICE beside the data names every source.",
    ]


def how_it_was_made(run: Run) -> Safe:
    """Configuration, environment, and the commands."""
    return element(
        "section",
        element("h2", "How it was made"),
        element("details", element("summary", "Configuration"), _configuration(run.config)),
        element("details", element("summary", "Environment"), _environment(run)),
        element("details", element("summary", "Do it again, and use it"), _commands(run)),
        id="made",
    )


def _configuration(config: Mapping[str, Any]) -> list[Safe]:
    blocks = {key: value for key, value in config.items() if isinstance(value, dict) and value}
    plain = {key: value for key, value in config.items() if key not in blocks}
    parts = [tables.facts("run", _flat(plain))]
    parts += [tables.facts(key, _flat(value)) for key, value in blocks.items()]
    return parts


def _flat(block: Mapping[str, Any], prefix: str = "") -> list[tuple[Child, Child]]:
    rows: list[tuple[Child, Child]] = []
    for key, value in block.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and len(value) > 4:
            items = [element("li", json.dumps(item, ensure_ascii=False)) for item in value]
            folded = element(
                "details", element("summary", f"{len(value)} values"), element("ul", items)
            )
            rows.append((prefix + key, folded))
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            rows.append((prefix + key, element("code", text)))
    return rows


def _environment(run: Run) -> Safe:
    status = run.status
    rows: list[tuple[Child, Child]] = [("run id", status.get("run_id", "unknown"))]
    for key in ("platform", "device_kind", "num_devices", "num_processes"):
        if status.get(key) is not None:
            rows.append((key.replace("_", " "), str(status[key])))
    for branch, number in run.num_params.items():
        rows.append((f"parameters, {branch}", numbers.count(number)))
    for key in ("memory_bytes", "host_memory_bytes"):
        if run.latest(key):
            rows.append(
                (
                    f"peak {key.removesuffix('_bytes').replace('_', ' ')}",
                    numbers.size(run.latest(key)),
                )
            )
    rows += [(f"{name}, in training", str(v)) for name, v in (status.get("versions") or {}).items()]
    rows.append(
        (
            "report written by",
            f"bigclip {__version__}{_commit()}, Python {platform.python_version()}",
        )
    )
    return tables.facts("Where it ran", rows)


def _commit() -> str:
    """Return the source tree's commit, if bigclip runs from one."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" (commit {done.stdout.strip()})" if done.returncode == 0 else ""


def _commands(run: Run) -> Safe:
    workdir = str(run.workdir)
    train = (
        run.status.get("command") or f"python -m bigclip.train --config \u2026 --workdir {workdir}"
    )
    lines = [
        "# train; the same command goes on where it was stopped",
        train,
        "# evaluate the checkpoints, also while the run goes on, and write this page",
        f"python -m bigclip.evaluate --workdir {workdir} --follow",
        "# write this page alone",
        f"python -m bigclip.report {workdir}",
    ]
    use = [
        "import bigclip",
        f"model = bigclip.load({workdir!r})",
        'image_emb = model.embed_images(["picture.png"])',
        'text_emb = model.embed_texts(["a red fox", "an owl"])',
        "print(model.score(image_emb, text_emb))  # larger is a better match",
    ]
    return join(
        element("pre", element("code", "\n".join(lines)), tabindex=0),
        element("pre", element("code", "\n".join(use)), tabindex=0),
    )
