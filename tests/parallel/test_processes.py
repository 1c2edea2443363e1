"""Start-up of several processes, with real ones."""

import os
import signal
import socket
import subprocess
import sys

import jax
import pytest

from bigclip.parallel.processes import has_lost_peer

ALONE = """
from bigclip.parallel import processes
processes.start(coordinator_address="{address}", num_processes=2, process_id={process},
                timeout_seconds=3)
"""

TOGETHER = """
import os, signal
from bigclip.config import ConfigError
from bigclip.parallel import agree, processes
from bigclip.training.stopping import StopSignal
processes.start(coordinator_address="{address}", num_processes=2, process_id={process},
                heartbeat_timeout_seconds=30)

def refuse(number, problem):
    def check():
        if number == {process}:
            raise ConfigError(problem)
        return "fine"
    return check

def problem(function, *arguments):
    try:
        function(*arguments)
    except ConfigError as error:
        return str(error)

assert processes.gather_texts("h\u00e9 {process}") == ["h\u00e9 0", "h\u00e9 1"]
assert processes.add_up({process} + 0.5) == 2.0
assert agree(0.1 + {process}) == 0.1  # of process 0, and not rounded to float32
assert processes.all_or_none(refuse(None, "")) == "fine"
assert "no such folder" in problem(processes.all_or_none, refuse(1, "no such folder"))
assert problem(processes.check_same, "same", "the seed") is None
assert "process 1 and process 0 differ in the seed" in problem(
    processes.check_same, str({process}), "the seed")
with StopSignal() as stop:
    step = 1
    if {process} == 1:
        os.kill(os.getpid(), signal.SIGINT)
    while not stop.should_stop(step):
        processes.gather_texts("")  # as a training step, which none can pass alone
        step += 1
assert processes.gather_texts(str(step)) == [str(step)] * 2

print("all told", flush=True)
if {process} == 1:
    processes.leave(7)  # an error of its own
try:
    processes.gather_texts("is anyone there?")
except Exception as error:
    processes.leave(42 if processes.has_lost_peer(error) else 1)
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(code: str) -> subprocess.Popen:
    flags = "--xla_cpu_collective_timeout_seconds=120"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(code: str) -> subprocess.CompletedProcess:
    process = start(code)
    try:
        output = process.communicate(timeout=120)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, *output)


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


def test_two_processes_decide_together_and_do_not_wait_for_one_that_left():
    address = f"127.0.0.1:{free_port()}"
    pair = [start(TOGETHER.format(address=address, process=process)) for process in (0, 1)]
    try:
        told = [process.communicate(timeout=240) for process in pair]
    finally:
        for process in pair:
            process.kill()
    assert all("all told" in output for output, _ in told), told
    assert pair[1].returncode == 7
    # By the broken connection, or by JAX, which aborts it when the heartbeat is missing.
    assert pair[0].returncode in (42, -signal.SIGABRT), told[0]


def test_errors_of_its_own_are_no_loss_of_another():
    lost = jax.errors.JaxRuntimeError("UNKNOWN: Gloo AllGather failed: Connection reset by peer")
    assert has_lost_peer(lost)
    assert has_lost_peer(ValueError("UNKNOWN: Gloo context initialization failed"))
    assert has_lost_peer(RuntimeError("DEADLINE_EXCEEDED: Barrier timed out"))
    assert not has_lost_peer(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"))
    assert not has_lost_peer(OSError("gs://bucket: connection reset"))
    # What the clean-up raised on top of it does not hide it.
    outer = RuntimeError("could not save")
    outer.__context__ = lost
    assert has_lost_peer(outer)
