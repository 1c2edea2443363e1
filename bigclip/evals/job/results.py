"""The results of a run: `evaluations.jsonl`, and beside it the details of each result.

    evaluations.jsonl               one JSON object a line: step, suite, metrics, chance, ...
    evaluations/SUITE-STEP-DEFINITION.json  what the report shows beside the metrics
    evaluations/SUITE-STEP-DEFINITION.npz   of suites that learn something: a probe's weights
    tensorboard/evaluations/        the metrics once more, at the training steps

A line is appended in one write and forced to disk. A job that is killed in the middle of a line
leaves half a line at the end, which the next job removes before it appends.
"""

import contextlib
import fcntl
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from bigclip.config import ConfigError
from bigclip.evals.evaluation import Evaluation

LINES = "evaluations.jsonl"
DETAILS = "evaluations"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines; a half-written line is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


class Results:
    """The results of one workdir, open for appending.

    Args:
        workdir: the run's directory.
    """

    def __init__(self, workdir: Path):
        self._workdir = workdir
        self._path = workdir / LINES
        self._done: set[tuple] = set()
        self._tensorboard: SummaryWriter | None = None
        self._cut_half_line()
        for line in read_lines(self._path):
            self._done.add(_key(line))

    def has(self, *, run_id: str | None, step: int, suite: str, definition: str) -> bool:
        """Say whether this step has this result already."""
        line = {"run_id": run_id, "step": step, "suite": suite, "definition": definition}
        return _key(line) in self._done

    def add(
        self,
        line: dict[str, Any],
        evaluation: Evaluation,
        *,
        source: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Append a result. The details are written first: a line never stands without them.

        Args:
            line: of `result_line`.
            evaluation: what it was made of.
            source: configuration of the pictures, for the report.
            options: of the suite, likewise.
        """
        named = {name: line[name] for name in ("suite", "kind", "step", "definition")}
        details = self._workdir / details_place(line["suite"], line["step"], line["definition"])
        details.parent.mkdir(exist_ok=True)
        half = details.with_suffix(".part")
        if evaluation.arrays:
            with open(half, "wb") as file:
                np.savez(file, **evaluation.arrays)
            half.replace(details.with_suffix(".npz"))
        head = named | {"source": source, "options": options}
        half.write_text(_dump(head | evaluation.details), encoding="utf-8")
        half.replace(details)
        with open(self._path, "ab") as file:
            file.write((_dump(line) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        self._done.add(_key(line))
        self._draw(line["step"], line["suite"], line["metrics"])

    def close(self) -> None:
        """Flush what is shown in TensorBoard."""
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None

    def _draw(self, step: int, suite: str, metrics: Mapping[str, float]) -> None:
        if self._tensorboard is None:
            self._tensorboard = SummaryWriter(str(self._workdir / "tensorboard" / DETAILS))
        for name, value in metrics.items():
            self._tensorboard.add_scalar(f"{suite}/{name}", value, step)
        self._tensorboard.flush()

    def _cut_half_line(self) -> None:
        if not self._path.exists():
            return
        with open(self._path, "rb+") as file:
            data = file.read()
            end = data.rfind(b"\n") + 1
            if end < len(data):
                file.truncate(end)


def result_line(
    evaluation: Evaluation,
    *,
    run_id: str | None,
    step: int,
    suite: str,
    kind: str,
    definition: str,
    seconds: float,
) -> dict[str, Any]:
    """Return a result as a line of `evaluations.jsonl`, plain data.

    A metric that is no finite number is named in `not_finite` instead, since JSON has none.
    """
    finite = {name: value for name, value in evaluation.metrics.items() if math.isfinite(value)}
    lost = sorted(evaluation.metrics.keys() - finite.keys())
    return {
        "step": step,
        "suite": suite,
        "kind": kind,
        "metrics": {name: round(value, 6) for name, value in finite.items()},
        **({"not_finite": lost} if lost else {}),
        "chance": {name: round(value, 6) for name, value in evaluation.chance.items()},
        "examples": evaluation.counts.get("images"),
        "counts": evaluation.counts,
        "definition": definition,
        "seconds": round(seconds, 3),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "run_id": run_id,
    }


def details_place(suite: str, step: int, definition: str) -> str:
    """Return where in a workdir the details of a result lie."""
    return f"{DETAILS}/{suite}-{step}-{definition}.json"


@contextlib.contextmanager
def only_job(workdir: Path) -> Iterator[None]:
    """Hold the workdir's evaluation lock; the system frees it however the process ends.

    Raises:
        ConfigError: if another evaluation job holds it.
    """
    with open(workdir / ".evaluate.lock", "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another evaluation job works on {workdir}: let it finish, or stop it first."
            ) from error
        yield


def _key(line: dict[str, Any]) -> tuple:
    return tuple(line.get(name) for name in ("run_id", "step", "suite", "definition"))


def _dump(value: Any) -> str:
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """Exchange numbers that are not finite for None: JSON has none."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
