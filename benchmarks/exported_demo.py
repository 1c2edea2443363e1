"""The demo's checkpoint as transformers and open_clip see it: do they find what bigclip found?

    make demo && python -m benchmarks.exported_demo --peers_python P

exports the newest checkpoint of the demo to both, has each evaluate the held-out sets by itself
(`exported_demo_worker.py`, without bigclip or JAX), and lays the figures beside those of the run's
own evaluation job.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.workers import ROOT
from bigclip import checkpoints, convert

FRAMEWORKS = ("transformers", "open_clip")
_DATA = ROOT / "bigclip" / "data" / "embedded"
# Scores that all but tie may change places: a picture or two of some hundred.
_ROUNDING = 0.005
_WORKER = ROOT / "benchmarks" / "exported_demo_worker.py"
# A torchvision for CUDA beside a torch for CPUs does not import by itself.
_RUN = (
    "import runpy, sys; from bigclip.interop.torchvision_import import import_torchvision; "
    "import_torchvision(); del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def own_figures(workdir: pathlib.Path, step: int) -> dict[str, dict[str, float]]:
    """Suite -> metrics of the run's own evaluation of one step."""
    lines = (workdir / "evaluations.jsonl").read_text().splitlines()
    found = (json.loads(line) for line in lines)
    return {one["suite"]: one["metrics"] for one in found if one["step"] == step}


def elsewhere(framework: str, folder: pathlib.Path, python: str) -> dict[str, dict[str, float]]:
    """Suite -> metrics, as the framework finds them in a process of its own."""
    command = [python, "-c", _RUN, str(_WORKER), framework, str(folder), str(_DATA)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(ours: dict, theirs: dict[str, dict]) -> str:
    """Markdown: one row for each figure that the frameworks give."""
    lines = ["| suite | figure | bigclip | " + " | ".join(theirs) + " |"]
    lines.append("| --- | --- |" + " --- |" * (1 + len(theirs)))
    for suite, metrics in next(iter(theirs.values())).items():
        for name in metrics:
            cells = [ours[suite][name], *(found[suite][name] for found in theirs.values())]
            told = " | ".join(f"{100 * value:.2f}" for value in cells)
            lines.append(f"| {suite} | {name} | {told} |")
    return "\n".join(lines)


def largest_gap(ours: dict, theirs: dict[str, dict]) -> float:
    """The largest difference between any figure here and there."""
    return max(
        abs(value - ours[suite][name])
        for found in theirs.values()
        for suite, metrics in found.items()
        for name, value in metrics.items()
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Export, evaluate, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=pathlib.Path, default=ROOT / "runs" / "demo")
    parser.add_argument(
        "--peers_python", default=sys.executable, help="interpreter that has both frameworks"
    )
    options = parser.parse_args(argv)
    step = checkpoints.steps(options.workdir)[-1]
    theirs = {}
    with tempfile.TemporaryDirectory() as temporary:
        for framework in FRAMEWORKS:
            folder = pathlib.Path(temporary) / framework
            convert.convert(options.workdir, folder, format=framework)
            theirs[framework] = elsewhere(framework, folder, options.peers_python)
    ours = own_figures(options.workdir, step)
    print(table(ours, theirs))
    gap = largest_gap(ours, theirs)
    if gap > _ROUNDING:
        sys.exit(f"the frameworks differ by {100 * gap:.2f} points: more than a few pictures.")


if __name__ == "__main__":
    main()
