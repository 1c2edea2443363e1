"""The command: a real model in a process of its own, and what it says to mistakes."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request

import jax
import numpy as np
import PIL.Image
import pytest
import tiny_config
from stand_ins import ColourModel

import bigclip
from bigclip import checkpoints, demo
from bigclip.config import ConfigError
from bigclip.serving.galleries import Entry
from bigclip.serving.labels import default_labels, read_templates
from bigclip.training.experiment import experiment, run_manifest


@pytest.fixture(scope="module")
def exported(shards, tmp_path_factory):
    """A folder with a model that knows nothing: its parameters are drawn without compiling."""
    parts = experiment(**tiny_config.get_config(shards))
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(parts.task.init, jax.random.key(0))
    params = jax.tree.map(lambda x: rng.normal(0, 0.1, x.shape).astype(x.dtype), shapes)
    manifest = checkpoints.at_step(
        run_manifest(parts, "any"), step=7, examples_seen=56, has_ema=False
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    checkpoints.export(folder, params, manifest)
    return folder


def ask(url: str, path: str):
    with urllib.request.urlopen(urllib.parse.urljoin(url, path), timeout=60) as answer:
        return json.loads(answer.read())


def test_a_model_on_its_evaluation_pictures_until_ctrl_c(exported, tmp_path):
    cache = tmp_path / "e.npz"
    command = [sys.executable, "-m", "bigclip.demo", exported, "--port", "0", "--cache", cache]
    one_device = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **one_device},
    )
    try:
        lines = [process.stdout.readline(), process.stdout.readline()]
        url = re.match(r"(http://127\.0\.0\.1:\d+/) ", lines[1])
        assert url, (lines, process.stderr.read() if process.poll() is not None else "")
        assert lines[0].startswith("48 pictures of evaluation set retrieval: 0 embedded before")
        about = ask(url[1], "/api/about")
        assert (about["model"], about["step"], about["pictures"]) == ("tiny", 7, 48)
        assert len(about["labels"]) == 12
        found = ask(url[1], "/api/search?q=red+square&count=48")["hits"]
        assert len(found) == 48
        with np.load(cache) as kept:
            np.testing.assert_allclose(np.linalg.norm(kept["leaf_0"], axis=1), 1, atol=1e-5)

        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out, error) == (0, "\nended\n", "")
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pictures"
    place.mkdir()
    PIL.Image.new("RGB", (9, 9), "red").save(place / "red.png")
    return place


def never(*args, **options):
    raise AssertionError("this mistake can be told before the model is loaded")


def refused(monkeypatch, capsys, *arguments, load=never) -> str:
    monkeypatch.setattr(bigclip, "load", load, raising=False)
    assert demo.main([*map(str, arguments), "--cache", "off"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    return told


def test_a_port_that_is_taken(monkeypatch, capsys, folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refused(monkeypatch, capsys, "x", "--port", port, "--pictures", folder)
    assert f"{port} is taken" in told
    assert "--port 0" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "192.0.2.1"], "192.0.2.1 is no address of this machine"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid"),
        (["--port", "70000"], "70000"),
        (["--port", "-1"], "-1"),
        (["--pictures", "/nowhere"], "/nowhere does not exist"),
        (["--shards", "/nowhere/*.tar"], "no file matches"),
        (["--labels", "/nowhere/labels.txt"], "cannot read /nowhere/labels.txt: No such file"),
    ],
)
def test_mistakes_are_told_before_any_work(monkeypatch, capsys, arguments, message):
    port = [] if "--port" in arguments else ["--port", 0]
    assert message in refused(monkeypatch, capsys, "x", *port, *arguments)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.txt", "\n \n", "there is no label"),
        ("l.json", "{}", "a list of labels is needed"),
        ("l.json", '["a", 3]', "a label must be text"),
        ("l.json", "[", "cannot read"),
        ("l.txt", b"\xff", "cannot read"),
        ("l.txt", "\n".join(map(str, range(1001))), "1,001 labels are too many"),
    ],
)
def test_lists_of_labels_that_are_none(monkeypatch, capsys, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    told = refused(monkeypatch, capsys, "x", "--port", 0, "--labels", path)
    assert message in told
    assert "--labels: " in told


def test_a_ctrl_c_that_was_swallowed_counts(monkeypatch, capsys, folder):
    """JAX's callback of the garbage collector drops what is raised in it."""
    model = ColourModel()

    def load(*args, **options):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return model

    monkeypatch.setattr(bigclip, "load", load, raising=False)
    before = signal.getsignal(signal.SIGINT)
    arguments = ["x", "--port", "0", "--pictures", str(folder), "--cache", "off"]
    assert demo.main(arguments) == 130
    assert "interrupted" in capsys.readouterr().err
    assert model.num_images == 0
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("tower", "other"), [("image", "text"), ("text", "image")])
def test_a_model_with_one_tower(monkeypatch, capsys, folder, tower, other):
    model = ColourModel()
    model.manifest["towers"] = [tower]  # as `Model.save` writes it
    arguments = ["half", "--port", 0, "--pictures", folder]
    told = refused(monkeypatch, capsys, *arguments, load=lambda *args, **options: model)
    assert f"half has no {other} tower" in told


def test_a_run_without_evaluation_pictures(monkeypatch, capsys):
    told = refused(
        monkeypatch, capsys, "x", "--port", 0, load=lambda *args, **options: ColourModel()
    )
    assert "--pictures FOLDER" in told


def test_a_folder_of_broken_pictures_and_a_cache_that_cannot_be(monkeypatch, capsys, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"\x89PNG\r\n\x1a\n")

    def load(*args, **options):
        return ColourModel()

    arguments = ["x", "--port", 0, "--pictures", tmp_path / "in"]
    told = refused(monkeypatch, capsys, *arguments, load=load)
    assert "none of the 1 pictures" in told
    assert "a.png: begins like a picture" in told
    PIL.Image.new("RGB", (9, 9), "red").save(tmp_path / "in/a.png")
    monkeypatch.setattr(demo, "_serve", never)
    cache = ["--cache", str(tmp_path / "in/a.png/e.npz")]
    assert demo.main([*map(str, arguments), *cache]) == 2
    assert "--cache off" in capsys.readouterr().err


def test_templates_are_read_as_the_suites_read_them(tmp_path):
    path = tmp_path / "templates.txt"
    path.write_text("\ufeffa photo of a {}\n\nan {c} \n", encoding="utf-8")
    assert read_templates(str(path)) == ["a photo of a {}", "an {}"]
    assert "a photo of {}, a type of food." in read_templates("clip:food101")
    path.write_text("a photo\n")
    for value, told in ((path, "exactly one {}"), ("/nowhere.txt", "cannot read"), ("clip:x", "")):
        with pytest.raises(ConfigError, match=f"^--templates.*{re.escape(told)}"):
            read_templates(str(value))


def test_labels_come_from_the_pictures_or_are_everyday_things():
    named = [Entry(str(i), "", name) for i, name in enumerate(["cat", "Dog", "cat", "x" * 61])]
    assert default_labels(named) == ["cat", "Dog"]
    everyday = default_labels([Entry("k", "a.png", None)])
    assert "dog" in everyday
    assert len(everyday) > 50


@pytest.mark.parametrize(
    ("path", "name"),
    [("runs/b16", "b16"), ("runs/b16/checkpoints", "b16"), ("runs/b16/checkpoints/900", "b16")],
)
def test_a_run_is_named_by_its_folder(path, name):
    assert demo._name(path) == name


def test_whoever_listens_beyond_this_machine_is_told():
    with pytest.raises(ConfigError, match="no address"):
        demo._listen("192.0.2.1", 0)
    with demo._listen("127.0.0.1", 0) as near, demo._listen("0.0.0.0", 0) as far:
        assert demo._is_loopback(near)
        assert not demo._is_loopback(far)
        assert socket.gethostname() in demo._url(far, "0.0.0.0")
