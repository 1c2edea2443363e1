"""Checkpoints in a bucket, against an emulator of Google Cloud Storage (`peers` extra)."""

import importlib.util
import os
import socket
import subprocess
import sys

import pytest
import saved_model

# In a process of its own: the libraries read where the service is when they are imported.
SCRIPT = """
import pathlib, sys
import numpy as np
from etils import epath
from gcp_storage_emulator.server import create_server

port, workdir = int(sys.argv[1]), sys.argv[2]
server = create_server("localhost", port, in_memory=True, default_bucket="bigclip-test")
server.start()
try:
    import bigclip
    from bigclip import inspect

    there = epath.Path("gs://bigclip-test/run")
    for file in pathlib.Path(workdir).rglob("*"):
        if file.is_file():
            (there / file.relative_to(workdir)).write_bytes(file.read_bytes())
    here, model = bigclip.load(workdir), bigclip.load("gs://bigclip-test/run")
    expected = here.embed_texts(["a fox"])
    np.testing.assert_array_equal(model.embed_texts(["a fox"]), expected)
    text = bigclip.load("gs://bigclip-test/run/checkpoints/7", tower="text", ema=True)
    text.save("gs://bigclip-test/text")
    again = bigclip.load("gs://bigclip-test/text")
    np.testing.assert_array_equal(again.embed_texts(["a fox"]), text.embed_texts(["a fox"]))
    assert "image" not in again.params
    found = inspect.describe("gs://bigclip-test/run")
    assert found["arrays"] == inspect.describe(workdir)["arrays"]
    print("all as it was")
finally:
    server.stop()
"""


@pytest.mark.peers
@pytest.mark.skipif(
    importlib.util.find_spec("gcp_storage_emulator") is None
    or importlib.util.find_spec("gcsfs") is None,
    reason="needs gcp-storage-emulator and gcsfs, of the extra `peers`",
)
def test_a_run_and_a_saved_folder_in_a_bucket(tmp_path):
    saved_model.save_run(tmp_path / "run")
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    address = f"http://localhost:{port}"
    environment = os.environ | {
        "STORAGE_EMULATOR_HOST": address,  # for gcsfs
        "TENSORSTORE_GCS_HTTP_URL": address,
        "XLA_FLAGS": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(port), str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "all as it was" in done.stdout, done.stderr[-3000:]
