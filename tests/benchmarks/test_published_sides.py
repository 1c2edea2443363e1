"""Every side is started on the same published geometry, and bigclip's trains on noise."""

import json

import numpy as np
import pytest

from benchmarks import __main__ as programs
from benchmarks import cpu_step
from benchmarks.big_vision_model import big_vision_model, differences
from benchmarks.bigclip_worker import Bigclip
from benchmarks.published import MODELS, bigclip_config, write_random_batches
from benchmarks.transformers_model import transformers_model
from bigclip.models import architecture


def test_small_vit_is_that_of_open_clip():
    arch = MODELS["ViT-S-16"]
    for tower in ("image", "text"):
        fields = arch[tower]
        # open_clip's model_configs/ViT-S-16.json
        assert (fields["width"], fields["depth"], fields["num_heads"]) == (384, 12, 6)
    assert arch["embed_dim"] == 384


def test_random_texts_end_once(tmp_path):
    arch = MODELS["tiny"]
    with np.load(write_random_batches(arch, tmp_path / "b.npz", batch_size=6, count=2)) as arrays:
        image, text = arrays["image"], arrays["text"]
    assert image.shape == (2, 6, 24, 24, 3)
    assert image.dtype == np.uint8
    end = arch["text"]["vocab_size"] - 1
    assert text.shape == (2, 6, arch["text"]["context_length"])
    assert ((text == end).sum(axis=-1) == 1).all()
    after = np.cumsum(text == end, axis=-1) - (text == end)
    assert (text[after == 1] == 0).all()


@pytest.mark.slow
def test_bigclip_trains_without_data(tmp_path):
    arch = MODELS["tiny"]
    batches = write_random_batches(arch, tmp_path / "b.npz", batch_size=8, count=1)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(bigclip_config(arch, batch_size=8, dtype="float32")))
    side = Bigclip()
    side.start(config=str(config), data=False)
    first = side.steps(count=1, batches=batches)["loss"]
    # One batch of noise again and again is learned by heart, at a rate that has warmed up.
    assert side.steps(count=100, batches=batches)["loss"] < first


def test_geometry_for_big_vision():
    arch = architecture("siglip-b-16-224")
    model = big_vision_model(arch, image_dtype="bfloat16", scan=True)
    assert model["out_dim"] == (None, 768)
    assert model["image"]["pool_type"] == "map"
    assert model["image"]["scan"]
    assert model["text"]["scan"]
    assert differences(arch) == []
    clip = architecture("clip-vit-b-32")
    assert big_vision_model(clip)["image"]["head_zeroinit"] is False
    assert any("sees all tokens" in note for note in differences(clip))


@pytest.mark.peers
def test_transformers_has_as_many_parameters():
    import jax
    import transformers

    from bigclip.tasks import make_task

    model = transformers.CLIPModel(transformers.CLIPConfig(**transformers_model(MODELS["tiny"])))
    theirs = sum(parameter.numel() for parameter in model.parameters())
    block = {"name": "contrastive", "architecture": MODELS["tiny"]}
    task = make_task(block, mean=(0.5,) * 3, std=(0.5,) * 3)
    ours = jax.eval_shape(task.init, jax.random.key(0))
    assert theirs == sum(leaf.size for leaf in jax.tree.leaves(ours))


def _side(name, seconds, peak):
    return {
        "name": name,
        "num_params": 2_000_000,
        "turns": [[seconds]],
        "peak_bytes": peak,
        "first_step_seconds": 3.0,
    }


def test_a_pair_is_compared_within_its_run():
    pair = [_side("bigclip", 2.0, 2**30), _side("open_clip", 3.0, 2**31)]
    row = cpu_step.pair_table([pair], batch_size=6).splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["open_clip", "2.0", "2.00", "3.00", "1.50", "2.00", "1.00", "0.50", "3 / 3"]


@pytest.mark.slow
def test_the_command_measures_bigclip_alone(capsys, tmp_path):
    figures = tmp_path / "figures.json"
    cpu_step.main(
        ["--models", "tiny", "--batch_size", "8", "--rounds", "1", "--steps", "1"]
        + ["--peers", "big_vision", "--json", str(figures)]
    )
    printed = capsys.readouterr()
    assert "big_vision is not measured: it is no package" in printed.err
    assert "| bigclip | 0.1 |" in printed.out
    assert json.loads(figures.read_text())["models"]["tiny"][0][0]["peak_bytes"] > 0


def test_programs_are_listed(capsys):
    programs.main(["--list"])
    listed = capsys.readouterr().err
    assert all(f"benchmarks.{name}" in listed for name in programs.PROGRAMS)
    with pytest.raises(SystemExit, match="no_such is none of train_step"):
        programs.main(["no_such"])
