"""Whatever the manifest in a file says: an import succeeds or is refused, and costs little."""

import json
import pathlib
import subprocess
import sys

import pytest
from random_models import InMemory, send_out, small_tokenizer

from bigclip.interop import plain
from bigclip.models import architecture

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    arch = architecture("tiny-clip", image={"depth": 1}, text={"depth": 1, "vocab_size": 300})
    folder = tmp_path_factory.mktemp("good")
    ours = InMemory(arch, tokenizer=small_tokenizer(11)).save(folder / "m")
    return send_out(plain.FORMAT, ours, folder / "good.safetensors")


def test_any_manifest_is_read_or_refused_in_little_time_and_memory(good, tmp_path):
    job = subprocess.run(
        [sys.executable, HERE / "hostile_manifests.py", good, tmp_path],
        capture_output=True,
        text=True,
        cwd=HERE.parent.parent,
        timeout=200,
    )
    assert job.returncode == 0, job.stdout + job.stderr[-5000:]
    told = json.loads(job.stdout.splitlines()[-1])
    assert told["read"] >= 3
    assert told["refused"] >= 40
    assert told["grown"] <= 150  # MiB
