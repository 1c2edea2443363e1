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

_MOST_TOLD = 500  # characters of a reason, which travels in 2 kB
RESTART = 42  # the exit code that asks to be started again
_LONELY_SECONDS = 60.0  # how long a process that has failed waits for the others


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
                failed = dict.fromkeys(order["failed"], "see process 0")
                here = Outcome(0, failed, order["complete"], order["timed_out"])
                return watch.outcome() if watch else here
            if order["do"] == "wait":
                if watch:
                    time.sleep(poll_seconds)
                continue
            _carry_out(order, workdir, suites, load, watch)
    finally:
        if watch:
            watch.results.close()


def _carry_out(
    order: dict[str, Any],
    workdir: Path,
    suites: Sequence[Suite],
    load: Callable,
    watch: Watch | None,
) -> None:
    """Run the suites of an order; what fails in one does not keep the others from running."""
    step, model, weights = order["step"], None, None
    unread: dict[str, Exception] = {}  # weights that cannot be loaded
    for number in sorted(order["suites"], key=lambda k: suites[k].weights, reverse=True):
        suite, start = suites[number], time.perf_counter()
        evaluation, error = None, None
        try:
            if suite.weights in unread:
                raise unread[suite.weights]
            if suite.weights != weights:
                model, weights = None, None
                _release(suites)  # the next model may need the room
                try:
                    model, weights = load(workdir, step, suite.weights), suite.weights
                except Exception as raised:
                    unread[suite.weights] = raised
                    raise
            evaluation = suite.evaluate(model)
        except Exception as raised:
            # Orbax's errors for a checkpoint that vanishes while it is read are of many types.
            error = raised
        error = _together(error)
        if watch and error is None:
            watch.write(number, evaluation, time.perf_counter() - start)
        elif watch:
            watch.note(step, number, error)
    _release(suites)


def _release(suites: Sequence[Suite]) -> None:
    for suite in suites:
        suite.release()


def _together(error: Exception | None) -> Exception | None:
    """Return this process's error, or one that tells of another process's, or None on all.

    A process that fails on its own would be waited for in a collective for ever. It waits here for
    the others, which come where nothing but their own work was left to do; else it leaves.
    """
    if jax.process_count() == 1:
        return error

    def give_up() -> None:
        logging.error("this process alone has failed: %s", error)
        leave(RESTART)

    watch = threading.Timer(_LONELY_SECONDS if error else threading.TIMEOUT_MAX, give_up)
    watch.daemon = True
    watch.start()
    try:
        told = gather_texts("" if error is None else f"{type(error).__name__}: {error}"[:1000])
    finally:
        watch.cancel()
    others = [f"process {index}: {text}" for index, text in enumerate(told) if text]
    return error or (RuntimeError("; ".join(others)) if others else None)


def _tell(order: dict[str, Any]) -> dict[str, Any]:
    """Return the first process's order on all of them."""
    if jax.process_count() == 1:
        return order
    if "why" in order:
        order = {**order, "why": order["why"][:_MOST_TOLD]}
    return json.loads(gather_texts(json.dumps(order, ensure_ascii=False))[0])
