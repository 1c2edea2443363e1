"""Train on this machine, with an evaluation job beside it that follows the checkpoints.

    python -m launch.local --config configs/quickstart.py --workdir runs/quickstart

Two jobs, as on a pod: the trainer in front, with its progress line, and `bigclip.evaluate
--follow`, which writes its own log to WORKDIR/evaluate.log. Arguments that are not known here go
to the trainer (`--config.batch_size=64`).

    python -m launch.local --num_processes 2 --devices_per_process 4 --config ... --workdir ...

rehearses a run on two hosts of four chips: as many trainer processes, each with so many CPU
devices, that find each other, deal the batch out, save and stop together as on a pod. Process 0
is in front, process I writes to WORKDIR/process-I.log. It is for trying things out: the processes
share the cores of this machine.

Ends with the trainer's exit code, or the evaluation's if that is 0. SIGTERM and Ctrl-C go to the
trainer (to process 0, which tells the others), which saves and leaves with code 42; the same
command, or one with other numbers, then goes on. Nothing is left running, however this process
ends.
"""

import argparse
import contextlib
import ctypes
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

# Below the trainer, on the same cores: evaluation may lag, training should not wait.
_NICENESS = 10
_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
# Processes that share cores compile at unequal speed; XLA's CPU collectives wait 30 s by default.
_COLLECTIVE_TIMEOUT = "--xla_cpu_collective_timeout_seconds=900"
# Time to tell what went wrong, for the processes whose companion has ended.
_LAST_WORDS_SECONDS = 15.0


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def trainer_commands(
    config: str, workdir: str, more: Sequence[str], *, num_processes: int
) -> list[list[str]]:
    """Return the command line of every trainer process."""
    alone = [sys.executable, "-m", "bigclip.train", f"--config={config}", f"--workdir={workdir}"]
    if num_processes == 1:
        return [[*alone, *more]]
    joined = [f"--coordinator_address=127.0.0.1:{_free_port()}", f"--num_processes={num_processes}"]
    return [[*alone, *joined, f"--process_id={i}", *more] for i in range(num_processes)]


def trainer_environment(
    *, num_processes: int, devices_per_process: int | None
) -> Mapping[str, str] | None:
    """Return the environment of the trainer processes, or None for that of this process."""
    if num_processes == 1 and devices_per_process is None:
        return None
    # Whatever XLA_FLAGS says of fake devices would contradict the number asked for here.
    xla = os.environ.get("XLA_FLAGS", "").split()
    xla = [flag for flag in xla if "host_platform_device_count" not in flag]
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices_per_process or 1),
        "XLA_FLAGS": " ".join([_COLLECTIVE_TIMEOUT, *xla]),
    }


def _die_with_parent() -> None:
    """In a child, before it starts: be killed when the launcher is, even by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _code(process: subprocess.Popen) -> int:
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _wait_for_all(processes: Sequence[subprocess.Popen], is_orphan: Callable[[], bool]) -> int:
    """Wait for processes that succeed or fail together.

    Returns:
        0 if all have succeeded; else the smallest code of those that have ended: an error of one
        (1, 2) counts more than that the others would like to be restarted (42), or were killed.
    """
    deadline = float("inf")
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.2)
        if is_orphan():  # `make` or the shell was killed
            return 128 + signal.SIGHUP
        if deadline == float("inf") and any(process.poll() for process in processes):
            deadline = time.monotonic() + _LAST_WORDS_SECONDS  # the others may wait for it
    return min((_code(process) for process in processes if process.poll()), default=0)


def has_suites(folder: pathlib.Path) -> bool:
    """Tell whether the run in a folder is to be evaluated."""
    return bool(json.loads((folder / "config.json").read_text()).get("evals"))


def run(
    config: str,
    workdir: str,
    more: Sequence[str],
    *,
    num_processes: int = 1,
    devices_per_process: int | None = None,
) -> int:
    """Run trainer and evaluation to their end.

    Args:
        config: the configuration file, with its argument.
        workdir: the run's folder.
        more: further arguments of the trainer.
        num_processes: trainer processes; with more than one they run on the CPU.
        devices_per_process: CPU devices of each; None leaves one process what it finds, and gives
            several one each.

    Returns:
        The exit code; 128 + n for a process that signal n has ended.
    """
    folder = pathlib.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / "evaluate.log"
    environment = trainer_environment(
        num_processes=num_processes, devices_per_process=devices_per_process
    )
    parent = os.getppid()
    # Sessions of their own, so that a Ctrl-C reaches only this process, which asks the trainer to
    # save.
    child = {"start_new_session": True, "preexec_fn": _die_with_parent}
    trainers: list[subprocess.Popen] = []

    def pass_on(_signal: int, _frame: FrameType | None) -> None:
        trainers[0].terminate()

    def is_orphan() -> bool:
        return os.getppid() != parent

    with contextlib.ExitStack() as opened:
        log = opened.enter_context(log_path.open("a"))
        commands = trainer_commands(config, workdir, more, num_processes=num_processes)
        for index, command in enumerate(commands):
            path = folder / f"process-{index}.log"
            out = opened.enter_context(path.open("a")) if index else None
            error = subprocess.STDOUT if index else None
            trainers.append(
                subprocess.Popen(command, env=environment, stdout=out, stderr=error, **child)
            )
        follow = [sys.executable, "-m", "bigclip.evaluate", f"--workdir={workdir}", "--follow"]
        follower = subprocess.Popen(
            ["nice", "-n", str(_NICENESS), *follow], stdout=log, stderr=subprocess.STDOUT, **child
        )
        for received in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(received, pass_on)
        try:
            code = _wait_for_all(trainers, is_orphan)
            if code:
                return code
            if not has_suites(folder):
                print("training is complete; config.evals is empty, so nothing is evaluated")
                return 0
            print("training is complete; waiting for the last evaluation", flush=True)
            code = _wait_for_all([follower], is_orphan)
            if code:
                print(f"the evaluation failed (exit code {code}): see {log_path}", file=sys.stderr)
            return code
        finally:
            # A trainer alone saves when it is asked to end; of several that still run here, some
            # wait for one that is gone.
            alone = num_processes == 1 or is_orphan()
            for process in [*trainers, follower]:
                if process.poll() is None:
                    end = signal.SIGTERM if alone or process is follower else signal.SIGKILL
                    process.send_signal(end)
            for process in [*trainers, follower]:
                process.wait()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="file.py or file.py:argument")
    parser.add_argument("--workdir", required=True, help="the run's folder")
    parser.add_argument("--num_processes", type=int, default=1, help="trainer processes (CPU)")
    parser.add_argument("--devices_per_process", type=int, help="CPU devices of each of them")
    known, more = parser.parse_known_args()
    code = run(
        known.config,
        known.workdir,
        more,
        num_processes=known.num_processes,
        devices_per_process=known.devices_per_process,
    )
    sys.exit(code)


if __name__ == "__main__":
    main()
