"""docs/weights.md, run: from OpenAI's weights to a fine-tuned run to transformers.

A tiny model with random weights stands for OpenAI's file, a few pairs of the embedded data for the
user's; of the page only the length and the batch of the training are changed.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile

import jax
import numpy as np
import PIL.Image
import pytest
from random_models import InMemory

import bigclip
from bigclip import convert
from bigclip.data import embedded
from bigclip.interop.openai import FORMAT
from bigclip.models import architecture

ROOT = pathlib.Path(bigclip.__file__).parents[1]
PAGE = ROOT / "docs" / "weights.md"
SHORTER = {
    "--config.batch_size=64": "--config.batch_size=8",
    "--config.total_steps=1000": "--config.total_steps=2 --config.schedule.warmup_steps=1",
}


def blocks():
    """The commands and snippets of the page, in order: (language, text)."""
    found = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [language for language, _ in found] == ["bash", "python", "bash", "bash", "python"]
    return found


@pytest.fixture
def users_folder(tmp_path, monkeypatch):
    """What the page takes to be there: OpenAI's file, a picture, pairs in a tar, the configs."""
    tower = {"width": 64, "depth": 1, "num_heads": 1, "mlp_width": 256}
    image = {**tower, "image_size": 64, "patch_size": 32}
    arch = architecture("clip-vit-b-32", image=image, text=tower, embed_dim=24)
    FORMAT.write(tmp_path / "ViT-B-32.pt", InMemory(arch))
    picture = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    PIL.Image.fromarray(picture).save(tmp_path / "picture.png")
    (tmp_path / "pairs").mkdir()
    with (
        tarfile.open(embedded.shards("heldout_titles")[0]) as pack,
        tarfile.open(tmp_path / "pairs" / "0.tar", "w") as tar,
    ):
        for member in pack.getmembers()[: 3 * 16]:
            tar.addfile(member, pack.extractfile(member))
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_command(text):
    """Run `python -m bigclip...`: conversions here, training in a process of its own."""
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    python, m, module, *options = shlex.split(text.replace("\\\n", " "))
    assert (python, m) == ("python", "-m")
    if module == "bigclip.convert":
        assert convert.main(options) == 0
        return
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, m, module, *options], check=True, env=environment, timeout=600)


def run_page(users_folder, *, torch_too):
    for language, text in blocks():
        if language == "python" and "transformers" in text and not torch_too:
            continue
        if language == "python":
            exec(compile(text, str(PAGE), "exec"), {})
        else:
            run_command(text if torch_too else text.replace("--verify", ""))


def test_the_page_without_other_frameworks(users_folder, capfd):
    run_page(users_folder, torch_too=False)
    before, after = bigclip.load("models/clip-b-32"), bigclip.load("runs/tuned")
    assert (before.step, after.step) == (0, 2)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before.params, after.params)
    assert any(jax.tree.leaves(moved))
    assert after.tokenizer == before.tokenizer
    names = {path.name for path in (users_folder / "exported" / "tuned").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert re.search(r"\[\[.*\]\]", capfd.readouterr().out)  # the scores of the first snippet


@pytest.mark.peers
@pytest.mark.slow
def test_the_whole_page(users_folder, capfd):
    pytest.importorskip("torch", reason="runs in transformers: pip install bigclip[peers]")
    pytest.importorskip("transformers", reason="pip install bigclip[peers]")
    run_page(users_folder, torch_too=True)
    told = (users_folder / "exported" / "tuned" / "README.md").read_text()
    assert "| logits |" in told
    printed = capfd.readouterr().out
    theirs = json.loads(re.search(r"tensor\((\[\[.*?\]\])\)", printed, re.DOTALL)[1])
    model = bigclip.load("runs/tuned", dtype="float32")
    texts = ["a photo of a cat", "a photo of a dog"]
    ours = model.score(model.embed_images(["picture.png"]), model.embed_texts(texts))
    # Their resizing may round a pixel otherwise; and the tensor is printed with four digits.
    np.testing.assert_allclose(ours, theirs, atol=2e-2)
