"""Evaluate one checkpoint, wherever it lies: a run's, or an exported folder."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.evals.job.results import Results, only_job, result_line
from bigclip.evals.job.watch import read_json
from bigclip.evals.suites import Suite
from bigclip.parallel import is_main
from bigclip.parallel.processes import all_or_none, gather_texts

_STATUS = "evaluated"  # in run.json: a folder of results, and not of a run


def evaluate_once(
    place: str,
    suites: Sequence[Suite],
    *,
    load: Callable[[str, str], Any],
    evals: Mapping[str, Any],
    out: Path | None,
    on_result: Callable[[dict[str, Any]], None],
) -> int:
    """Run all suites on a checkpoint.

    Args:
        place: the folder of the checkpoint itself.
        suites: what to run.
        load: (place, weights) -> model.
        evals: their configuration, for the report.
        out: folder that gets `evaluations.jsonl` and what else a workdir has for the report; a
            result that it holds already is not computed again. None writes nothing.
        on_result: called with every line.

    Returns:
        The number of results that were computed.

    Raises:
        ConfigError: as `bigclip.load`; for data that cannot be evaluated; if `out` is a run.
    """
    manifest = checkpoints.read_manifest(place)
    if out is None:
        return len(_run(place, manifest, suites, range(len(suites)), load, None, on_result))
    if not is_main():
        all_or_none(lambda: None)
        todo = json.loads(gather_texts("")[0])
        return len(_run(place, manifest, suites, todo, load, None, lambda line: None))
    with contextlib.ExitStack() as held:
        all_or_none(lambda: _take(out, manifest["run_id"], held))
        _write_head(out, manifest, evals)
        results = Results(out)
        try:
            keys = [_key(suite, manifest) for suite in suites]
            todo = [number for number, key in enumerate(keys) if not results.has(**key)]
            gather_texts(json.dumps(todo))
            return len(_run(place, manifest, suites, todo, load, results, on_result))
        finally:
            results.close()


def _run(place, manifest, suites, todo, load, results: Results | None, on_result) -> Sequence[int]:
    model, weights = None, None
    todo = sorted(todo, key=lambda number: suites[number].weights, reverse=True)
    for suite in (suites[number] for number in todo):
        if suite.weights != weights:
            model, weights = load(place, suite.weights), suite.weights
        start = time.perf_counter()
        evaluation = suite.evaluate(model)
        facts = {**_key(suite, manifest), "kind": suite.kind}
        facts["seconds"] = time.perf_counter() - start
        line = result_line(evaluation, **facts)
        if results:
            results.add(line, evaluation, source=suite.source, options=suite.options)
        on_result(line)
        suite.release()
    return todo


def _key(suite: Suite, manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run_id": manifest["run_id"],
        "step": manifest["step"],
        "suite": suite.name,
        "definition": suite.definition(manifest["preprocess"]),
    }


def _take(out: Path, run_id: str, held: contextlib.ExitStack) -> None:
    there = read_json(out / "run.json")
    if checkpoints.steps(out) or there.get("status", _STATUS) != _STATUS:
        raise ConfigError(
            f"--out {out} is the folder of a run, whose files would be replaced: name another, or "
            f"evaluate the run with --workdir {out}."
        )
    if there.get("run_id", run_id) != run_id:
        raise ConfigError(
            f"--out {out} holds the results of another model (run {there['run_id']}, and this is "
            f"{run_id}): name another folder, and compare them by `python -m bigclip.report A B`."
        )
    out.mkdir(parents=True, exist_ok=True)
    held.enter_context(only_job(out))


def _write_head(out: Path, manifest: Mapping[str, Any], evals: Mapping[str, Any]) -> None:
    """Write what the report reads of a workdir beside the results."""
    before = read_json(out / "config.json").get("evals", {})
    config = {**manifest["config"], "evals": {**before, **evals}}
    run = {"run_id": manifest["run_id"], "status": _STATUS, "step": manifest["step"]}
    run["versions"] = manifest["versions"]
    for name, value in (("config.json", config), ("run.json", run)):
        half = out / f".{name}"
        half.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        half.replace(out / name)
