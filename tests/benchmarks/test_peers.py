"""An absent peer gives a clear word, and one that is there gets the same geometry."""

import importlib.util
import json
import sys

import jax
import pytest

from benchmarks.open_clip_model import differences, open_clip_model
from benchmarks.peers import OtherWork, PeerMissing, describe, environment, find_packages
from benchmarks.runs import parser, peers_of
from benchmarks.workers import Worker, WorkerError
from bigclip.models import architecture
from bigclip.tasks import make_task


def _python_with(folder, **versions):
    """Make an "interpreter" that lists these versions."""
    packages = ("torch", "torchvision", "open_clip_torch", "numpy")
    listed = {name: versions.get(name) for name in packages}
    script = folder / "python"
    script.write_text(f"#!{sys.executable}\nprint({json.dumps(json.dumps(listed))})\n")
    script.chmod(0o755)
    return str(script)


def test_without_torch_the_extra_is_named(tmp_path):
    with pytest.raises(PeerMissing, match=r"no torch, .*pip install -e \.\[peers\].*README"):
        find_packages("open_clip", _python_with(tmp_path, numpy="2.3.5"))


def test_without_open_clip_the_readme_is_named(tmp_path):
    python = _python_with(tmp_path, torch="2.13.0", torchvision="0.28.0", numpy="2.3.5")
    with pytest.raises(PeerMissing, match="has no open_clip_torch.*Installing open_clip") as error:
        find_packages("open_clip", python)
    assert "[peers]" not in str(error.value)


def test_a_missing_interpreter_is_named(tmp_path):
    with pytest.raises(PeerMissing, match="--peers_python /no/such/python does not run"):
        find_packages("open_clip", "/no/such/python")


def test_bigclip_is_measured_alone_when_the_peer_is_absent(tmp_path, capsys):
    absent = ["--peers_python", _python_with(tmp_path)]
    assert peers_of(parser("").parse_args(absent)) == {}
    assert "open_clip is not measured" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        peers_of(parser("").parse_args([*absent, "--only", "open_clip"]))
    assert stopped.value.code == 2


def test_a_busy_machine_is_told():
    others = OtherWork()
    env = environment({})
    # How much others do is theirs; it is a number of cores.
    assert others.cores() is None or 0 <= others.cores() <= 1024
    assert "busy" not in describe(env | {"other_cores": 0.02})
    assert "busy" in describe(env | {"other_cores": 0.8})


def test_a_side_that_stops_is_named(capfd):
    with Worker("no_such_side") as worker, pytest.raises(WorkerError, match="no_such_side"):
        worker.steps(count=1)
    assert "No module named" in capfd.readouterr().err


def test_what_open_clip_lacks_is_told():
    assert differences(architecture("clip-vit-b-32")) == []
    assert any("conv" in note for note in differences(architecture("tiny-convstem-8")))
    assert any("map" in note for note in differences(architecture("siglip-b-16-224")))


@pytest.mark.peers
@pytest.mark.skipif(
    not importlib.util.find_spec("open_clip"), reason="needs open_clip: see benchmarks/README.md"
)
@pytest.mark.parametrize("name", ["tiny-clip", "tiny-vit-8", "clip-vit-b-32"])
def test_open_clip_has_as_many_parameters(name):
    from benchmarks.open_clip_worker import open_clip

    arch = architecture(name)
    task = make_task({"name": "contrastive", "architecture": name}, mean=(0.5,) * 3, std=(0.5,) * 3)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    ours = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    theirs = sum(p.numel() for p in open_clip.CLIP(**open_clip_model(arch)).parameters())
    if name == "tiny-vit-8":  # its class token and its position, but no bias of the patches
        theirs -= arch["image"]["width"]
    assert theirs == ours
