"""What a workdir tells of its run, read so that nothing missing or half-written is fatal."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.evals.job.results import details_place
from bigclip.reports.kinds import KINDS


class SuiteHistory(NamedTuple):
    """The results of one suite over the steps of a run.

    Attributes:
        name: in the configuration.
        kind: "retrieval", "zero_shot", ...: a key of `bigclip.reports.kinds.KINDS`, or unknown.
        lines: its lines of evaluations.jsonl, one a step, ascending. Each has `metrics` and
            `chance` (name -> finite number) and `counts` (name -> whole number).
        details: of the last step: ranked examples, per-class accuracies; {} if they are lost.
        num_other: results left out since they have another definition than the last step's.
    """

    name: str
    kind: str
    lines: list[dict[str, Any]]
    details: dict[str, Any]
    num_other: int = 0

    @property
    def last(self) -> dict[str, Any]:
        """The line of the last step."""
        return self.lines[-1]

    @property
    def definition(self) -> str | None:
        """The hash of suite, data and preprocessing; None in results of an old format."""
        found = self.last.get("definition")
        return found if isinstance(found, str) and found else None


class Run(NamedTuple):
    """A run as its workdir shows it.

    Attributes:
        workdir: where.
        config: the resolved configuration.
        status: run.json.
        metrics: the lines of metrics.jsonl, ascending steps.
        suites: those with results, in the order of the table of kinds, then of the configuration.
        num_params: branch of the parameter tree -> number of parameters; {} if unknown.
    """

    workdir: Path
    config: dict[str, Any]
    status: dict[str, Any]
    metrics: list[dict[str, Any]]
    suites: list[SuiteHistory]
    num_params: dict[str, int]

    def series(self, name: str) -> list[tuple[float, float]]:
        """Return (step, value) of a metric wherever it was written."""
        return [(row["step"], row[name]) for row in self.metrics if row.get(name) is not None]

    def latest(self, name: str) -> float | None:
        """Return the last value of a metric, or None."""
        series = self.series(name)
        return series[-1][1] if series else None


def read_run(workdir: str | Path) -> Run:
    """Read a workdir.

    Raises:
        ConfigError: if it holds no run.
    """
    workdir = Path(workdir)
    config = _read_object(workdir / "config.json")
    if not config:
        raise ConfigError(
            f"{workdir} holds no run: there is no config.json. Give the --workdir of a run of "
            "`python -m bigclip.train`."
        )
    status = _read_object(workdir / "run.json")
    rows = [row for row in _read_lines(workdir / "metrics.jsonl") if _is_step(row.get("step"))]
    by_step = {row["step"]: row for row in rows}  # a resumed run may have written a step again
    return Run(
        workdir=workdir,
        config=config,
        status=status,
        metrics=[by_step[step] for step in sorted(by_step)],
        suites=_read_suites(workdir, config, status.get("run_id")),
        num_params=_count_params(workdir),
    )


def _read_suites(workdir: Path, config: dict, run_id: str | None) -> list[SuiteHistory]:
    by_suite: dict[str, dict[int, dict]] = {}
    for line in _read_lines(workdir / "evaluations.jsonl"):
        whole = isinstance(line.get("metrics"), dict) and _is_step(line.get("step"))
        if whole and run_id in (None, line.get("run_id")):
            by_suite.setdefault(str(line.get("suite")), {})[line["step"]] = _clean(line)
    order = [name for name in config.get("evals") or {} if name in by_suite]
    order += [name for name in by_suite if name not in order]
    suites = []
    for name in order:
        found = [by_suite[name][step] for step in sorted(by_suite[name])]
        # Lines of another definition (other data, other options) are no points of one curve.
        lines = [line for line in found if line.get("definition") == found[-1].get("definition")]
        last = lines[-1]
        place = details_place(name, last["step"], str(last.get("definition")))
        # The second: as bigclip wrote it before definitions were part of the name.
        old = workdir / "evaluations" / f"{name}-{last['step']}.json"
        details = _read_object(workdir / place) or _read_object(old)
        kind = str(lines[-1].get("kind"))
        suites.append(SuiteHistory(name, kind, lines, details, len(found) - len(lines)))
    places = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(suites, key=lambda suite: places.get(suite.kind, len(places)))


def _clean(line: dict[str, Any]) -> dict[str, Any]:
    """Keep of a result's numbers those that are numbers, so that no reader has to ask again."""
    parts = {
        part: {
            str(name): value for name, value in _object(line.get(part)).items() if _is_finite(value)
        }
        for part in ("metrics", "chance", "counts")
    }
    parts["counts"] = {name: round(value) for name, value in parts["counts"].items()}
    return line | parts


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count_params(workdir: Path) -> dict[str, int]:
    try:
        shapes = checkpoints.params_shapes(workdir)
    except Exception:  # whatever a missing, vanishing or foreign checkpoint raises
        return {}
    return {branch: _count(tree) for branch, tree in shapes.items()}


def _count(tree: Any) -> int:
    if isinstance(tree, dict):
        return sum(_count(branch) for branch in tree.values())
    size = 1
    for length in tree.shape:
        size *= length
    return size


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    rows = []
    for text in texts:
        try:
            row = json.loads(text)
        except ValueError:
            continue  # half-written
        if isinstance(row, dict):
            rows.append(row)
    return rows
