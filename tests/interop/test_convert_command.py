"""The command `python -m bigclip.convert`, with the one format that needs no other framework."""

import json
import shutil

import numpy as np
import pytest
from random_models import InMemory, params_of, small_tokenizer

from bigclip import convert
from bigclip.interop.outgoing import Outgoing
from bigclip.models import architecture

SIZES = {"depth": 1, "vocab_size": 300}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    arch = architecture("tiny-clip", image={"depth": 2}, text=SIZES)
    model = InMemory(arch, tokenizer=small_tokenizer(11))
    return model.save(tmp_path_factory.mktemp("run") / "ours")


def run(*arguments):
    return convert.main([str(one) for one in arguments])


def test_both_ways_with_the_proof(ours, tmp_path, capsys):
    file, back = tmp_path / "m.safetensors", tmp_path / "back"
    assert run(ours, file, "--format", "safetensors", "--verify") == 0
    assert "| arrays |" in (tmp_path / "m.md").read_text()
    assert run(file, back, "--verify", "--unrolled") == 0
    told = capsys.readouterr().out
    assert told.count("0 differ") == 2
    assert f"written: {back}" in told
    before, after = params_of(ours), params_of(back)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "m.md", "m.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{ours}", "{new}"), "say --format, one of transformers, open_clip"),
        (("{ours}", "{new}", "--format", "opne_clip"), "Did you mean 'open_clip'"),
        (("{ours}", "gs://bucket/new", "--format", "timm"), "the destination is a local path"),
        (("{ours}", "{new}", "--format", "safetensors"), "its name ends in .safetensors"),
        (("{ours}", "{ours}", "--format", "timm"), "exists"),
        (("{ours}", "{new}", "--format", "timm", "--step", "9"), "not a run's"),
        (("{ours}", "{new}", "--format", "timm", "--ema"), "holds no 'ema'"),
        (
            ("{ours}", "{new}", "--format", "timm", "--image_size", "32"),
            "--image_size: for a model",
        ),
        (
            ("{ours}", "{new}", "--format", "timm", "--unrolled"),
            "--unrolled: for a model that comes",
        ),
        (("{nothing}", "{new}"), "does not exist"),
        (("{nothing}", "{new}", "--format", "openai"), "does not exist"),
        (("{text}", "{new}"), "text.md"),
        (("{text}", "{new}", "--format", "onnx"), "only go out"),
        (("{text}", "{new}", "--format", "openai", "--ema"), "--ema: for a model that goes out"),
        (("{text}", "{new}", "--format", "transformers"), "is no folder"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(ours, tmp_path, capsys, arguments, message):
    (tmp_path / "text.md").write_text("no weights")
    places = {
        "ours": ours,
        "new": tmp_path / "new",
        "nothing": tmp_path / "nothing",
        "text": tmp_path / "text.md",
    }
    assert run(*(one.format(**places) for one in arguments)) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["text.md"]


def test_a_checkpoint_of_a_later_version_is_called_that(ours, tmp_path, capsys):
    later = tmp_path / "later"
    shutil.copytree(ours, later)
    manifest = json.loads((later / "manifest" / "metadata").read_text())
    (later / "manifest" / "metadata").write_text(json.dumps(manifest | {"format": 99}))
    assert run(later, tmp_path / "new", "--format", "timm") == 2
    assert "format 99" in capsys.readouterr().err


def test_resizing_on_the_way_in(ours, tmp_path, capsys):
    file = tmp_path / "m.safetensors"
    assert run(ours, file, "--format", "safetensors") == 0
    assert run(file, tmp_path / "large", "--image_size", "32", "--context_length", "9") == 0
    told = capsys.readouterr().out
    assert "image/position: resized from 10 to 17 rows" in told
    model = Outgoing(tmp_path / "large")
    assert model.architecture["image"]["image_size"] == model.preprocess.size == 32
    assert model.tokenizer.context_length == 9
    assert run(file, tmp_path / "no", "--image_size", "32", "--verify") == 2
    assert "leave the resizing away" in capsys.readouterr().err
