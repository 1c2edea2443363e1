"""The figures of a bench as plain data, and as tables for people."""

from typing import Any

from rich.console import Console
from rich.table import Table

from bigclip.data.bench.stages import STAGES, Stages
from bigclip.data.bench.throughput import Throughput
from bigclip.data.bench.verdict import Verdict

# Between threads and processes, and waiting for Python's lock: what the run used beyond the rest.
_HAND_OVER = "threads and processes"


def figures(found: Throughput, stages: Stages, verdict: Verdict) -> dict[str, Any]:
    """Put all figures into plain data for JSON; bytes, seconds, examples."""
    per_example = found.cpu_seconds / max(1, found.num_examples)
    own = sum(stages.cpu_seconds.values())
    return {
        "examples_per_second": found.examples_per_second,
        "examples_per_core_second": found.examples_per_core_second,
        "cores_busy": found.cores,
        "cores": verdict.cores,
        "seconds": found.seconds,
        "num_examples": found.num_examples,
        "num_batches": found.num_batches,
        "first_batch_seconds": found.first_seconds,
        "encoded_bytes_per_example": stages.encoded_bytes,
        "encoded_bytes_per_second": stages.encoded_bytes * found.examples_per_second,
        "memory_bytes": {
            "start": found.start_memory,
            "begin": found.begin_memory,
            "peak": found.peak_memory,
            "end": found.end_memory,
            "growth": found.end_memory - found.begin_memory,
        },
        "stages": {
            "num_examples": stages.num_examples,
            "cpu_seconds_per_example": stages.cpu_seconds,
            "wall_seconds_per_example": stages.wall_seconds,
            "one_thread_cpu_seconds_per_example": own,
            "run_cpu_seconds_per_example": per_example,
            "hand_over_cpu_seconds_per_example": per_example - own,
        },
        "num_seen": found.num_seen,
        "bad_records": found.bad,
        "filtered": found.rejected,
        "host_examples_per_second": verdict.most,
        "needed_examples_per_second": verdict.need and verdict.need.examples_per_second,
        "keeps_up": verdict.keeps_up,
    }


def print_figures(data: dict[str, Any], sentences: list[str], console: Console) -> None:
    """Print what `figures` returned, and the verdict."""
    memory = data["memory_bytes"]
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = [
        ("examples/s", f"{data['examples_per_second']:,.0f}"),
        ("examples/s per core", f"{data['examples_per_core_second']:,.0f}"),
        ("cores busy", f"{data['cores_busy']:.2f} of {data['cores']:g}"),
        (
            "measured",
            f"{data['num_batches']:,} batches, {data['num_examples']:,} examples, "
            f"{data['seconds']:.1f} s; the first batch took {data['first_batch_seconds']:.1f} s",
        ),
        (
            "pictures",
            f"{data['encoded_bytes_per_example'] / 1e3:,.1f} kB each, encoded: "
            f"{data['encoded_bytes_per_second'] / 1e6:,.1f} MB/s",
        ),
        (
            "host memory",
            f"{_mb(memory['start'])} before, {_mb(memory['begin'])} when measuring began, "
            f"{_mb(memory['peak'])} at most, {_mb(memory['end'])} at the end: "
            f"{memory['growth'] / 1e6:+,.0f} MB",
        ),
        ("bad records", _counts(data["bad_records"], data["num_seen"])),
        ("filtered out", _counts(data["filtered"], None)),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(_stage_table(data["stages"]))
    for sentence in sentences:
        console.print(sentence, highlight=False, soft_wrap=True)


def _stage_table(stages: dict[str, Any]) -> Table:
    """Lay out the stages; with what the run needs beyond them they add up to what it used."""
    title = f"where the time goes, {stages['num_examples']:,} examples in one thread"
    table = Table(title=title, title_justify="left")
    table.add_column("part of the work")
    for heading in ("CPU µs an example", "share", "waiting µs"):
        table.add_column(heading, justify="right")
    total = max(stages["run_cpu_seconds_per_example"], 1e-12)
    for stage in STAGES:
        cpu, wall = (stages[f"{kind}_seconds_per_example"][stage] for kind in ("cpu", "wall"))
        table.add_row(stage, _us(cpu), f"{cpu / total:.0%}", _us(max(0.0, wall - cpu)))
    between = stages["hand_over_cpu_seconds_per_example"]
    table.add_row(_HAND_OVER, _us(between), f"{between / total:.0%}", "", end_section=True)
    table.add_row("the run", _us(total), "100%", "")
    if between < 0:
        table.caption = "Less than nothing between threads: the cores were busier for the sample."
    return table


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:,.1f}"


def _mb(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:,.0f} MB"


def _counts(counts: dict[str, int], total: int | None) -> str:
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return (told or "none") + (f", of {total:,} records" if total else "")
