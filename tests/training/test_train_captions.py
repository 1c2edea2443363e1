"""The caption policy "all" from a configuration to an evaluated checkpoint."""

import jax
import numpy as np
import pytest
import tiny_config

from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.data import embedded
from bigclip.evals.job.results import read_lines
from bigclip.evaluate import main as evaluate
from bigclip.models import image_flops, text_flops
from bigclip.train import train
from bigclip.training.experiment import experiment
from bigclip.training.writers import read_metrics

ALL = {"policy": "all", "weights": {"name": 1.0, "keywords": 1.0}}


def config(**changes):
    """Tiny towers on emoji, whose every record has a name and keywords."""
    [shard, *_] = embedded.shards("heldout_concepts")
    made = tiny_config.get_config(shard)
    made.batch_size = 32
    made.total_steps = 60
    made.task.overrides = {"image": {"depth": 1}, "text": {"vocab_size": 300, "depth": 1}}
    made.task.pairs = {"duplicates": "mask"}
    made.data.captions = {**ALL, "join": ("keywords",)}
    made.optimizer.learning_rate = 3e-3
    made.checkpoints.every_steps = 60
    made.ema_decay = None
    made.update(changes)
    return made


def test_learns_from_all_captions_and_is_evaluated(tmp_path):
    workdir = tmp_path / "run"
    assert train(config(), workdir) == "complete"
    rows = read_metrics(workdir)
    # Better than whoever gives all pairs of the batch the same logit.
    assert np.mean([row["loss"] for row in rows[-10:]]) < np.log(32) - 0.05 < rows[0]["loss"]
    assert checkpoints.steps(workdir) == [60]
    assert evaluate(["--workdir", str(workdir)]) == 0
    [line] = read_lines(workdir / "evaluations.jsonl")
    assert (line["step"], line["suite"]) == (60, "retrieval")


def test_the_data_tell_the_task_how_many_captions_there_are(shards):
    def made(**captions):
        changed = tiny_config.get_config(shards)
        changed.data.captions = captions
        return experiment(**changed)

    arch = made().task.manifest["architecture"]
    image, text = image_flops(arch, drop=True), text_flops(arch)
    for captions, num_captions in [
        ({}, None),
        ({"weights": {"name": 1.0, "keywords": 1.0}}, None),
        ({"policy": "all", "weights": {"name": 1.0}}, 1),
        (ALL, 2),
        ({"policy": "all", "weights": {"name": 1.0, "keywords": 1.0, "txt": 1.0}}, 3),
    ]:
        parts = made(**captions)
        assert parts.task.num_captions == num_captions
        # What the meter of a run takes for the work of an example.
        assert parts.task.flops_per_example == image + (num_captions or 1) * text
        with parts.open_batches(0) as batches:
            texts = next(batches)["text"]
        expected = (8, 11) if num_captions is None else (8, num_captions, 11)
        assert texts.shape == expected
        rngs = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 8))
        image_shape = jax.ShapeDtypeStruct((8, 24, 24, 3), np.uint8)
        outputs = jax.eval_shape(
            parts.task.forward,
            jax.eval_shape(parts.task.init, jax.random.key(0)),
            {"image": image_shape, "text": texts},
            rngs,
        )
        assert outputs["text_emb"].shape == (*expected[:-1], 32)


def test_the_number_of_captions_is_not_set_twice(shards):
    made = tiny_config.get_config(shards)
    made.task.num_captions = 2
    with pytest.raises(ConfigError, match="unknown key 'num_captions' in config.task"):
        experiment(**made)
