"""`python -m bigclip.data.show` as a command: what it draws, and what it says of mistakes."""

import os
import pathlib
import subprocess
import sys

import PIL.Image
import pytest
import tiny_config
from page_reading import Images

from bigclip.config import ConfigError
from bigclip.data.run_records import open_run

ROOT = pathlib.Path(__file__).parents[2]
TINY = str(pathlib.Path(tiny_config.__file__))
BATCH, SEED = 12, 5


def test_a_configuration_without_batch_size_or_data_is_a_mistake(shards):
    with pytest.raises(ConfigError, match="--config is missing"):
        open_run(None)
    config = tiny_config.get_config(shards)
    config.batch_size = 0
    with pytest.raises(ConfigError, match=r"config\.batch_size must be a positive integer, not 0"):
        open_run(config)
    config.batch_size = 8
    assert open_run(config).seed == 0
    config.seed = 3
    assert open_run(config).seed == 3
    del config.preprocess
    with pytest.raises(ConfigError, match=r"config\.preprocess is missing"):
        open_run(config)


def command(*words):
    words = [sys.executable, "-m", "bigclip.data.show", *words]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=dict(os.environ))


def test_the_command_on_the_quickstart(tmp_path):
    out = tmp_path / "new" / "sheet.html"
    done = command(
        "--config=configs/quickstart.py", "--config.seed=7", "--config.data.augment.flip=0.0",
        "--num=6", "--start_batch=1", "--sample=300", f"--out={out}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{out}: 6 examples"
    found = Images(out.read_text())
    texts = "".join(found.texts)
    assert "configs/quickstart.py" in texts
    assert "Batch 1, rows 0 to 5, of 512 examples a batch, seed 7" in texts
    assert "flip 0;" in texts
    assert len(found.sources) == 12


def test_the_command_draws_a_png(shards, tmp_path):
    out = tmp_path / "sheet.PNG"
    done = command(f"--config={TINY}:{shards}", "--num=9", f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert PIL.Image.open(out).format == "PNG"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config={config}", "--out=sheet.pdf"], "--out: sheet.pdf must end in .html or .png"),
        (["--config={config}", "--config.data.augmen.flip=1"], "augmen"),
        (["--config={config}none"], "no file matches"),
    ],
)
def test_mistakes_exit_with_2_and_one_message(shards, tmp_path, words, message):
    config = f"{TINY}:{shards}"
    done = command(*(word.replace("{config}", config) for word in words))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
