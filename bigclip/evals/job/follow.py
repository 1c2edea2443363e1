"""Follow a run: evaluate each complete checkpoint once, the newest first.

The evaluation job and the trainer share nothing but the workdir. The trainer may be killed and
started again, checkpoints may appear, half-written ones may lie about, old ones may be deleted
while they are read, and this job may itself be killed at any moment: what is done is in
`evaluations.jsonl`, and what is not is found again by looking.

A job that lags behind evaluates the newest checkpoint first, since that is what one waits for and
since old ones may soon be gone, and catches up on the older ones when nothing newer is there.

Where the job has several processes, the first one looks and decides, and tells the others; all of
them evaluate, since they share the model; the first one writes.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import logging

from bigclip.config import ConfigError
from bigclip.evals.job.watch import Outcome, Watch, deadline_in, read_json
from bigclip.evals.suites import Suite
from bigclip.parallel import is_main
from bigclip.parallel.processes import gather_texts, leave

RESTART = 42  # the exit code that asks to be started again
_LONELY_SECONDS = 60.0  # after an error that the other processes do not have


def wait_for_config(
    workdir: Path, *, timeout_seconds: float | None, poll_seconds: float
) -> dict[str, Any]:
    """Return the run's resolved configuration; wait until the trainer has written it.

    Raises:
        ConfigError: if it is not there within the timeout.
    """
    deadline = deadline_in(timeout_seconds)
    while not (config := read_json(workdir / "config.json")):
        if time.monotonic() >= deadline:
            raise ConfigError(
                f"{workdir} holds no run: there is no config.json. Give the --workdir of a run of "
                "`python -m bigclip.train`, or start that run first."
            )
        time.sleep(poll_seconds)
    return config


def follow_run(
    workdir: Path,
    suites: Sequence[Suite],
    *,
    load: Callable[[Path, int, str], Any],
    read_manifest: Callable[[Path, int], dict[str, Any]],
    list_steps: Callable[[Path], list[int]],
    follow: bool,
    timeout_seconds: float | None = None,
    poll_seconds: float = 1.0,
    on_result: Callable[[dict[str, Any]], None] = lambda line: None,
    on_idle: Callable[[], None] = lambda: None,
) -> Outcome:
    """Evaluate what there is, and with `follow` what comes, until the run is complete.

    Args:
        workdir: the run's directory.
        suites: what to evaluate.
        load: (workdir, step, weights) -> model; weights is "params" or "ema".
        read_manifest: (workdir, step) -> the manifest of a checkpoint.
        list_steps: workdir -> its complete checkpoints' steps, ascending.
        follow: wait for more checkpoints until run.json says that the run is complete.
        timeout_seconds: give up when no new checkpoint came for so long; None waits for ever.
        poll_seconds: time between two looks at the workdir.
        on_result: called with every line that was written.
        on_idle: called when results were written and nothing is left to do for now.

    Raises:
        ConfigError: for a mistake that a later look would not mend.
    """
    watch = None
    if is_main():
        watch = Watch(
            workdir,
            suites,
            read_manifest=read_manifest,
            list_steps=list_steps,
            follow=follow,
            timeout_seconds=timeout_seconds,
            on_result=on_result,
            on_idle=on_idle,
        )
    try:
        while True:
            order = _tell(watch.order() if watch else {})
            if order["do"] == "stop":
                raise ConfigError(order["why"])
            if order["do"] == "end":
                return watch.outcome() if watch else Outcome(0, {}, order["complete"], False)
            if order["do"] == "wait":
                if watch:
                    time.sleep(poll_seconds)
                continue
            _carry_out(order, workdir, suites, load, watch)
    finally:
        if watch:
            watch.results.close()


def _carry_out(
    order: dict, workdir: Path, suites: Sequence[Suite], load: Callable, watch: Watch | None
) -> None:
    step, model, weights, error = order["step"], None, None, None
    try:
        for number in sorted(order["suites"], key=lambda k: suites[k].weights, reverse=True):
            suite = suites[number]
            if suite.weights != weights:
                model, weights = load(workdir, step, suite.weights), suite.weights
            start = time.perf_counter()
            evaluation = suite.evaluate(model)
            if watch:
                watch.write(number, evaluation, time.perf_counter() - start)
    except Exception as raised:
        # Orbax's errors for a checkpoint that vanishes while it is read are of many types.
        error = raised
    for suite in suites:
        suite.release()
    if error is not None:
        _meet_after(error)
        logging.error("step %d could not be evaluated", step, exc_info=error)
    if watch:
        watch.note(step, error)


def _meet_after(error: Exception) -> None:
    """Go on together after an error that all processes have; if only this one has it, leave.

    The others would wait for this one in a collective for ever.
    """
    if jax.process_count() == 1:
        return

    def give_up() -> None:
        logging.error("this process alone has failed: %s", error)
        leave(RESTART)

    watch = threading.Timer(_LONELY_SECONDS, give_up)
    watch.daemon = True
    watch.start()
    try:
        gather_texts(type(error).__name__)
    finally:
        watch.cancel()


def _tell(order: dict[str, Any]) -> dict[str, Any]:
    """Return the first process's order on all of them."""
    if jax.process_count() == 1:
        return order
    return json.loads(gather_texts(json.dumps(order, ensure_ascii=False))[0])
