"""A ResNet through the whole loop: it learns, in slices too, and resumes bit for bit."""

import shutil

import jax
import numpy as np
import pytest
import tiny_config

import bigclip
from bigclip import checkpoints
from bigclip.models import STATISTICS
from bigclip.train import train
from bigclip.training.writers import read_metrics


@pytest.fixture(scope="module")
def config(shards):
    def make(**changes):
        made = tiny_config.get_config(shards)
        made.task.architecture = "tiny-rn"
        made.task.overrides = {
            "image": {"image_size": 32, "stages": [1, 1, 1, 1]},
            "text": {"vocab_size": 300, "depth": 1},
        }
        made.preprocess.size = 32
        made.batch_size = 16
        made.total_steps = 8
        made.checkpoints.every_steps = 4
        made.mesh = {"data": 4, "fsdp": 2}
        made.update(changes)
        return made

    return make


def params_of(workdir, step):
    place = checkpoints.step_path(workdir, step)
    return {
        "/".join(part.key for part in path): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(bigclip.load(place).params)
    }


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch_size", [8, None])
def test_learns_and_resumes_bit_for_bit(config, tmp_path, micro_batch_size):
    made = config(micro_batch_size=micro_batch_size)
    workdir = tmp_path / "run"
    assert train(made, workdir) == "complete"
    rows = read_metrics(workdir)
    assert rows[-1]["loss"] < rows[0]["loss"]
    middle, end = params_of(workdir, 4), params_of(workdir, 8)
    measured = [name for name in end if name.rsplit("/", 1)[-1] in STATISTICS]
    assert measured
    for name in measured:
        assert not np.array_equal(middle[name], end[name]), name

    shutil.rmtree(checkpoints.folder(workdir) / "8")
    assert train(made, workdir) == "complete"
    again = params_of(workdir, 8)
    assert again.keys() == end.keys()
    for name, wanted in end.items():
        np.testing.assert_array_equal(again[name], wanted, err_msg=name)
    # It is loaded as any other model, raw or averaged, and embeds by the running statistics.
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    model, averaged = bigclip.load(workdir), bigclip.load(workdir, ema=True)
    together = model.embed_images(pictures)
    np.testing.assert_allclose(model.embed_images(pictures[:1]), together[:1], atol=1e-5)
    assert not np.allclose(averaged.embed_images(pictures), together, atol=1e-5)
    assert model.image_features(pictures, ("stage_2",))["stage_2"].shape == (3, 128)
