"""Step time and peak memory, without data: `python -m benchmarks.train_step`.

Every side trains on the same few batches, which lie in memory. They take turns of some steps, so
that whatever else slows the machine slows all; the ratio is the median of the turns' ratios.
"""

import contextlib
import pathlib
import statistics
import sys
import tempfile
from typing import Any

from benchmarks import tables
from benchmarks.open_clip_model import differences
from benchmarks.peers import OtherWork, describe, environment
from benchmarks.runs import (
    OPEN_CLIP_LEARNING_RATE,
    Row,
    build,
    parser,
    peers_of,
    read_config,
    start_bigclip,
    start_open_clip,
    write_batches,
    write_json,
)
from bigclip.config import ConfigError

_NUM_BATCHES = 2

# What open_clip trains with, for a comparison of models and losses alone.
_ADAMW = {
    "name": "adamw",
    "learning_rate": OPEN_CLIP_LEARNING_RATE,
    "weight_decay": 0.2,
    "options": {"b1": 0.9, "b2": 0.98, "eps": 1e-6},
}


def measure(rows: list[Row], *, rounds: int, steps: int, batches: str) -> list[dict[str, Any]]:
    """Let the rows take turns.

    Returns:
        For each row: name, parameters, `turns` (seconds of the settled steps of every turn),
        seconds of the first step (with compilation), and peak memory in bytes before the first
        step and at the end.
    """
    found = [
        {
            "name": row.name,
            "num_params": row.num_params,
            "turns": [],
            "start_bytes": row.worker.peak_memory()["bytes"],
        }
        for row in rows
    ]
    for number in range(rounds + 1):
        # Nobody always follows the same neighbour's heat. Round 0 compiles and warms up.
        order = [(number + i) % len(rows) for i in range(len(rows))]
        for i in order:
            seconds = rows[i].worker.steps(count=steps, batches=batches)["seconds"]
            if number:
                found[i]["turns"].append(tables.settled(seconds))
            else:
                found[i]["first_step_seconds"] = seconds[0]
        done = ", ".join(f"{one['name']} {one['turns'][-1][-1]:.3f}" for one in found if number)
        print(f"round {number} of {rounds}: {done or 'warm'}", file=sys.stderr)
    for one, row in zip(found, rows, strict=True):
        one["peak_bytes"] = row.worker.peak_memory()["bytes"]
    return found


def speed_table(found: list[dict[str, Any]], *, batch_size: int) -> str:
    """Lay out what `measure` found, against the first row."""
    rows = []
    for one in found:
        median = statistics.median(second for turn in one["turns"] for second in turn)
        rows.append(
            (
                one["name"],
                f"{one['num_params']:,}",
                f"{median:.3f}",
                f"{batch_size / median:.0f}",
                f"{tables.median_ratio(one['turns'], found[0]['turns']):.2f}",
                f"{one['first_step_seconds']:.1f}",
                tables.gibibytes(one["peak_bytes"]),
                tables.gibibytes(one["start_bytes"]),
            )
        )
    header = (
        "side",
        "parameters",
        "s/step",
        "examples/s",
        f"time / {found[0]['name']}'s",
        "first step s",
        "peak RSS GiB",
        "before step 1",
    )
    return tables.markdown(header, rows)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    command = parser("Step time and peak memory, without data.")
    command.add_argument("--rounds", type=int, default=10, help="turns of every side")
    command.add_argument("--steps", type=int, default=6, help="steps of a turn")
    options = command.parse_args(argv)
    if options.rounds < 1 or options.steps < 1:
        command.error("--rounds and --steps must be at least 1")
    peers = peers_of(options)
    env, others = environment(peers), OtherWork()
    try:
        config = read_config(options.config)
        parts = build(config)
    except ConfigError as error:
        command.error(str(error))
    arch = parts.manifest["task"]["architecture"]
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as workers:
        folder = pathlib.Path(temporary)
        batches = write_batches(parts, folder / "batches.npz", first=0, count=_NUM_BATCHES)
        rows = []
        if options.only != "open_clip":
            alike = {**config, "optimizer": _ADAMW}
            for name, block in (("bigclip", config), ("bigclip, AdamW", alike)):
                rows.append(
                    start_bigclip(name, block, workers=workers, folder=folder, own_data=False)
                )
        if peers:
            rows.append(
                start_open_clip(
                    "open_clip, AdamW",
                    parts,
                    workers=workers,
                    python=options.peers_python,
                    learning_rate=OPEN_CLIP_LEARNING_RATE,
                )
            )
        found = measure(rows, rounds=options.rounds, steps=options.steps, batches=batches)
    env["other_cores"] = others.cores()
    notes = differences(arch) if peers else []
    print(f"\n## Training step, {options.config}, batch {parts.batch_size}\n\n{describe(env)}\n")
    print(speed_table(found, batch_size=parts.batch_size))
    print("".join(f"\n- {note}" for note in notes))
    write_json(
        options.json,
        {
            "environment": env,
            "architecture": arch,
            "batch_size": parts.batch_size,
            "differences": notes,
            "rows": found,
        },
    )


if __name__ == "__main__":
    main()
