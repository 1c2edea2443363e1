"""What is measured is what `bigclip.train` does: the same losses, step by step."""

import json

import numpy as np
import pytest
import tiny_config

from benchmarks.bigclip_worker import Bigclip
from benchmarks.runs import build, write_batches, write_pairs
from bigclip.config import plain
from bigclip.data.images import open_rgb
from bigclip.train import train
from bigclip.training.writers import read_metrics

STEPS = 3


@pytest.fixture(scope="module")
def config(shards):
    config = tiny_config.get_config(shards)
    config.total_steps = STEPS
    config.task.overrides = {"image": {"depth": 1}, "text": {"vocab_size": 300, "depth": 1}}
    config.checkpoints.every_steps = STEPS
    return plain(config)


@pytest.fixture(scope="module")
def side(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("side") / "config.json"
    path.write_text(json.dumps(config))
    side = Bigclip()
    assert side.start(config=str(path))["num_params"] > 0
    return side


def test_the_steps_are_those_of_a_run(side, config, tmp_path):
    assert train(config, str(tmp_path / "run")) == "complete"
    losses = [line["loss"] for line in read_metrics(tmp_path / "run")]
    answer = side.steps(count=STEPS)
    assert len(answer["seconds"]) == STEPS
    # The same program, compiled twice: equal but for float32's last digits.
    assert answer["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_embeddings_and_given_batches(side, config, tmp_path):
    parts = build(config)
    path = write_batches(parts, tmp_path / "batches.npz", first=1, count=2)
    with np.load(path) as arrays, parts.open_batches(1) as batches:
        image, text = arrays["image"], arrays["text"]
        np.testing.assert_array_equal(image[0], next(batches)["image"])
    assert np.isfinite(side.steps(count=3, batches=path)["loss"])
    inputs, outputs = tmp_path / "inputs.npz", tmp_path / "outputs.npz"
    np.savez(inputs, image=image[0], text=text[0])
    side.embed(inputs=str(inputs), outputs=str(outputs), weights="ema")
    with np.load(outputs) as emb:
        assert emb["image_emb"].shape == emb["text_emb"].shape
        np.testing.assert_allclose(np.linalg.norm(emb["image_emb"], axis=1), 1, rtol=1e-5)


def test_pairs_hold_every_picture_and_its_txt(config, tmp_path):
    parts = build(config)
    with np.load(write_pairs(parts, tmp_path / "pairs.npz")) as arrays:
        encoded, ends, text = (arrays[name] for name in ("image_bytes", "image_ends", "text"))
    assert len(ends) == len(text) == 48  # of tests/conftest.py
    last = open_rgb(encoded[ends[-2] : ends[-1]].tobytes())
    assert last.size == (32, 32)
    assert ends[-1] == len(encoded)
