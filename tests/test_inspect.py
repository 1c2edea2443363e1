"""What a checkpoint tells of itself, without its arrays being read."""

import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import saved_model

import bigclip
from bigclip import inspect


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    saved_model.save_run(workdir)
    return workdir


def test_names_shapes_types_and_layout(run, monkeypatch):
    params = bigclip.load(run).params

    def read(*_, **__):
        raise AssertionError("arrays are read")

    monkeypatch.setattr(ocp.PyTreeCheckpointHandler, "restore", read)
    found = inspect.describe(str(run))
    assert found["manifest"]["step"] == saved_model.STEP
    kernel = found["arrays"]["params/image/projection/kernel"]
    shape = params["image"]["projection"]["kernel"].shape
    assert kernel["shape"] == list(shape)
    assert (kernel["dtype"], kernel["bytes"]) == ("float32", 4 * np.prod(shape))
    assert kernel["mesh"] == {"replica": 1, "data": 2, "fsdp": 2, "tensor": 2}
    assert set(np.ravel(kernel["spec"])) <= {"fsdp", "tensor", None}
    assert any(part is not None for part in kernel["spec"])
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    listed = [a for name, a in found["arrays"].items() if name.startswith("params/")]
    assert sorted(int(np.prod(a["shape"])) for a in listed) == sorted(sizes)


def test_the_command(run, capsys):
    assert inspect.main([str(run)]) == 0
    shown = capsys.readouterr().out
    for part in ("7, 56 examples seen", "image/projection/kernel", "--all lists", "fsdp 2"):
        assert part in shown
    assert inspect.main([str(run), "--all"]) == 0
    assert "ema: " in capsys.readouterr().out
    assert inspect.main([str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == inspect.describe(str(run))


def test_mistakes_are_told(run, tmp_path, capsys):
    assert inspect.main([str(tmp_path)]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err
    assert inspect.main([str(run), "--step", "3"]) == 2
    assert "it has [7]" in capsys.readouterr().err
