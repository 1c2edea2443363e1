"""Start-up of several processes, with real ones."""

import os
import socket
import subprocess
import sys

import pytest

ALONE = """
from bigclip.parallel import processes
processes.start(coordinator_address="{address}", num_processes=2, process_id={process},
                timeout_seconds=3)
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def run(code: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("process", [0, 1])
def test_a_process_whose_peers_never_come_ends_with_a_hint(process):
    # As process 0 it waits for the other; as process 1 nobody listens at process 0's address.
    address = f"127.0.0.1:{free_port()}"
    result = run(ALONE.format(address=address, process=process))
    assert result.returncode == 1
    assert address in result.stderr
    assert "Check that all 2 processes were started" in result.stderr


def test_one_process_alone_starts_nothing():
    code = "from bigclip.parallel import processes; processes.start()\n"
    code += "import jax; assert not jax.distributed.is_initialized()"
    assert run(code).returncode == 0
