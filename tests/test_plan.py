"""The command, as a user runs it: in a process of its own, without JAX_PLATFORMS."""

import io
import json
import os
import pathlib
import subprocess
import sys

import pytest
import tiny_config
from rich.console import Console

from bigclip.planning import plan_gpus, print_plan, sweep_row, sweep_summary
from bigclip.planning.trial import plan_apart

TINY = str(pathlib.Path(tiny_config.__file__))
LOSS = ["--loss-only", "--loss", "sigmoid", "--batch", "1024", "--dim", "64"]
LOSS += ["--topology", "v5e:2x2"]


def start(*arguments):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("JAX_PLATFORMS", "XLA_FLAGS") and not name.startswith("TPU_")
    }
    return subprocess.Popen(
        [sys.executable, "-m", "bigclip.plan", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


@pytest.mark.tpu_compiler
def test_two_plans_at_once(tmp_path):
    paths = [tmp_path / "a" / "plan.json", tmp_path / "b.json"]
    running = [start(*LOSS, "--json", str(path)) for path in paths]
    for process, path in zip(running, paths, strict=True):
        code, output, errors = finish(process)
        assert code == 0, errors
        assert "fits" in output
        assert "libtpu" not in errors  # its start-up complaints
        plan = json.loads(path.read_text())
        assert (plan["chips"], plan["fits"]) == (4, True)


@pytest.mark.tpu_compiler
def test_what_does_not_fit_is_a_plan_too(tmp_path):
    path = tmp_path / "plan.json"
    arguments = [*LOSS[:4], "131072", "--dim", "8", *LOSS[-2:]]
    code, output, errors = finish(start(*arguments, "--implementation", "dense", f"--json={path}"))
    assert code == 0, errors
    assert "does not fit" in output
    assert json.loads(path.read_text())["fits"] is False


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config", f"{TINY}:x", "--topology", "v9:2x2"], "no choice 'v9'"),
        (["--config", f"{TINY}:x", "--topology", "v5e:5x5"], "v5e:16x16"),
        (["--config", "nowhere.py", "--topology", "h100:8"], "nowhere.py"),
        (["--config", f"{TINY}:x", "--config.task.far=1"], "sets no key 'far'"),
        (["--config", f"{TINY}:x", "--config.batch_sise=1"], 'Did you mean "batch_size"'),
        (["--loss-only", "--topology", "v5e:2x2"], "--batch B and --dim D"),
        (["--config", f"{TINY}:x", "--topology", "h100:8", "--config.batch_size=9"], "batch_size"),
    ],
)
def test_a_mistake_of_the_user_exits_with_2(arguments, expected):
    code, _, errors = finish(start(*arguments))
    assert code == 2
    assert "error: " in errors
    assert expected in errors
    assert "Traceback" not in errors


def test_gpus_are_planned_by_formula_and_say_so(tmp_path):
    path = tmp_path / "plan.json"
    code, output, errors = finish(
        start(
            "--config", f"{TINY}:nowhere", "--topology", "h100:8", "--sweep", "--max-trials=2",
            "--config.batch_size=64", "--json", str(path),
        )
    )  # fmt: skip
    assert code == 0, errors
    assert "Analytic: nothing was compiled" in output
    assert "Recommended: --config.task.remat=none" in output
    plan = json.loads(path.read_text())
    assert plan["analytic"] is True
    assert len(plan["sweep"]["trials"]) <= 2


def test_a_trial_that_takes_too_long_is_stopped():
    config = tiny_config.get_config("nowhere").to_dict()
    assert plan_apart(config, "v5e:2x2", timeout_seconds=0.1).startswith("stopped after")


def test_a_trial_that_fails_says_why():
    config = tiny_config.get_config("nowhere").to_dict()
    found = plan_apart({**config, "batch_size": 9}, "v5e:9x9", timeout_seconds=300)
    assert found.startswith("failed:")
    assert "no such slice" in found


def printed(plan):
    console = Console(file=io.StringIO(), width=120)
    print_plan(plan, console)
    return console.file.getvalue()


def test_the_table_tells_the_figures():
    config = tiny_config.get_config("nowhere")
    config.batch_size = 64
    plan = plan_gpus(config, "h100:16", price=3.0)
    text = printed(plan)
    for label in ("parameters", "optimizer", "activations", "loss", "model FLOPs", "NVLink"):
        assert label in text
    assert "16 NVIDIA H100" in text
    assert "USD" in text
    over = {**plan, "fits": False, "over_bytes": 2**30}
    assert "1.00 GiB too much" in printed(over)
    assert "try" in printed(over)


def test_the_rows_of_a_sweep():
    choice = {"micro_batch_size": 128, "remat": "full", "fsdp": 4}
    done = {
        "choice": choice, "status": "planned", "fits": True, "total_bytes": 1, "limit_bytes": 2,
        "step_seconds_roofline": 0.25, "trial_seconds": 3.0,
    }  # fmt: skip
    assert "50%  step  250.00 ms" in sweep_row(1, done)
    late = {"choice": choice, "status": "stopped after 15 minutes"}
    assert "stopped after" in sweep_row(2, late)
    assert sweep_summary([done, late], 7).startswith("1 of 9 choices planned, 1 fit")
