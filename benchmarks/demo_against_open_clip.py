"""The demo against open_clip: `python -m benchmarks.demo_against_open_clip`.

The same pictures, geometry, tokens, number of steps and batch size; each side by its own recipe:

    bigclip                          the configuration as it is
    open_clip, its recipe            open_clip's model, loss, augmentation, optimizer settings and
                                     schedule; the main caption of every record
    open_clip, bigclip's batches     the same, on the very batches that bigclip trained on

The sides train in turns, and one numpy function ranks the held-out sets with all embeddings.
"""

import argparse
import contextlib
import itertools
import pathlib
import statistics
import sys
import tempfile
from typing import Any

import numpy as np

from benchmarks import tables
from benchmarks.open_clip_model import differences
from benchmarks.peers import OtherWork, describe, environment
from benchmarks.retrieval import KS, RetrievalSet, chance_metrics, pool_metrics, retrieval_sets
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
    write_pairs,
)
from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import Tokenizer
from bigclip.training.experiment import Experiment

_TURN_STEPS = 25
_DATA = {"own": "its recipe", "shared": "bigclip's batches"}  # what open_clip may train on
_POOLS = ("mean", "style=noto")  # of a set's pools, those that get a table
_METRICS = [f"{way}/R@{k}" for way in ("image_to_text", "text_to_image") for k in KS]


def start_rows(
    parts: Experiment,
    config: dict[str, Any],
    options: argparse.Namespace,
    *,
    workers: contextlib.ExitStack,
    folder: pathlib.Path,
    peer: bool,
) -> list[Row]:
    """Start all sides for one seed."""
    rows = []
    if options.only != "open_clip":
        rows.append(start_bigclip("bigclip", config, workers=workers, folder=folder, own_data=True))
    if peer:
        pairs = write_pairs(parts, folder / "pairs.npz")
        for rate, data in itertools.product(options.open_clip_lr, options.open_clip_data):
            rows.append(
                start_open_clip(
                    f"open_clip, {_DATA[data]}, lr {rate:g}",
                    parts,
                    workers=workers,
                    python=options.peers_python,
                    learning_rate=rate,
                    pairs=pairs if data == "own" else None,
                )
            )
    return rows


def train(rows: list[Row], parts: Experiment, folder: pathlib.Path) -> list[dict[str, Any]]:
    """Train all rows to the end, in turns.

    Returns:
        For each row: name, parameters, `turns` (seconds of the settled steps of every turn),
        `first_step_seconds`, `train_seconds` in all, the last turn's loss, peak memory.
    """
    found = [
        {"name": row.name, "num_params": row.num_params, "turns": [], "train_seconds": 0.0}
        for row in rows
    ]
    for turn, first in enumerate(range(0, parts.total_steps, _TURN_STEPS)):
        count = min(_TURN_STEPS, parts.total_steps - first)
        batches = None
        if not all(row.own_data for row in rows):
            batches = write_batches(parts, folder / "batches.npz", first=first, count=count)
        for i in [(turn + i) % len(rows) for i in range(len(rows))]:
            answer = rows[i].worker.steps(
                count=count, batches=None if rows[i].own_data else batches
            )
            found[i]["turns"].append(tables.settled(answer["seconds"], first=turn == 0))
            found[i]["train_seconds"] += sum(answer["seconds"])
            found[i].setdefault("first_step_seconds", answer["seconds"][0])
            found[i]["loss"] = answer["loss"]
        losses = ", ".join(f"{one['name']}: {one['loss']:.3f}" for one in found)
        print(f"step {first + count} of {parts.total_steps}, loss {losses}", file=sys.stderr)
    for one, row in zip(found, rows, strict=True):
        # Before the evaluation, whose batches are no part of training.
        one["peak_bytes"] = row.worker.peak_memory()["bytes"]
    return found


def evaluate(row: Row, sets: list[RetrievalSet], folder: pathlib.Path) -> dict[str, Any]:
    """Return set -> pool -> metrics."""
    metrics = {}
    for one in sets:
        inputs, outputs = folder / "inputs.npz", folder / "outputs.npz"
        np.savez(inputs, image=one.image, text=one.text)
        weights = {"weights": one.weights} if row.name == "bigclip" else {}
        row.worker.embed(inputs=str(inputs), outputs=str(outputs), **weights)
        with np.load(outputs) as emb:
            metrics[one.name] = pool_metrics(emb["image_emb"], emb["text_emb"], one.pools)
    return metrics


def score_table(runs: list[dict[str, Any]], chance: dict[str, float], *, of: str, pool: str) -> str:
    """Lay out one pool of one set over the seeds, in percent."""
    rows = []
    for name in dict.fromkeys(run["name"] for run in runs):
        seeds = [run["metrics"][of][pool] for run in runs if run["name"] == name]
        cells = [tables.mean_and_spread([seed[metric] for seed in seeds]) for metric in _METRICS]
        rows.append((name, *cells, ", ".join(f"{seed[_METRICS[0]]:.1f}" for seed in seeds)))
    rows.append(("chance", *(f"{chance[metric]:.1f}" for metric in _METRICS), ""))
    arrows = {"image_to_text": "image → text", "text_to_image": "text → image"}
    names = [f"{arrows[way]} {at}" for way, at in (metric.split("/") for metric in _METRICS)]
    return tables.markdown(("side", *names, f"{names[0]} by seed"), rows)


def speed_table(runs: list[dict[str, Any]], *, batch_size: int) -> str:
    """Lay out time and memory over the seeds, against the first row."""
    names = list(dict.fromkeys(run["name"] for run in runs))
    by_name = {name: [run for run in runs if run["name"] == name] for name in names}
    turns = {name: [turn for run in by_name[name] for turn in run["turns"]] for name in names}
    rows = []
    for name, of_name in by_name.items():
        median = statistics.median(second for turn in turns[name] for second in turn)
        rows.append(
            (
                name,
                f"{of_name[0]['num_params']:,}",
                f"{median:.3f}",
                f"{batch_size / median:.0f}",
                f"{tables.median_ratio(turns[name], turns[names[0]]):.2f}",
                f"{statistics.fmean(run['train_seconds'] for run in of_name) / 60:.1f}",
                tables.gibibytes(max(run["peak_bytes"] or 0 for run in of_name) or None),
            )
        )
    header = (
        "side",
        "parameters",
        "s/step",
        "examples/s",
        f"time / {names[0]}'s",
        "training min",
        "peak RSS GiB",
    )
    return tables.markdown(header, rows)


def verdict(runs: list[dict[str, Any]]) -> str | None:
    """Compare bigclip with open_clip's best row by mean R@1; None if a side is missing."""

    def mean_r1(run: dict[str, Any]) -> float:
        of_sets = [pools["mean"] for pools in run["metrics"].values()]
        return float(np.mean([one[name] for one in of_sets for name in one if "R@1" in name]))

    means: dict[str, list[float]] = {}
    for run in runs:
        means.setdefault(run["name"], []).append(mean_r1(run))
    ours = means.pop("bigclip", None)
    if ours is None or not means:
        return None
    best = max(means, key=lambda name: statistics.fmean(means[name]))
    return (
        f"Mean R@1 over sets, styles and directions: bigclip {tables.mean_and_spread(ours)}; best "
        f"of open_clip's rows: {best}, {tables.mean_and_spread(means[best])}."
    )


def report(
    runs: list[dict[str, Any]], sets: list[RetrievalSet], *, env: Any, parts: Experiment, notes: Any
) -> str:
    """Put all tables together."""
    arch, steps = parts.manifest["task"]["architecture"], parts.total_steps
    num_seeds = len({run["seed"] for run in runs})
    lines = [
        f"## The demo against open_clip: {steps} steps, batch {parts.batch_size}, "
        f"{num_seeds} seed(s), {arch['image']['image_size']} px",
        describe(env),
    ]
    for one in sets:
        chance = chance_metrics(one.pools)
        for pool in _POOLS:
            if pool in chance:
                what = "mean of the pools" if pool == "mean" else pool
                lines.append(f"`{one.name}`, {what}, percent, mean ± sd over seeds:")
                lines.append(score_table(runs, chance[pool], of=one.name, pool=pool))
    lines.append("Time with data (bigclip's batches: without), memory of the training process:")
    lines.append(speed_table(runs, batch_size=parts.batch_size))
    lines += [line for line in (verdict(runs), "\n".join(f"- {note}" for note in notes)) if line]
    return "\n\n".join(lines)


def run(config: dict[str, Any], options: argparse.Namespace, *, env: Any, peer: bool) -> None:
    """Compare on every seed, write the figures after each, and print the tables at the end."""
    runs: list[dict[str, Any]] = []
    others = OtherWork()
    for seed in options.seeds:
        print(f"seed {seed}", file=sys.stderr)
        config = {**config, "seed": seed}
        parts = build(config)
        sets = retrieval_sets(
            parts.config["evals"],
            preprocess=Preprocess(**parts.manifest["preprocess"]),
            tokenizer=Tokenizer.from_dict(parts.manifest["tokenizer"]),
        )
        with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as workers:
            folder = pathlib.Path(temporary)
            rows = start_rows(parts, config, options, workers=workers, folder=folder, peer=peer)
            for row, found in zip(rows, train(rows, parts, folder), strict=True):
                runs.append({"seed": seed, **found, "metrics": evaluate(row, sets, folder)})
        env["other_cores"] = others.cores()
        arch = parts.manifest["task"]["architecture"]
        notes = differences(arch) if peer else []
        # After every seed: a long comparison that is stopped has something to show.
        figures = {"environment": env, "config": config, "architecture": arch}
        write_json(options.json, {**figures, "differences": notes, "runs": runs})
    print(report(runs, sets, env=env, parts=parts, notes=notes))


def main(argv: list[str] | None = None) -> None:
    """The command."""
    command = parser("The demo against open_clip: held-out retrieval and speed.")
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    command.add_argument("--steps", type=int, help="length of the run; the configuration's if None")
    command.add_argument(
        "--open_clip_lr",
        type=float,
        nargs="+",
        default=[OPEN_CLIP_LEARNING_RATE],
        help="peak learning rates of open_clip, a row for each on each of --open_clip_data",
    )
    command.add_argument(
        "--open_clip_data",
        nargs="+",
        choices=list(_DATA),
        default=list(_DATA),
        help="what open_clip trains on: its own recipe's batches, and those of bigclip",
    )
    options = command.parse_args(argv)
    if options.steps is not None and options.steps < 1:
        command.error("--steps must be at least 1")
    peers = peers_of(options)
    env = environment(peers)
    try:
        # Read once: the file may change before the last seed.
        config = read_config(options.config, total_steps=options.steps)
        run(config, options, env=env, peer=bool(peers))
    except ConfigError as error:
        command.error(str(error))


if __name__ == "__main__":
    main()
