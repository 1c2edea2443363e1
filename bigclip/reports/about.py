"""What was trained and evaluated on, and what the numbers do not say."""

import os
from collections.abc import Mapping
from typing import Any

from bigclip.data import embedded
from bigclip.reports import tables
from bigclip.reports.curves import suite_title
from bigclip.reports.kinds import KINDS
from bigclip.reports.markup import Child, Safe, element
from bigclip.reports.results import chance_of, evaluated_on
from bigclip.reports.run import Run


def data_and_limits(run: Run) -> Safe:
    """What was trained and evaluated on, the levels of chance, and what the numbers do not say."""
    source = (run.config.get("data") or {}).get("source") or {}
    rows: list[tuple[Child, Child]] = [("training", _training_set(source))]
    for suite in run.suites:
        said = (evaluated_on(suite), chance_of(suite))
        rows.append((suite_title(suite), ", ".join(part for part in said if part)))
    kinds = dict.fromkeys(suite.kind for suite in run.suites)
    notes = [KINDS[kind].note for kind in kinds if kind in KINDS and KINDS[kind].note]
    if any(
        KINDS[suite.kind].pooled and any("=" in name for name in suite.last["metrics"])
        for suite in run.suites
        if suite.kind in KINDS
    ):
        notes.append(
            "A grouped suite ranks each group within itself, and its main numbers are means over "
            "the groups."
        )
    left_out = sum(suite.num_other for suite in run.suites)
    if left_out:
        notes.append(
            f"{left_out:,} results of earlier definitions of the suites (other options, data or "
            "preprocessing) are not shown: they are no points of the same curves."
        )
    if _is_embedded(source):
        notes += _embedded_notes()
    return element(
        "section",
        element("h2", "Data and limits"),
        tables.facts("Sets, and what chance would give", rows),
        element("ul", [element("li", note) for note in notes], class_="notes") if notes else None,
        id="data",
    )


def _training_set(source: Mapping[str, Any]) -> str:
    """Tell what was trained on, as far as its block tells: opening it may take minutes."""
    kind = source.get("kind")
    if kind == "mixture":
        parts = (source.get("sources") or {}).items()
        return "; ".join(f"{name}: {_training_set(block)}" for name, block in parts)
    shards = source.get("shards")
    shards = [shards] if isinstance(shards, str) else shards or []
    num = source.get("num_records")
    if _is_embedded(source):
        counts = embedded.summary()["shards"]
        num = sum(counts.get(os.path.basename(path), {"records": 0})["records"] for path in shards)
    places = [str(source[key]) for key in ("name", "data_dir", "path") if source.get(key)]
    places += [os.path.basename(str(path)) for path in shards[:1]]
    if len(shards) > 1:
        places.append(f"and {len(shards) - 1:,} more")
    where = " ".join([str(kind or "unknown"), *places])
    return f"{num:,} records, {where}" if num else where


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
