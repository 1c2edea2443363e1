"""Runs that go on from a checkpoint by configs/finetune.py, the commands of docs/finetuning.md."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
import saved_model

import bigclip
from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.parallel import path_name
from bigclip.train import train
from bigclip.training.experiment import experiment
from bigclip.training.writers import read_metrics
from configs.finetune import get_config

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of another trainer: 24 pixels, 11 tokens, sigmoid, scanned layers."""
    folder = tmp_path_factory.mktemp("source") / "run"
    saved_model.save_run(folder)
    return folder


@pytest.fixture(scope="module")
def image_only(source):
    folder = source.parent / "image_only"
    bigclip.load(source, tower="image").save(folder)
    return folder


@pytest.fixture
def config(shards):
    """What a user adds to the file: data, and here also that all is small."""

    def make(arg, **changes):
        made = get_config(arg)
        made.data.source.shards = shards
        made.data.num_threads, made.data.num_workers = 2, 0
        made.batch_size, made.total_steps = 8, 2
        made.schedule.warmup_steps = 0
        made.optimizer.learning_rate = 1e-2
        made.log.every_steps = 1
        made.mesh = {"fsdp": 2, "tensor": 2}
        made.update(changes)
        return made

    return make


def params_of(folder, step=None):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    tree = checkpoints.restore_params(folder, step, shardings=sharding)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): np.asarray(leaf) for path, leaf in leaves}


def sigmoid_loss(model, batch):
    """Of the first batch, by the formula of SigLIP's paper, from the source's embeddings."""
    image_emb = model.embed_images(batch["image"])
    text_emb = np.asarray(jax.jit(model.task.embed_texts)(model.params, batch["text"]))
    logits = model.score(image_emb, text_emb)
    signs = 2 * np.eye(len(logits)) - 1
    return np.logaddexp(0, -signs * logits).sum() / len(logits)


def test_a_locked_tower_stays_and_the_other_learns(config, source, tmp_path, capsys):
    # The source may go once the run has saved.
    copy, workdir = tmp_path / "copy", tmp_path / "run"
    shutil.copytree(source, copy)
    made = config(f"{copy},lock=image", mesh={"fsdp": 1, "tensor": 1}, ema_decay=0.5)
    made.tokenizer.path = str(source)
    assert train(made, workdir) == "complete"
    assert f"begins with the weights of {copy}/checkpoints/7" in capsys.readouterr().out

    before, after = params_of(source), params_of(workdir)
    assert before.keys() == after.keys()
    for name, value in after.items():
        if name.startswith("image/"):
            np.testing.assert_array_equal(value, before[name], err_msg=name)
        elif not name.endswith("key/bias"):  # which no softmax of attention sees
            assert (value != before[name]).any(), name
    first = next(experiment(**made).open_batches(0))
    wanted = sigmoid_loss(bigclip.load(source), first)
    np.testing.assert_allclose(read_metrics(workdir)[0]["loss"], wanted, rtol=1e-5)

    shutil.rmtree(copy)
    assert train(made, workdir) == "complete"
    begun = json.loads((workdir / "run.json").read_text())["init_from"]
    assert (begun["path"], begun["step"]) == (f"{copy}/checkpoints/7", 7)


def test_lit_on_another_tokenizer_is_one_line(image_only, config):
    arg = f"{image_only},lock=image,fresh=text,architecture=tiny-siglip,tokenizer=trained:280"
    made = config(f"{arg},context_length=9,image_size=40")
    task = experiment(**made).task.manifest
    image, text = task["architecture"]["image"], task["architecture"]["text"]
    assert (image["image_size"], image["depth"]) == (40, 2)
    assert (text["pool"], text["vocab_size"], text["context_length"]) == ("last", 280, 9)
    assert made.preprocess.size == 40
    assert made.optimizer.groups == ({"pattern": "image/.*", "freeze": True},)
    assert made.optimizer.name == "adafactor"
    assert made.init_from.fresh == ("text/.*", "log_logit_scale", "logit_bias")


def test_the_text_tower_pools_where_a_tokenizer_ends_its_texts(source, tmp_path, config):
    # Pooling at the largest id finds the end of a text only if that is the largest.
    manifest = checkpoints.read_manifest(source)
    words = manifest["tokenizer"]
    words |= {"eot": words["eot"] - 1, "sot": words["eot"]}
    (tmp_path / "words.json").write_text(json.dumps(words))
    made = config(str(source))
    made.tokenizer.path = str(tmp_path / "words.json")
    with pytest.raises(ConfigError, match="config.task.architecture.text.pool = 'eot'"):
        experiment(**made)


def test_a_tokenizer_is_told_by_its_content(source, tmp_path):
    words = checkpoints.read_manifest(source)["tokenizer"]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    number = words["eot"] + 1
    content = words["pieces"] | {
        "added_tokens": [{"id": number, "content": "<pad>", "special": True, **flags}],
        "padding": {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None}
        | {"pad_id": number, "pad_type_id": 0, "pad_token": "<pad>"},
    }
    (tmp_path / "theirs.json").write_text(json.dumps(content))
    (tmp_path / "ours.json").write_text(json.dumps(words))
    theirs, ours = (
        get_config(f"{source},tokenizer={tmp_path}/{n}.json") for n in ("theirs", "ours")
    )
    assert (theirs.tokenizer.kind, ours.tokenizer.kind) == ("huggingface", "saved")
    assert theirs.task.architecture.text.vocab_size == number + 1
    assert ours.task.architecture.text.vocab_size == number


def test_arguments(source, image_only):
    made = get_config(f"{source},layer_decay=0.5")
    rates = {rule["pattern"]: rule["lr_mult"] for rule in made.optimizer.groups}
    assert rates["image/block_01/.*"] == 0.5
    assert rates["image/block_00/.*"] == rates["text/.*"] == 0.25
    assert rates["image/.*"] == 0.125
    assert made.task.scan is False
    softmax = get_config(f"{source},loss=softmax")
    assert softmax.init_from.fresh == ("log_logit_scale",)
    assert "init_logit_bias" not in softmax.task
    kept = get_config(f"{source},fresh=text,weights=ema,step=7")
    assert kept.optimizer.groups == ({"pattern": "image/.*", "lr_mult": 0.01},)
    assert (kept.init_from.step, kept.init_from.weights) == (7, "ema")
    words = get_config(f"{source},tokenizer=trained:280")
    assert words.init_from.match_tokens
    (table,) = words.optimizer.groups
    assert table["pattern"] == "text/token_embedding"
    assert table["lr_mult"] == pytest.approx(10)
    assert get_config(f"{source},tokenizer={image_only}").tokenizer.kind == "saved"
    for arg, told in (
        ("", "needs a checkpoint"),
        (f"{source},lok=image", "'lok=image' is not key=value with one of"),
        (f"{source},lock=images", "lock is one of"),
        (f"{source},lock=text,fresh=text", "never learns"),
        (f"{source},lock=text,tokenizer=clip_bpe", "cannot learn another tokenizer"),
        (f"{source},architecture=tiny-clip", "needs fresh="),
        (str(image_only), "has no text tower: add fresh=text"),
        ("/nowhere", "holds no checkpoint"),
    ):
        with pytest.raises(ValueError, match=told):
            get_config(arg)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arg", "moved", "kept"),
    [
        ("", "image/.*|text/.*", ""),
        ("image_size=40,context_length=8", "image/.*|text/.*", ""),
        ("tokenizer=trained:290,lock=image", "text/.*", "image/.*"),
        ("layer_decay=0.5,loss=softmax", "image/.*|text/.*", ""),
        (
            "lock=image,fresh=text,architecture=tiny-siglip,tokenizer=clip_bpe,context_length=9",
            "text/.*",
            "image/.*",
        ),
    ],
)
def test_every_command_of_the_page_runs(config, source, image_only, tmp_path, arg, moved, kept):
    start = image_only if "fresh" in arg else source
    made = config(f"{start},{arg}".rstrip(","))
    assert train(made, tmp_path / "run") == "complete"
    assert all(np.isfinite(row["loss"]) for row in read_metrics(tmp_path / "run"))
    if "layer_decay" in arg:
        return  # its layers have other names
    before, after = params_of(start), params_of(tmp_path / "run")
    for name, value in after.items():
        same = name in before and np.array_equal(value, before[name])
        if re.fullmatch(kept, name):
            assert same, name
        elif re.fullmatch(moved, name) and not name.endswith("key/bias"):
            assert not same, name


@pytest.mark.slow
def test_two_processes_begin_with_what_one_does(config, source, shards, tmp_path):
    changes = {
        "data.source.shards": shards, "data.num_workers": 0, "data.num_threads": 2,
        "batch_size": 8, "total_steps": 1, "schedule.warmup_steps": 0, "mesh.fsdp": 4,
    }  # fmt: skip
    arg = f"{source},image_size=40,tokenizer=trained:290"
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2"}
    environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    processes = [
        subprocess.Popen(
            [
                sys.executable, "-m", "bigclip.train",
                f"--config={ROOT}/configs/finetune.py:{arg}", f"--workdir={tmp_path / 'two'}",
                f"--coordinator_address={address}", "--num_processes=2", f"--process_id={index}",
                *(f"--config.{key}={value}" for key, value in changes.items()),
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=500)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    assert "begins with the weights" not in outputs[1]  # told once
    made = config(arg, total_steps=1)
    made.optimizer.learning_rate = 1e-5
    train(made, tmp_path / "one")
    one, two = params_of(tmp_path / "one"), params_of(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, value in two.items():
        np.testing.assert_allclose(value, one[name], atol=1e-5, err_msg=name)
