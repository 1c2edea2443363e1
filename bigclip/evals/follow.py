"""Follow a run: evaluate each complete checkpoint once, the newest first.

The evaluation job and the trainer share nothing but the workdir. The trainer may be killed and
started again, checkpoints may appear, half-written ones may lie about, old ones may be deleted
while they are read, and this job may itself be killed at any moment: what is done is in
`evaluations.jsonl`, and what is not is found again by looking.

A job that lags behind evaluates the newest checkpoint first, since that is what one waits for and
since old ones may soon be gone, and catches up on the older ones when nothing newer is there.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from bigclip.config import ConfigError
from bigclip.evals.results import Results
from bigclip.evals.suites import Suite

_ATTEMPTS = 3


class Outcome(NamedTuple):
    """How following a run ended.

    Attributes:
        evaluated: results written by this job.
        failed: step -> why it could not be evaluated, although its checkpoint is there.
        complete: the run is complete and its last checkpoint has every result.
        timed_out: no new checkpoint came within the timeout.
    """

    evaluated: int
    failed: dict[int, str]
    complete: bool
    timed_out: bool


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file that another process may be replacing; {} if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def wait_for_config(
    workdir: Path, *, timeout_seconds: float | None, poll_seconds: float
) -> dict[str, Any]:
    """Return the run's resolved configuration; wait until the trainer has written it.

    Raises:
        ConfigError: if it is not there within the timeout.
    """
    deadline = _deadline(timeout_seconds)
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
    """
    job = _Job(workdir, suites, load, read_manifest, on_result)
    deadline = _deadline(timeout_seconds)
    known: set[int] = set()
    reported = 0
    while True:
        # First the state, then the steps: a run that is complete saves nothing after it says so.
        run = read_json(workdir / "run.json")
        steps = list_steps(workdir)
        if set(steps) - known:
            known |= set(steps)
            deadline = _deadline(timeout_seconds)
        todo = [step for step in reversed(steps) if not job.is_done(step, run)]
        if todo:
            job.evaluate(todo[0], run, list_steps)
            continue
        if job.evaluated > reported:
            reported = job.evaluated
            on_idle()
        complete = run.get("status") == "complete"
        timed_out = follow and not complete and time.monotonic() >= deadline
        if not follow or complete or timed_out:
            last = run.get("step")
            complete = complete and bool(steps) and last in (None, steps[-1])
            complete = complete and steps[-1] not in job.failed
            return Outcome(job.evaluated, job.failed, complete, timed_out)
        time.sleep(poll_seconds)


class _Job:
    """What this process knows of a run's steps."""

    def __init__(self, workdir, suites, load, read_manifest, on_result):
        self.evaluated = 0
        self.failed: dict[int, str] = {}
        self._workdir, self._suites, self._on_result = workdir, suites, on_result
        self._load, self._read_manifest = load, read_manifest
        self._results = Results(workdir)
        self._attempts: dict[int, int] = {}
        self._finished: set[tuple] = set()

    def is_done(self, step: int, run: dict[str, Any]) -> bool:
        """Say whether this process needs no more look at a step."""
        return step in self.failed or (run.get("run_id"), step) in self._finished

    def evaluate(self, step: int, run: dict[str, Any], list_steps: Callable) -> None:
        """Evaluate one step with every suite that has not seen it yet."""
        try:
            self._evaluate(step, run.get("run_id"))
            self._finished.add((run.get("run_id"), step))
        except ConfigError:
            if step in list_steps(self._workdir):
                raise
            logging.warning("step %d was deleted before it could be evaluated", step)
        except Exception as error:
            # Orbax's errors for a checkpoint that vanishes while it is read are of many types.
            if step not in list_steps(self._workdir):
                logging.warning("step %d was deleted before it could be evaluated", step)
                return
            self._attempts[step] = self._attempts.get(step, 0) + 1
            logging.exception("step %d: attempt %d failed", step, self._attempts[step])
            if self._attempts[step] >= _ATTEMPTS:
                self.failed[step] = f"{type(error).__name__}: {error}"
            time.sleep(0.5)

    def _evaluate(self, step: int, run_id: str | None) -> None:
        preprocess = self._read_manifest(self._workdir, step)["preprocess"]
        keys = {
            suite: {
                "run_id": run_id,
                "step": step,
                "suite": suite.name,
                "definition": suite.definition(preprocess),
            }
            for suite in self._suites
        }
        todo = [suite for suite, key in keys.items() if not self._results.has(**key)]
        if not todo:
            return
        model, weights = None, None
        for suite in sorted(todo, key=lambda suite: suite.weights, reverse=True):
            if suite.weights != weights:
                model, weights = self._load(self._workdir, step, suite.weights), suite.weights
            start = time.perf_counter()
            evaluation = suite.evaluate(model)
            seconds = time.perf_counter() - start
            line = self._results.add(evaluation, **keys[suite], kind=suite.kind, seconds=seconds)
            self.evaluated += 1
            self._on_result(line)
        for suite in self._suites:
            suite.release()


def _deadline(timeout_seconds: float | None) -> float:
    return float("inf") if timeout_seconds is None else time.monotonic() + timeout_seconds
