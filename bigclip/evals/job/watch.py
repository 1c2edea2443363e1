"""What an evaluation job knows of the run that it follows, and what it decides to do next."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from bigclip.config import ConfigError
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.job.results import Results, result_line
from bigclip.evals.suites import Suite

_ATTEMPTS = 3
_ANY = -1
_MOST_STEPS = 100  # of which the first process tells the others, in 2 kB


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


class Watch:
    """What the job knows of the run's steps; on the first process only.

    The arguments are those of `bigclip.evals.job.follow.follow_run`.
    """

    def __init__(
        self,
        workdir: Path,
        suites: Sequence[Suite],
        *,
        read_manifest: Callable[[Path, int], dict[str, Any]],
        list_steps: Callable[[Path], list[int]],
        follow: bool,
        timeout_seconds: float | None,
        on_result: Callable[[dict[str, Any]], None],
        on_idle: Callable[[], None],
    ):
        self.results = Results(workdir)
        self._workdir, self._suites, self._follow = workdir, suites, follow
        self._read_manifest, self._list_steps = read_manifest, list_steps
        self._timeout_seconds = timeout_seconds
        self._deadline = deadline_in(timeout_seconds)
        self._on_result, self._on_idle = on_result, on_idle
        self._evaluated = self._reported = 0
        # By step and number of the suite; _ANY for what no suite has seen of the step.
        self._failed: dict[tuple[int, int], str] = {}
        self._attempts: dict[tuple[int, int], int] = {}
        self._known: set[int] = set()
        self._finished: set[tuple] = set()
        self._keys: dict[int, dict[str, Any]] = {}  # of what the last order asks for
        self._stop = ""
        self._complete = self._timed_out = False

    def order(self) -> dict[str, Any]:
        """Look at the workdir and say what all processes are to do next."""
        if self._stop:
            return {"do": "stop", "why": self._stop}
        # First the state, then the steps: a run that is complete saves nothing after it says so.
        run = read_json(self._workdir / "run.json")
        steps = self._list_steps(self._workdir)
        if set(steps) - self._known:
            self._known |= set(steps)
            self._deadline = deadline_in(self._timeout_seconds)
        is_over = run.get("status") == "complete"
        for step in reversed(steps):
            ends = (is_over or not self._follow) and step == steps[-1]
            ends = ends or step == run.get("total_steps")
            key = (run.get("run_id"), step, ends)
            if (step, _ANY) in self._failed or key in self._finished:
                continue
            try:
                self._keys = self._todo(step, run.get("run_id"), ends)
            except Exception as error:  # of a checkpoint that vanishes: of many types
                self.note(step, _ANY, error)
                if self._stop:
                    return {"do": "stop", "why": self._stop}
                if (step, _ANY) in self._attempts and (step, _ANY) not in self._failed:
                    return {"do": "wait"}
                continue
            if self._keys:
                return {"do": "evaluate", "step": step, "suites": list(self._keys)}
            self._finished.add(key)
        if self._evaluated > self._reported:
            self._reported = self._evaluated
            try:
                self._on_idle()
            except Exception:  # a page that cannot be written is no reason not to evaluate
                logging.exception("after the results were written")
        self._timed_out = self._follow and not is_over and time.monotonic() >= self._deadline
        if self._follow and not is_over and not self._timed_out:
            return {"do": "wait"}
        self._complete = (
            is_over
            and bool(steps)
            and run.get("step") in (None, steps[-1])
            and all(step != steps[-1] for step, _ in self._failed)
        )
        return {
            "do": "end",
            "complete": self._complete,
            "timed_out": self._timed_out,
            "failed": sorted({step for step, _ in self._failed})[-_MOST_STEPS:],
        }

    def outcome(self) -> Outcome:
        """Say how it ended."""
        failed: dict[int, str] = {}
        for (step, number), reason in sorted(self._failed.items()):
            named = reason if number == _ANY else f"{self._suites[number].name}: {reason}"
            failed[step] = f"{failed[step]}; {named}" if step in failed else named
        return Outcome(self._evaluated, failed, self._complete, self._timed_out)

    def write(self, number: int, evaluation: Evaluation, seconds: float) -> None:
        """Write the result of a suite that the last order asked for."""
        suite = self._suites[number]
        line = result_line(evaluation, **self._keys[number], kind=suite.kind, seconds=seconds)
        try:
            self.results.add(line, evaluation, source=suite.source, options=suite.options)
        except OSError as error:  # the other processes have to be told, too
            self._stop = f"the results cannot be written: {error}"
            return
        self._evaluated += 1
        self._on_result(line)

    def note(self, step: int, number: int, error: Exception) -> None:
        """Remember that a suite could not evaluate a step.

        Args:
            step: of the checkpoint.
            number: of the suite; _ANY if the step itself could not be looked at.
            error: why.
        """
        if step not in self._list_steps(self._workdir):
            logging.warning("step %d was deleted before it could be evaluated", step)
            self._attempts.pop((step, number), None)
            return
        if isinstance(error, ConfigError):  # trying again does not mend it
            self._stop = str(error)
            return
        logging.error("step %d could not be evaluated", step, exc_info=error)
        key = (step, number)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        if self._attempts[key] >= _ATTEMPTS:
            self._failed[key] = f"{type(error).__name__}: {error}"
        time.sleep(0.5)

    def _todo(self, step: int, run_id: str | None, ends: bool) -> dict[int, dict[str, Any]]:
        """Return the suites that have not seen a step, by number, and what names their results."""
        wanting = [k for k, suite in enumerate(self._suites) if suite.wants(step, is_last=ends)]
        if not wanting:
            return {}
        preprocess = self._read_manifest(self._workdir, step)["preprocess"]
        keys = {
            k: {
                "run_id": run_id,
                "step": step,
                "suite": self._suites[k].name,
                "definition": self._suites[k].definition(preprocess),
            }
            for k in wanting
        }
        return {
            k: key
            for k, key in keys.items()
            if (step, k) not in self._failed and not self.results.has(**key)
        }


def deadline_in(timeout_seconds: float | None) -> float:
    """Return the time of `time.monotonic` after a timeout; None never comes."""
    return float("inf") if timeout_seconds is None else time.monotonic() + timeout_seconds
