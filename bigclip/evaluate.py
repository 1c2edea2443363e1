"""Evaluate the checkpoints of a run, in a job of its own; or one checkpoint.

    python -m bigclip.evaluate --workdir runs/demo --follow

runs the suites of the run's `evals` block on each complete checkpoint once, appends one line per
result to WORKDIR/evaluations.jsonl, and writes WORKDIR/report.html. It needs nothing of the trainer
but the workdir, works on whatever devices it finds, and may be killed and started again.

    python -m bigclip.evaluate --checkpoint exported --evals my_evals.py --out results

runs the suites of a file on one checkpoint.

On several hosts, start the same command on each; they find each other as those of
`python -m bigclip.train` do.

Exit codes: 0 all done; 1 a checkpoint could not be evaluated; 2 a mistake in the command, the
configuration or the data; 3 the timeout passed without a new checkpoint; 42 start me again
(SIGTERM, or another process was lost).
"""

import argparse
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from absl import logging
from jax.sharding import Mesh

from bigclip import api, checkpoints
from bigclip.config import ConfigError, read_file
from bigclip.evals import suites
from bigclip.evals.job import follow as following
from bigclip.evals.job import loading, once, results
from bigclip.evals.job.watch import Outcome
from bigclip.parallel import AXES, is_main, make_mesh, num_batch_shards, processes
from bigclip.reports import write_report
from bigclip.reports.kinds import expand, kind_of

_BATCH_SIZE = 64  # pictures a call of the model, for each part of the mesh that takes its own


def evaluate(
    workdir: str | Path,
    *,
    follow: bool = False,
    evals: Mapping[str, Any] | None = None,
    only: list[str] | None = None,
    mesh: Mapping[str, int] | None = None,
    timeout_seconds: float | None = None,
    poll_seconds: float = 1.0,
) -> Outcome:
    """Evaluate the checkpoints of a run and write its report.

    Args:
        workdir: the run's directory.
        follow: wait for checkpoints until the run is complete.
        evals: the suites, as in a configuration; those of the run by default.
        only: names of the suites to run; all by default.
        mesh: axis -> size of this job's own mesh; all devices in data parallel by default.
        timeout_seconds: with `follow`, give up when no new checkpoint came for so long.
        poll_seconds: time between two looks at the workdir.

    Raises:
        ConfigError: if the workdir holds no run or no checkpoint, or a suite cannot be opened.
    """
    workdir = Path(workdir)

    def opened() -> tuple[list[suites.Suite], Mesh]:
        config = following.wait_for_config(
            workdir,
            timeout_seconds=timeout_seconds if follow else 0,
            poll_seconds=poll_seconds,
        )
        wanted = evals or config.get("evals")
        if not wanted:
            raise ConfigError(
                f"{workdir}/config.json has no `evals` block: there is no suite to run. Give "
                "suites with --evals FILE, or add them to the configuration, for example "
                "config.evals.heldout.suite = 'retrieval'."
            )
        if not follow and not checkpoints.steps(workdir):
            raise ConfigError(
                f"{workdir} holds no complete checkpoint yet: wait for the first one, or let this "
                "job wait with --follow."
            )
        if is_main():
            held.enter_context(results.only_job(workdir))
        return _open(wanted, only, mesh)

    with contextlib.ExitStack() as held:
        ready, laid = processes.all_or_none(opened)
        _check_same_data(ready)
        outcome = following.follow_run(
            workdir,
            ready,
            load=loading.Loader(laid),
            read_manifest=checkpoints.read_manifest,
            list_steps=checkpoints.steps,
            follow=follow,
            timeout_seconds=timeout_seconds,
            poll_seconds=poll_seconds,
            on_result=_print_result,
            on_idle=lambda: write_report(workdir),
        )
        if is_main():
            print(f"wrote {write_report(workdir)}", flush=True)
    return outcome


def evaluate_checkpoint(
    checkpoint: str,
    *,
    evals: Mapping[str, Any] | None = None,
    only: list[str] | None = None,
    mesh: Mapping[str, int] | None = None,
    out: str | Path | None = None,
) -> int:
    """Evaluate one checkpoint.

    Args:
        checkpoint: as for `bigclip.load`.
        evals: the suites; those of the run that made the checkpoint by default.
        only: names of the suites to run; all by default.
        mesh: as for `evaluate`.
        out: folder for the results and their report; by default they are printed alone.

    Returns:
        The number of results that were computed.

    Raises:
        ConfigError: if there is no checkpoint, no suite, or one cannot be opened.
    """
    # The first process finds the newest checkpoint for all.
    place = processes.all_or_none(lambda: str(checkpoints.step_path(checkpoint)))
    place = processes.gather_texts(place)[0]
    wanted: dict[str, Any] = {}

    def opened() -> tuple[list[suites.Suite], Mesh]:
        wanted.update(evals or checkpoints.read_manifest(place)["config"].get("evals") or {})
        if not wanted:
            raise ConfigError(f"the run of {place} had no suites: give some with --evals FILE.")
        return _open(wanted, only, mesh)

    out = None if out is None else Path(out)
    ready, laid = processes.all_or_none(opened)
    _check_same_data(ready)
    count = once.evaluate_once(
        place,
        ready,
        load=lambda place, weights: api.load(place, ema=weights == "ema", mesh=laid),
        evals={name: wanted[name] for name in only or wanted},
        out=out,
        on_result=_print_result,
    )
    if out is not None and is_main():
        print(f"wrote {write_report(out)}", flush=True)
    return count


def _open(
    wanted: Mapping[str, Any], only: list[str] | None, mesh: Mapping[str, int] | None
) -> tuple[list[suites.Suite], Mesh]:
    laid = make_mesh(**(mesh or {}))
    batch_size = _BATCH_SIZE * num_batch_shards(laid)
    return suites.open_suites(wanted, only=only, batch_size=batch_size), laid


def _check_same_data(ready: list[suites.Suite]) -> None:
    told = " ".join(suite.definition({}) for suite in ready)
    processes.check_same(told, "the suites that they evaluate, or the data of these")


def _print_result(line: dict[str, Any]) -> None:
    if not is_main():
        return
    parts, kind = [], kind_of(line["kind"], line["metrics"])
    metrics = line["metrics"]
    for column in expand(kind.main, metrics) or expand(kind.columns, metrics)[:3]:
        by_chance = line["chance"].get(column.metric)
        value = line["metrics"][column.metric]
        parts.append(f"{column.full_label} {_shown(value, column.form)}")
        if by_chance is not None:
            parts[-1] += f" (chance {_shown(by_chance, column.form)})"
    print(
        f"evaluated step {line['step']}  {line['suite']}  {'  '.join(parts)}"
        f"  {line['seconds']:.1f} s",
        flush=True,
    )


def _shown(value: float, form: str) -> str:
    return f"{100 * value:.1f}" if form == "percent" else f"{value:.3g}"


def _read_mesh(text: str) -> dict[str, int]:
    try:
        sizes = {name: int(size) for name, size in (part.split("=") for part in text.split(","))}
    except ValueError as error:
        raise ConfigError(f"--mesh {text!r}: write data=4,tensor=2 ({error}).") from error
    unknown = sizes.keys() - set(AXES)
    if unknown:
        raise ConfigError(f"--mesh: no axis {min(unknown)!r}. Valid: {', '.join(AXES)}.")
    return sizes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bigclip.evaluate",
        description=__doc__.split("\n\n    ")[0],
        epilog="example:  python -m bigclip.evaluate --workdir runs/demo --follow",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--workdir", help="directory of a run: evaluate its checkpoints")
    what.add_argument("--checkpoint", help="evaluate this one: of a run, or an exported folder")
    parser.add_argument(
        "--follow", action="store_true", help="wait for checkpoints until the run is complete"
    )
    parser.add_argument(
        "--evals",
        metavar="FILE[:ARG]",
        help="a file whose get_config() returns suites, or a configuration with `evals`; default "
        "those of the run",
    )
    parser.add_argument("--suites", help="names of suites to run, with commas between; default all")
    parser.add_argument("--out", help="with --checkpoint, a folder for the results and their page")
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="with --follow, give up when no new checkpoint came for so long; default never",
    )
    parser.add_argument("--mesh", help="this job's own mesh, data=4,tensor=2; default data")
    parser.add_argument("--coordinator_address", help="host:port of process 0, if not detected")
    parser.add_argument("--num_processes", type=int, help="number of processes, if not detected")
    parser.add_argument("--process_id", type=int, help="this process's number, if not detected")
    return parser


def _stop(*_: Any) -> None:
    # At once: what is done is on disk, and the rest is found again.
    os.write(2, b"stopped by SIGTERM; start the same command again to go on\n")
    os._exit(following.RESTART)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.checkpoint and (args.follow or args.timeout is not None):
        parser.error("--follow and --timeout go with --workdir: a checkpoint is evaluated once.")
    if args.workdir and args.out:
        parser.error("--out goes with --checkpoint; the results of a run lie in its workdir.")
    logging.set_verbosity(logging.WARNING)  # Orbax tells a dozen lines for each checkpoint
    processes.start(
        coordinator_address=args.coordinator_address,
        num_processes=args.num_processes,
        process_id=args.process_id,
    )
    if arguments is None:  # as a command; after JAX, which takes the signal for itself
        signal.signal(signal.SIGTERM, _stop)
    try:
        return _run(args)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    except Exception:
        if jax.process_count() == 1:
            raise
        traceback.print_exc()
        return processes.leave(following.RESTART)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    evals = read_file(args.evals, "--evals") if args.evals else None
    if evals is not None:
        if not isinstance(evals, dict) or not evals:
            raise ConfigError(f"--evals {args.evals}: get_config() must give suites by name.")
        evals = evals.get("evals", evals)
    return {
        "evals": evals,
        "only": args.suites.split(",") if args.suites else None,
        "mesh": _read_mesh(args.mesh) if args.mesh else None,
    }


def _run(args: argparse.Namespace) -> int:
    how = processes.all_or_none(lambda: _options(args))
    if args.checkpoint:
        evaluate_checkpoint(args.checkpoint, out=args.out, **how)
        return 0
    outcome = evaluate(args.workdir, follow=args.follow, timeout_seconds=args.timeout, **how)
    for step, reason in outcome.failed.items():
        print(f"error: step {step} could not be evaluated: {reason}", file=sys.stderr)
    if outcome.timed_out:
        print(
            f"error: no new checkpoint in {args.workdir} for {args.timeout:g} s, and run.json does "
            "not say that the run is complete: is the trainer alive?",
            file=sys.stderr,
        )
        return 3
    if args.follow and not outcome.complete and not outcome.failed:
        print(
            f"error: the run is complete, but the checkpoint of its last step is not in "
            f"{args.workdir}: was it deleted?",
            file=sys.stderr,
        )
        return 1
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
