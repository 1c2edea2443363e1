"""Timings and scores in few words: medians, ratios, means with spread, Markdown tables."""

import statistics
from collections.abc import Sequence

_SETTLING_STEPS = 5


def settled(seconds: Sequence[float], *, first: bool = False) -> list[float]:
    """Leave out the first steps of a turn: caches are cold, and data were made ahead meanwhile.

    Args:
        seconds: of every step of the turn.
        first: whether it is the side's first turn, whose first step also compiles.
    """
    leave = max(min(_SETTLING_STEPS, len(seconds) // 5), int(first))
    return list(seconds[leave:]) or list(seconds[-1:])


def median_ratio(others: Sequence[Sequence[float]], ours: Sequence[Sequence[float]]) -> float:
    """Compare two sides that took turns.

    Args:
        others: seconds of every step of every turn of the one side.
        ours: likewise, of the side that it is divided by; as many turns.

    Returns:
        The median over the turns of the ratio of the turns' medians, so that what slows the
        machine for a while slows both.
    """
    return statistics.median(
        statistics.median(a) / statistics.median(b) for a, b in zip(others, ours, strict=True)
    )


def mean_and_spread(values: Sequence[float], digits: int = 1) -> str:
    """Write "24.9 ± 0.8": mean and sample standard deviation; only the value if there is one."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a table; the first column is text, the rest are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def gibibytes(num_bytes: int | None) -> str:
    """Write a size; a dash if it is not known."""
    return "-" if num_bytes is None else f"{num_bytes / 2**30:.2f}"
