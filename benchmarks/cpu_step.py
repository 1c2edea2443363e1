"""Training steps of published sizes on this CPU: `python -m benchmarks.cpu_step`.

bigclip against open_clip, transformers and big_vision, float32, one small batch. Each peer takes
turns with a bigclip of its own, so that whatever else slows the machine slows both, and so that
no more than two models are in memory at once. Ratios are those within a pair.
"""

import argparse
import contextlib
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from benchmarks import tables
from benchmarks.peers import (
    OtherWork,
    PeerMissing,
    describe,
    environment,
    find_big_vision,
    find_packages,
)
from benchmarks.published import MODELS, differences, start_side, write_random_batches
from benchmarks.runs import write_json
from benchmarks.train_step import measure

PEERS = ("open_clip", "transformers", "big_vision")
_NUM_BATCHES = 2


def find_peers(options: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Return the peers that are there, with versions; say on stderr which are left out and why."""
    found = {}
    for peer in options.peers:
        try:
            if peer == "big_vision":
                found[peer] = find_big_vision(options.big_vision)
            else:
                found[peer] = find_packages(peer, options.peers_python)
        except PeerMissing as missing:
            print(missing, file=sys.stderr)
    return found


def compare(
    arch: Mapping[str, Any], peer: str | None, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Let bigclip and one peer take turns (or bigclip alone); see `train_step.measure`."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as workers:
        folder = pathlib.Path(temporary)
        batches = write_random_batches(
            arch, folder / "batches.npz", batch_size=options.batch_size, count=_NUM_BATCHES
        )
        rows = [
            start_side(
                side,
                arch,
                batch_size=options.batch_size,
                workers=workers,
                folder=folder,
                peers_python=options.peers_python,
                big_vision=options.big_vision,
                bigclip={"scan": options.scan, "remat": options.remat},
            )
            for side in ("bigclip", *([peer] if peer else []))
        ]
        return measure(rows, rounds=options.rounds, steps=options.steps, batches=batches)


def pair_table(pairs: list[list[dict[str, Any]]], *, batch_size: int) -> str:
    """Lay out pairs of (bigclip, peer): the peer's figures beside those of bigclip's turns."""
    rows = []
    for pair in pairs:
        ours, theirs = pair[0], pair[-1]
        speeds = [
            batch_size / statistics.median(second for turn in one["turns"] for second in turn)
            for one in pair
        ]
        rows.append(
            (
                theirs["name"],
                f"{theirs['num_params'] / 1e6:.1f}",
                f"{speeds[-1]:.2f}",
                f"{speeds[0]:.2f}",
                f"{tables.median_ratio(theirs['turns'], ours['turns']):.2f}",
                tables.gibibytes(theirs["peak_bytes"]),
                tables.gibibytes(ours["peak_bytes"]),
                f"{ours['peak_bytes'] / theirs['peak_bytes']:.2f}",
                f"{theirs['first_step_seconds']:.0f} / {ours['first_step_seconds']:.0f}",
            )
        )
    header = (
        "side",
        "M parameters",
        "examples/s",
        "bigclip's",
        "bigclip faster by",
        "peak RSS GiB",
        "bigclip's GiB",
        "bigclip's / side's",
        "first step s, side / bigclip",
    )
    return tables.markdown(header, rows)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    command = argparse.ArgumentParser(
        description="Training steps of published sizes on this CPU.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.add_argument("--models", nargs="+", choices=MODELS, default=["ViT-B-32", "ViT-S-16"])
    command.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS, help="whom to measure")
    command.add_argument("--batch_size", type=int, default=32)
    command.add_argument("--rounds", type=int, default=3, help="turns of every side")
    command.add_argument("--steps", type=int, default=2, help="steps of a turn")
    command.add_argument(
        "--peers_python", default=sys.executable, help="interpreter of open_clip and transformers"
    )
    command.add_argument("--big_vision", help="path of a clone; left out without one")
    command.add_argument("--remat", default="dots_no_batch", help="what bigclip computes again")
    command.add_argument(
        "--scan", action=argparse.BooleanOptionalAction, default=True, help="bigclip's layers"
    )
    command.add_argument("--json", type=pathlib.Path, help="also write the figures to this file")
    options = command.parse_args(argv)
    if min(options.rounds, options.steps, options.batch_size) < 1:
        command.error("--rounds, --steps and --batch_size must be at least 1")
    peers = find_peers(options)
    env, others = environment(peers), OtherWork()
    figures = {}
    for model in options.models:
        figures[model] = []
        for peer in peers or [None]:
            print(f"{model}: bigclip and {peer or 'nobody'}", file=sys.stderr)
            figures[model].append(compare(MODELS[model], peer, options))
    env["other_cores"] = others.cores()
    print(f"\n## Training step on a CPU, float32, batch {options.batch_size}\n\n{describe(env)}")
    for model, pairs in figures.items():
        print(f"\n{model}:\n\n{pair_table(pairs, batch_size=options.batch_size)}")
    notes = dict.fromkeys(
        note
        for model in options.models
        for peer in peers
        for note in differences(peer, MODELS[model])
    )
    print("".join(f"\n- {note}" for note in notes))
    write_json(
        options.json,
        {
            "environment": env,
            "batch_size": options.batch_size,
            "differences": list(notes),
            "models": figures,
        },
    )


if __name__ == "__main__":
    main()
