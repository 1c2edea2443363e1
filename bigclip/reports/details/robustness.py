"""Robustness: accuracy under each corruption at five strengths, shaded by what is left."""

import re

from bigclip.reports import numbers, tables
from bigclip.reports.markup import Safe, element
from bigclip.reports.run import SuiteHistory

_CORRUPTED = re.compile(r"([^=/]+)/(\d+)")


def strengths(suite: SuiteHistory) -> Safe | None:
    """One row a corruption, one column a strength; read from metrics such as gaussian_noise/3."""
    metrics = suite.last["metrics"]
    if "clean" not in metrics:
        return None
    found: dict[str, dict[int, float]] = {}
    for name, value in metrics.items():
        if match := _CORRUPTED.fullmatch(name):
            found.setdefault(match[1], {})[int(match[2])] = value
    if not found:
        return None
    columns = sorted({strength for row in found.values() for strength in row})
    clean = metrics["clean"]
    rows = [
        element(
            "tr",
            element("th", name.replace("_", " "), scope="row"),
            [_cell(row.get(strength), clean) for strength in columns],
            _cell(metrics.get(name, sum(row.values()) / len(row)), clean),
        )
        for name, row in found.items()
    ]
    by_strength = [
        [row[strength] for row in found.values() if strength in row] for strength in columns
    ]
    means = [sum(values) / len(values) for values in by_strength]
    rows.append(
        element(
            "tr",
            element("th", "mean", scope="row"),
            [_cell(value, clean) for value in means],
            _cell(metrics.get("mean"), clean),
            class_="last",
        )
    )
    families = suite.details.get("families") or {}
    caption = (
        f"{suite.name} at step {suite.last['step']:,}: accuracy in percent by strength of the "
        f"corruption; clean pictures {numbers.percent(clean)}"
    )
    if families:
        means = (f"{name} {numbers.percent(value)}" for name, value in families.items())
        caption += f"; means of {', '.join(means)}"
    head = tables.head_row("corruption", *(str(strength) for strength in columns), "mean")
    return tables.table(caption, head, rows, "heat")


def _cell(value: float | None, clean: float) -> Safe:
    if value is None:
        return element("td")
    left = min(max(value / clean, 0.0), 1.0) if clean > 0 else 0.0
    return element("td", numbers.percent(value), style=f"--left:{left:.2f}")
