"""The loop, from a configuration to checkpoints, in this process on 8 fake devices."""

import json
import shutil

import jax
import numpy as np
import pytest
import tiny_config

import bigclip
from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.parallel import make_mesh
from bigclip.train import train
from bigclip.training.experiment import experiment
from bigclip.training.writers import read_metrics


@pytest.fixture(scope="module")
def config(shards):
    def make(**changes):
        made = tiny_config.get_config(shards)
        made.update(changes)
        return made

    return make


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    assert train(config(mesh={"fsdp": 2, "tensor": 2}), workdir) == "complete"
    return workdir


def test_learns_and_tells_what_it_does(finished):
    rows = read_metrics(finished)
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert rows[-1]["loss"] < rows[0]["loss"]
    told = {
        "examples_per_second", "data_wait_fraction", "learning_rate", "logit_scale",
        "positive_logit", "negative_logit", "grad_norm/image", "grad_norm/text",
        "param_norm/image", "param_norm/text", "examples_seen", "bad_records",
        "host_memory_bytes",
    }  # fmt: skip
    assert told <= rows[-1].keys()
    run = json.loads((finished / "run.json").read_text())
    assert (run["status"], run["step"], run["total_steps"]) == ("complete", 12, 12)
    assert checkpoints.steps(finished) == [3, 6, 9, 12]
    assert "image/blocks/attention/query/kernel" in (finished / "parameters.txt").read_text()


def test_filtered_records_are_reported(config, tmp_path):
    deny = tmp_path / "deny.txt"
    deny.write_text("00003\n10005\nelsewhere\n")
    filters = {"deny_ids": str(deny)}
    # Of random access they are known beforehand; `train` writes this into run.json.
    made = experiment(**config(data={"filters": filters}))
    assert made.filtered == {"denied": 2}

    data = {"filters": filters, "source": {"access": "stream"}}
    assert train(config(total_steps=7, data=data), tmp_path / "run") == "complete"
    row = read_metrics(tmp_path / "run")[-1]
    # 56 examples of 46 that pass: each of the two was met, and the windows are ahead.
    assert row["filtered/denied"] >= 2
    assert row["bad_records"] == 0
    # A run that goes on counts on.
    saved = checkpoints.read_manifest(tmp_path / "run")["record_counts"]
    assert saved == {"bad_records": 0, "filtered/denied": row["filtered/denied"]}
    shutil.rmtree(checkpoints.folder(tmp_path / "run") / "7")
    middle = checkpoints.read_manifest(tmp_path / "run")["record_counts"]["filtered/denied"]
    assert train(config(total_steps=7, data=data), tmp_path / "run") == "complete"
    again = read_metrics(tmp_path / "run")[-1]["filtered/denied"]
    assert again >= max(middle, row["filtered/denied"] - 1)


def test_a_complete_run_stays_as_it_is(finished, config):
    before = (finished / "metrics.jsonl").read_bytes()
    assert train(config(mesh={"fsdp": 2, "tensor": 2}), finished) == "complete"
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_the_manifest_tells_all(finished):
    manifest = checkpoints.read_manifest(finished)
    assert manifest["task"]["architecture"]["image"]["width"] == 48
    assert manifest["examples_seen"] == 12 * 8
    assert manifest["preprocess"]["size"] == 24
    assert manifest["config"]["optimizer"]["learning_rate"] == 1e-3
    assert manifest["config"]["schedule"]["name"] == "cosine"  # a default, written out
    assert manifest["has_ema"] is True
    assert "jax" in manifest["versions"]


def test_loads_on_any_number_of_devices(finished):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 24, 24, 3), np.uint8)
    texts = ["red square", "blue cross", "", "a text that is much longer than the context allows"]
    outputs = []
    for count in (1, 4, 8):
        model = bigclip.load(finished, mesh=make_mesh(devices=jax.devices()[:count]))
        image_emb, text_emb = model.embed_images(images), model.embed_texts(texts)
        assert image_emb.shape == (5, 32)
        np.testing.assert_allclose(np.linalg.norm(text_emb, axis=1), 1, rtol=1e-5)
        outputs.append((image_emb, text_emb, model.score(image_emb, text_emb)))
    for other in outputs[1:]:
        # float32 sums in another order.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), other, outputs[0])


def test_the_average_and_an_earlier_step_are_other_weights(finished):
    image = np.zeros((1, 24, 24, 3), np.uint8)
    seen = [
        model.embed_images(image)
        for model in (
            bigclip.load(finished),
            bigclip.load(finished, ema=True),
            bigclip.load(finished, step=3),
        )
    ]
    assert not np.allclose(seen[0], seen[1], atol=1e-6)
    assert not np.allclose(seen[0], seen[2], atol=1e-6)


def test_a_checkpoint_of_another_architecture(finished, config, tmp_path):
    other = config(init_from=str(finished))
    other.task.overrides = {"text": {"vocab_size": 300}, "image": {"width": 60}}
    with pytest.raises(ConfigError, match="another architecture"):
        train(other, tmp_path)


def test_a_workdir_of_another_run(finished, config):
    with pytest.raises(ConfigError, match=r"config.seed: 0 -> 1"):
        train(config(seed=1, mesh={"fsdp": 2, "tensor": 2}), finished)


def test_micro_batches_learn_the_same(config, tmp_path):
    # Two slices of a batch of 16: the same losses but for the rounding of float32, which six
    # updates amplify a little.
    losses = []
    for micro_batch_size in (None, 8):
        workdir = tmp_path / str(micro_batch_size)
        made = config(total_steps=6, batch_size=16, micro_batch_size=micro_batch_size)
        train(made, workdir)
        losses.append([row["loss"] for row in read_metrics(workdir)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def _set(block, path, value):
    *parents, last = path.split(".")
    for parent in parents:
        block = block[parent]
    block[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("batch_sise", 8, "unknown key 'batch_sise' in config. Did you mean 'batch_size'"),
        ("task.los", "softmax", "unknown key 'los' in config.task. Did you mean 'loss'"),
        ("task.architecture", "tiny-clp", "'tiny-clip'"),
        ("data.sorce", {}, "Did you mean 'source'"),
        ("data.augment.crup", "none", "crup"),
        ("data.captions.wieghts", {}, "wieghts"),
        ("data.augment_text.tokn_dropout", 0.1, "Did you mean 'token_dropout'"),
        ("data.augment_text.merge_dropout", 1.5, "config.data.augment_text.merge_dropout must be"),
        ("optimizer.learning_rte", 1, "Did you mean 'learning_rate'"),
        ("schedule.warmup", 1, "unknown key 'warmup' in config.schedule"),
        ("checkpoints.every", 1, "unknown key 'every' in config.checkpoints"),
        ("mesh", {"model": 2}, "unknown key 'model' in config.mesh"),
        ("mesh", {"fsdp": 3}, "config.mesh"),
        ("batch_size", 12, "config.batch_size = 12 is not divisible by the 8 batch shards"),
        ("batch_size", 800, "fewer than config.batch_size"),
        ("preprocess.size", 32, "config.preprocess.size = 32"),
        ("tokenizer.context_length", 20, "config.tokenizer.context_length = 20"),
        ("tokenizer.kind", "bpe", "config.tokenizer.kind"),
        ("data.source.kind", "tars", "kind"),
        ("data.source.shards", "/nowhere/part-{0..3}.tar", "/nowhere/part-0.tar"),
        ("total_steps", None, "give one of total_steps"),
        ("evals.retrieval.suite", "retrieva", "retrieva"),
    ],
)
def test_mistakes_stop_before_the_first_step(config, tmp_path, path, value, message):
    made = config()
    with made.unlocked():
        _set(made, path, value)
    with pytest.raises(ConfigError) as error:
        train(made, tmp_path / "run")
    assert message in str(error.value)
    assert not (tmp_path / "run" / "checkpoints").exists()
