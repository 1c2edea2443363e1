"""A side of a comparison as a process that answers requests, one JSON line each.

Only the standard library is imported here: this also runs in the interpreter of a peer.
"""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent


def num_cpus() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class WorkerError(RuntimeError):
    """A side stopped; what it had to say is on stderr."""


class Worker:
    """The other end of `serve`; a context manager that ends the process.

    Requests are methods: `worker.steps(count=5)` asks the side for `steps` and waits.
    """

    def __init__(
        self, module: str, *, python: str = sys.executable, env: Mapping[str, str] | None = None
    ):
        """Start the process, on the cores that this one may use (`taskset` limits them).

        Args:
            module: a module of this package that calls `serve`.
            python: the interpreter.
            env: environment variables that are to be so, whatever this process has.
        """
        self.name = module
        # XLA counts the cores itself. On an accelerator, the peers would have to be, too.
        defaults = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": str(num_cpus())}
        self._process = subprocess.Popen(
            [python, "-m", f"benchmarks.{module}"],
            cwd=ROOT,
            env=defaults | os.environ | dict(env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __getattr__(self, request: str) -> Callable[..., dict[str, Any]]:
        if request.startswith("_"):
            raise AttributeError(request)
        return lambda **arguments: self._ask(request, arguments)

    def _ask(self, request: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            self._process.stdin.write(json.dumps({"request": request, **arguments}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            code = self._process.wait()
            raise WorkerError(
                f"benchmarks.{self.name} stopped with exit code {code} when asked for {request}; "
                "its error is above."
            )
        return json.loads(answer)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exc_info):
        if self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process.stdout.close()


def serve(side: Any) -> None:
    """Answer requests from stdin until it ends: each is a method of `side` that returns a dict.

    Besides, `peak_memory` answers for any side.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print, too
    for line in sys.stdin:
        arguments = json.loads(line)
        request = arguments.pop("request")
        if request == "peak_memory":
            answer = {"bytes": peak_memory()}
        else:
            answer = getattr(side, request)(**arguments)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def peak_memory() -> int | None:
    """Return the largest resident memory of this process so far, in bytes; None off Linux.

    Not `getrusage`: there, a process begins with the peak of the one that started it.
    """
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return None
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
