"""Train on this machine, with an evaluation job beside it that follows the checkpoints.

    python -m launch.local --config configs/quickstart.py --workdir runs/quickstart

Two processes, as on a pod: the trainer in front, with its progress line, and `bigclip.evaluate
--follow`, which writes its own log to WORKDIR/evaluate.log. Arguments that are not known here go
to the trainer (`--config.batch_size=64`).

Ends with the trainer's exit code, or the evaluation's if that is 0. SIGTERM and Ctrl-C go to the
trainer, which saves and leaves with code 42; the same command then goes on. Nothing is left
running, however this process ends.
"""

import argparse
import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import time
from types import FrameType

# Below the trainer, on the same cores: evaluation may lag, training should not wait.
_NICENESS = 10
_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)


def commands(config: str, workdir: str, more: list[str]) -> tuple[list[str], list[str]]:
    """Return the two command lines: the trainer's and the evaluation job's."""
    trainer = [sys.executable, "-m", "bigclip.train", f"--config={config}", f"--workdir={workdir}"]
    follower = [sys.executable, "-m", "bigclip.evaluate", f"--workdir={workdir}", "--follow"]
    return trainer + more, ["nice", "-n", str(_NICENESS), *follower]


def _die_with_parent() -> None:
    """In a child, before it starts: be killed when the launcher is, even by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run(config: str, workdir: str, more: list[str]) -> int:
    """Run both to their end.

    Args:
        config: the configuration file, with its argument.
        workdir: the run's folder.
        more: further arguments of the trainer.

    Returns:
        The exit code; 128 + n for a process that signal n has ended.
    """
    folder = pathlib.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / "evaluate.log"
    train_command, follow_command = commands(config, workdir, more)
    parent = os.getppid()
    with log_path.open("a") as log:
        # Sessions of their own, so that a Ctrl-C reaches only this process, which asks the
        # trainer to save.
        child = {"start_new_session": True, "preexec_fn": _die_with_parent}
        trainer = subprocess.Popen(train_command, **child)
        follower = subprocess.Popen(follow_command, stdout=log, stderr=subprocess.STDOUT, **child)

        def pass_on(_signal: int, _frame: FrameType | None) -> None:
            trainer.terminate()

        for received in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(received, pass_on)

        def wait(process: subprocess.Popen) -> int:
            while process.poll() is None:
                time.sleep(0.2)
                if os.getppid() != parent:  # `make` or the shell was killed
                    return 128 + signal.SIGHUP
            return process.returncode if process.returncode >= 0 else 128 - process.returncode

        try:
            code = wait(trainer)
            if code:
                return code
            print("training is complete; waiting for the last evaluation", flush=True)
            code = wait(follower)
            if code:
                print(f"the evaluation failed (exit code {code}): see {log_path}", file=sys.stderr)
            return code
        finally:
            for process in (trainer, follower):
                if process.poll() is None:
                    process.terminate()
            for process in (trainer, follower):
                process.wait()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="file.py or file.py:argument")
    parser.add_argument("--workdir", required=True, help="the run's folder")
    known, more = parser.parse_known_args()
    sys.exit(run(known.config, known.workdir, more))


if __name__ == "__main__":
    main()
