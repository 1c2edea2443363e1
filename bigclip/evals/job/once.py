"""Evaluate one checkpoint, wherever it lies: a run's, or an exported folder."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bigclip import checkpoints
from bigclip.evals.job.results import LINES, Results, read_lines, result_line
from bigclip.evals.suites import Suite
from bigclip.parallel import is_main


def evaluate_once(
    checkpoint: str,
    suites: Sequence[Suite],
    *,
    load: Callable[[str, str], Any],
    evals: Mapping[str, Any],
    out: Path | None,
    on_result: Callable[[dict[str, Any]], None],
) -> int:
    """Run all suites on a checkpoint.

    Args:
        checkpoint: as for `bigclip.load`.
        suites: what to run.
        load: (checkpoint, weights) -> model.
        evals: their configuration, for the report.
        out: folder that gets `evaluations.jsonl` and what else a workdir has for the report; a
            result that it holds already is not computed again. None writes nothing.
        on_result: called with every line.

    Returns:
        The number of results that were computed.

    Raises:
        ConfigError: as `bigclip.load`, and for data that cannot be evaluated.
    """
    manifest = checkpoints.read_manifest(checkpoint)
    writes = out is not None and is_main()
    if writes:
        out.mkdir(parents=True, exist_ok=True)
        _write_head(out, manifest, evals)
    done = Results(out) if writes else None
    found = read_lines(out / LINES) if out is not None else []
    model, weights, count = None, None, 0
    for suite in sorted(suites, key=lambda suite: suite.weights, reverse=True):
        key = {
            "run_id": manifest["run_id"],
            "step": manifest["step"],
            "suite": suite.name,
            "definition": suite.definition(manifest["preprocess"]),
        }
        if any(all(line.get(name) == key[name] for name in key) for line in found):
            continue
        if suite.weights != weights:
            model, weights = load(checkpoint, suite.weights), suite.weights
        start = time.perf_counter()
        evaluation = suite.evaluate(model)
        facts = {**key, "kind": suite.kind, "seconds": time.perf_counter() - start}
        if done:
            on_result(done.add(evaluation, **facts, source=suite.source))
        else:
            on_result(result_line(evaluation, **facts))
        suite.release()
        count += 1
    if done:
        done.close()
    return count


def _write_head(out: Path, manifest: Mapping[str, Any], evals: Mapping[str, Any]) -> None:
    """Write what the report reads of a workdir beside the results."""
    config = {
        **manifest["config"],
        "evals": {**_read(out / "config.json").get("evals", {}), **evals},
    }
    run = {"run_id": manifest["run_id"], "status": "evaluated", "step": manifest["step"]}
    run["versions"] = manifest["versions"]
    for name, value in (("config.json", config), ("run.json", run)):
        (out / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
