"""`python -m bigclip.probe`: folders of pictures to a saved probe, and back."""

import json

import numpy as np
import PIL.Image
import pytest
import saved_model

import bigclip
from bigclip import probe
from bigclip.config import ConfigError
from bigclip.evals.probes.linear.saved import load_probe

COLOURS = {"blue": (30, 60, 220), "green": (30, 200, 60), "red": (220, 40, 30)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    saved_model.save_run(workdir)
    return str(workdir)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(-25, 26, (24, 24, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                PIL.Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def test_from_folders_to_a_probe_that_can_be_loaded(run, pictures, tmp_path, capsys):
    out, kept = tmp_path / "out", tmp_path / "features.npz"
    code = probe.main(
        ["--checkpoint", run, "--data", str(pictures), "--layers", "projected,embedding"]
        + ["--strength", "1", "--out", str(out), "--features_out", str(kept), "--batch_size", "8"]
    )
    printed = capsys.readouterr()
    assert code == 0, printed.err
    told = json.loads((out / "probe.json").read_text())
    assert told["metrics"]["top1"] == 1.0  # plain colours
    assert told["counts"] == {
        "images": 9,
        "classes": 3,
        "folds": 1,
        "not_converged": 0,
        "train_images": 18,
    }
    assert "embedding" in printed.out
    assert told["strength"] == {"projected": [1.0], "embedding": [1.0]}

    found = load_probe(out / "probe.npz")
    model = bigclip.load(run, tower="image")
    red = [model.preprocess((pictures / "test" / "red" / "0.png").read_bytes())]
    features = model.image_features(np.stack(red * 8), ("projected",))["projected"]
    assert found.predict(features).tolist() == ["2"] * 8  # the third folder

    again = tmp_path / "again"
    options = ["--layers", "projected,embedding", "--strength", "1"]
    assert probe.main(["--features", str(kept), "--out", str(again), *options]) == 0
    np.testing.assert_array_equal(load_probe(again / "probe.npz").kernel, found.kernel)
    assert json.loads((again / "probe.json").read_text())["metrics"] == told["metrics"]
    assert probe.main(["--features", str(kept), "--layers", "block_00"]) == 2
    assert "embedding, projected" in capsys.readouterr().err


def test_what_the_words_of_the_command_mean(pictures, tmp_path):
    both = probe.find_sources(str(pictures))
    assert both == {
        name: {"kind": "folder", "path": str(pictures / name)} for name in ("train", "test")
    }
    assert probe.find_sources("a-{0..3}.tar", test="tfds:cifar10", val="tfds:mnist@train[:9]") == {
        "train": {"kind": "webdataset", "shards": "a-{0..3}.tar"},
        "test": {"kind": "tfds", "name": "cifar10", "split": "test"},
        "val": {"kind": "tfds", "name": "mnist", "split": "train[:9]"},
    }
    prepared = probe.find_sources(f"tfds:{tmp_path}", test="folder:b")
    assert prepared["train"] == {"kind": "tfds", "data_dir": str(tmp_path), "split": "train"}
    assert prepared["test"] == {"kind": "folder", "path": "b"}
    assert probe.find_sources("one.tar", folds=True) == {
        "test": {"kind": "webdataset", "shards": "one.tar"}
    }
    (tmp_path / "train").mkdir()
    with pytest.raises(ConfigError, match="no folder test or val"):
        probe.find_sources(str(tmp_path))
    (tmp_path / "val").mkdir()  # as ImageNet lies
    assert probe.find_sources(str(tmp_path))["test"]["path"].endswith("val")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "a"], "give --checkpoint and --data"),
        (["--features", "f.npz", "--data", "a"], "leave them out"),
        (["--features", "missing.npz"], "cannot be read"),
        (["--checkpoint", "c", "--data", "some.tar"], "there is no --test"),
        (["--checkpoint", "c", "--data", "none.tar", "--test", "none.tar"], "the set 'train'"),
    ],
)
def test_mistakes_are_told_before_the_model_is_loaded(words, message, capsys):
    assert probe.main(words) == 2
    assert message in capsys.readouterr().err
