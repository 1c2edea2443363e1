"""Evaluate the checkpoints of a run, in a job of its own.

    python -m bigclip.evaluate --workdir runs/demo --follow

runs the suites of the run's `evals` block on each complete checkpoint once, appends one line per
result to WORKDIR/evaluations.jsonl, and writes WORKDIR/report.html. It needs nothing of the trainer
but the workdir, works on whatever devices it finds, and may be killed and started again.

Exit codes: 0 all done; 1 a checkpoint could not be evaluated; 2 a mistake in the command, the
configuration or the data; 3 the timeout passed without a new checkpoint.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from absl import logging

from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.evals import follow as following
from bigclip.evals import loading, results, suites
from bigclip.reports import write_report


def evaluate(
    workdir: str | Path,
    *,
    follow: bool = False,
    only: list[str] | None = None,
    timeout_seconds: float | None = None,
    poll_seconds: float = 1.0,
) -> following.Outcome:
    """Evaluate the checkpoints of a run and write its report.

    Args:
        workdir: the run's directory.
        follow: wait for checkpoints until the run is complete.
        only: names of the suites to run; all by default.
        timeout_seconds: with `follow`, give up when no new checkpoint came for so long.
        poll_seconds: time between two looks at the workdir.

    Raises:
        ConfigError: if the workdir holds no run or no checkpoint, or a suite cannot be opened.
    """
    workdir = Path(workdir)
    config = following.wait_for_config(
        workdir,
        timeout_seconds=timeout_seconds if follow else 0,
        poll_seconds=poll_seconds,
    )
    if not config.get("evals"):
        raise ConfigError(
            f"{workdir}/config.json has no `evals` block: there is no suite to run. Add one to the "
            "configuration, for example config.evals.heldout.suite = 'retrieval'."
        )
    if not follow and not checkpoints.steps(workdir):
        raise ConfigError(
            f"{workdir} holds no complete checkpoint yet: wait for the first one, or let this job "
            "wait with --follow."
        )
    with results.only_job(workdir):
        opened = suites.open_suites(config["evals"], only=only)
        outcome = following.follow_run(
            workdir,
            opened,
            load=loading.Loader(),
            read_manifest=checkpoints.read_manifest,
            list_steps=checkpoints.steps,
            follow=follow,
            timeout_seconds=timeout_seconds,
            poll_seconds=poll_seconds,
            on_result=_print_result,
            on_idle=lambda: write_report(workdir),
        )
        path = write_report(workdir)
    print(f"wrote {path}", flush=True)
    return outcome


def _print_result(line: dict[str, Any]) -> None:
    top = [
        f"{name} {100 * line['metrics'][name]:.1f} (chance {100 * value:.1f})"
        for name, value in line["chance"].items()
        if name.endswith(("R@1", "top1")) and "=" not in name
    ]
    print(
        f"evaluated step {line['step']}  {line['suite']}  {'  '.join(top)}"
        f"  {line['seconds']:.1f} s",
        flush=True,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bigclip.evaluate",
        description=__doc__.split("\n\n    ")[0],
        epilog="example:  python -m bigclip.evaluate --workdir runs/demo --follow",
    )
    parser.add_argument("--workdir", required=True, help="directory of the run")
    parser.add_argument(
        "--follow", action="store_true", help="wait for checkpoints until the run is complete"
    )
    parser.add_argument("--suites", help="names of suites to run, with commas between; default all")
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="with --follow, give up when no new checkpoint came for so long; default never",
    )
    args = parser.parse_args(arguments)
    logging.set_verbosity(logging.WARNING)  # Orbax tells a dozen lines for each checkpoint
    try:
        outcome = evaluate(
            args.workdir,
            follow=args.follow,
            only=args.suites.split(",") if args.suites else None,
            timeout_seconds=args.timeout,
        )
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for step, reason in outcome.failed.items():
        print(f"error: step {step} could not be evaluated: {reason}", file=sys.stderr)
    if outcome.timed_out:
        print(
            f"error: no new checkpoint in {args.workdir} for {args.timeout:g} s, and run.json does "
            "not say that the run is complete: is the trainer alive?",
            file=sys.stderr,
        )
        return 3
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
