"""Pictures a second of input pipelines on the same shards: `python -m benchmarks.data`.

bigclip against open_clip's webdataset reader and a tf.data pipeline of big_vision's operations.
Every side is a process on cores that it is bound to; sides take turns, and are held by a signal
while it is another's.
"""

import argparse
import contextlib
import os
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image

from benchmarks import tables
from benchmarks.data_shards import make_shards, read_pictures
from benchmarks.data_sides import Side, find_peers, sides_on
from benchmarks.data_turns import SIZE
from benchmarks.holding import hold, resume
from benchmarks.peers import OtherWork, describe, environment
from benchmarks.runs import write_json
from benchmarks.workers import Worker
from bigclip.data.images import open_rgb
from bigclip.data.process_tree import cpu_seconds, memory_bytes

_NUM_COMPARED = 16  # pictures whose resize is compared with Pillow's
_NUM_PROFILED = 512


@contextlib.contextmanager
def bound_to(cores: int) -> Iterator[None]:
    """Bind this process, and so what it starts meanwhile, to the first cores that it may use.

    Raises:
        SystemExit: if it may not use so many.
    """
    allowed = os.sched_getaffinity(0)
    if len(allowed) < cores:
        sys.exit(f"--cores {cores}: this process may use {len(allowed)} only.")
    os.sched_setaffinity(0, sorted(allowed)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def measure(
    sides: Sequence[Side], *, cores: int, shards: list[str], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Let sides take turns on the same cores.

    Args:
        sides: whom.
        cores: on how many.
        shards: paths.
        options: of the command.

    Returns:
        For each side its name, library, cores, notes, turns (examples, seconds and cpu_seconds
        of each), peak_bytes of its processes together and difference, see `resize_difference`;
        of bigclip's first side also its profile.
    """
    found = []
    with contextlib.ExitStack() as stack:
        workers = []
        for side in sides:
            with bound_to(cores):
                worker = stack.enter_context(Worker(side.module, python=side.python))
            started = worker.start(shards=shards, batch_size=options.batch_size, **side.options)
            # Before the process is asked to end, which a held one cannot.
            stack.callback(resume, started["pid"])
            row = {
                "name": side.name,
                "library": side.library,
                "cores": cores,
                "notes": started["notes"],
                "turns": [],
                "peak_bytes": 0,
                "difference": resize_difference(worker, shards[0]),
            }
            if side is sides[0]:
                row["profile"] = worker.profile(examples=_NUM_PROFILED)
            worker.turn(seconds=options.seconds)  # not counted: buffers fill, programs compile
            hold(started["pid"])
            workers.append((worker, started["pid"], row))
            found.append(row)
        for number in range(options.rounds):
            for worker, pid, row in workers:
                resume(pid)
                before = cpu_seconds(pid)
                turn = worker.turn(seconds=options.seconds)
                turn["cpu_seconds"] = cpu_seconds(pid) - before
                row["peak_bytes"] = max(row["peak_bytes"], memory_bytes(pid))
                hold(pid)
                row["turns"].append(turn)
                speed = turn["examples"] / turn["seconds"]
                print(f"round {number + 1}: {row['name']}: {speed:.0f}/s", file=sys.stderr)
    return found


def resize_difference(worker: Worker, shard: str) -> float:
    """Compare a side's decoding and resizing of whole pictures with Pillow's, bicubic.

    Returns:
        Mean absolute difference in grey levels.
    """
    encoded = read_pictures(shard, _NUM_COMPARED)
    expected = [
        np.asarray(open_rgb(one).resize((SIZE, SIZE), PIL.Image.Resampling.BICUBIC))
        for one in encoded
    ]
    with tempfile.TemporaryDirectory() as folder:
        pictures, outputs = f"{folder}/pictures.npz", f"{folder}/resized.npy"
        np.savez(pictures, *(np.frombuffer(one, np.uint8) for one in encoded))
        worker.whole(pictures=pictures, outputs=outputs)
        found = np.load(outputs)
    return float(np.abs(found.astype(np.float32) - np.stack(expected)).mean())


def memory_over(
    shards: list[str], *, examples: int, options: argparse.Namespace
) -> list[tuple[int, int]]:
    """Follow bigclip on one core over a long run: (examples so far, bytes), now and then."""
    with bound_to(1):
        worker = Worker("data_bigclip_worker")
    seen, points = 0, []
    with worker:
        pid = worker.start(
            shards=shards,
            batch_size=options.batch_size,
            num_threads=1,
            num_workers=0,
            interpolation="area",
        )["pid"]
        while seen < examples:
            seen += worker.turn(seconds=options.seconds)["examples"]
            points.append((seen, memory_bytes(pid)))
    return points


def speed_table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out the sides; the ratios are medians over the rounds of what is bigclip's first."""
    ours: dict[int, dict[str, Any]] = {}
    for row in rows:
        ours.setdefault(row["cores"], row)
    lines = []
    for row in rows:
        speeds, per_cpu = _speeds(row, "seconds"), _speeds(row, "cpu_seconds")
        first = ours[row["cores"]]
        lines.append(
            (
                row["name"],
                row["cores"],
                f"{statistics.median(speeds):.0f}",
                f"{statistics.median(speeds) / row['cores']:.0f}",
                _ratio(_speeds(first, "seconds"), speeds),
                f"{statistics.median(per_cpu):.0f}",
                _ratio(_speeds(first, "cpu_seconds"), per_cpu),
                f"{row['peak_bytes'] / 2**20:.0f}",
                f"{row['difference']:.2f}",
            )
        )
    header = (
        "pipeline",
        "cores",
        "images/s",
        "a core",
        "bigclip faster by",
        "images a CPU-second",
        "bigclip's are more by",
        "memory MiB",
        "grey levels off",
    )
    return tables.markdown(header, lines)


def profile_table(profile: dict[str, Any]) -> str:
    """Lay out where the time of one of bigclip's examples goes."""
    lines = [
        (part, f"{share * profile['microseconds']:.0f}", f"{100 * share:.0f}%")
        for part, share in profile["shares"].items()
    ]
    lines.append(("all", f"{profile['microseconds']:.0f}", "100%"))
    return tables.markdown(("part", "us an example", "share"), lines)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    options = _parse(argv)
    if not hasattr(os, "sched_setaffinity"):
        print("input pipelines are measured on Linux only: cores are to be bound", file=sys.stderr)
        return
    peers = find_peers(options)
    env, others = environment(peers), OtherWork()
    shards = make_shards(options.cache, records=options.records, extension=options.format)
    kilobytes = sum(map(len, read_pictures(shards[0], 100))) / 100_000
    rows = []
    for cores in options.cores:
        rows += measure(
            sides_on(cores, list(peers), options), cores=cores, shards=shards, options=options
        )
    memory = []
    if options.memory_examples:
        memory = memory_over(shards, examples=options.memory_examples, options=options)
    env["other_cores"] = others.cores()
    print(
        f"\n## Input pipelines, {options.records:,} {options.format} of {kilobytes:.0f} kB, "
        f"batches of {options.batch_size}\n\n{describe(env)}\n\n{speed_table(rows)}"
    )
    for note in dict.fromkeys(note for row in rows for note in row["notes"]):
        print(f"\n- {note}")
    print(f"\nWhere bigclip's time goes, one thread:\n\n{profile_table(rows[0]['profile'])}")
    if memory:
        header = ("examples so far", "memory MiB")
        lines = [(f"{seen:,}", f"{used / 2**20:.0f}") for seen, used in _some(memory, 8)]
        print(f"\nbigclip's memory over a long run:\n\n{tables.markdown(header, lines)}")
    write_json(options.json, {"environment": env, "sides": rows, "memory": memory})


def _parse(argv: list[str] | None) -> argparse.Namespace:
    command = argparse.ArgumentParser(
        description="Pictures a second of input pipelines on the same shards.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    command.add_argument("--rounds", type=int, default=5, help="turns of every side")
    command.add_argument("--seconds", type=float, default=5.0, help="of a turn")
    command.add_argument("--batch_size", type=int, default=128)
    command.add_argument("--records", type=int, default=2000)
    command.add_argument("--format", choices=("jpg", "webp"), default="jpg", help="of the pictures")
    command.add_argument(
        "--cache",
        type=pathlib.Path,
        default=pathlib.Path(tempfile.gettempdir()) / "bigclip-benchmark-shards",
        help="where the shards are kept",
    )
    command.add_argument(
        "--memory_examples", type=int, default=0, help="follow bigclip's memory over so many"
    )
    command.add_argument(
        "--peers_python", default=sys.executable, help="interpreter that has open_clip"
    )
    command.add_argument("--tf_python", default=sys.executable, help="one that has TensorFlow")
    command.add_argument("--json", type=pathlib.Path, help="also write the figures to this file")
    options = command.parse_args(argv)
    if min(options.rounds, options.batch_size, options.records, *options.cores) < 1:
        command.error("--cores, --rounds, --batch_size and --records must be at least 1")
    return options


def _speeds(row: dict[str, Any], per: str) -> list[float]:
    return [turn["examples"] / max(turn[per], 1e-9) for turn in row["turns"]]


def _ratio(ours: Sequence[float], others: Sequence[float]) -> str:
    return f"{statistics.median(a / b for a, b in zip(ours, others, strict=True)):.2f}"


def _some(points: Sequence[Any], count: int) -> list[Any]:
    """Take some of the points, the first and the last among them."""
    places = {round(i * (len(points) - 1) / max(count - 1, 1)) for i in range(count)}
    return [points[place] for place in sorted(places)]


if __name__ == "__main__":
    main()
