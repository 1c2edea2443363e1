"""Stop between two steps when the scheduler asks for it, on all processes at the same step."""

import os
import signal
from types import FrameType
from typing import Any

import jax
from absl import logging
from jax.experimental import multihost_utils

# "Restart me": supervisors and JobSet rules tell by this code a run that wants to go on from one
# that has failed.
RESTART_EXIT_CODE = 42


class StopSignal:
    """Listens for SIGTERM and Ctrl-C while it is open (a context manager).

    A second signal acts at once. With several processes the signal may reach one of them only;
    then JAX's own service, which `jax.distributed.initialize` started, listens for SIGTERM and
    lets all processes agree on a step. Ctrl-C is passed on to it.
    """

    def __init__(self) -> None:
        self._received = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        if jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._receive)
        else:
            self._previous[signal.SIGINT] = signal.signal(signal.SIGINT, self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, _signal: int, _frame: FrameType | None) -> None:
        self._received = True
        self.__exit__()

    def _pass_on(self, _signal: int, _frame: FrameType | None) -> None:
        self.__exit__()
        os.kill(os.getpid(), signal.SIGTERM)

    def should_stop(self, step: int) -> bool:
        """Whether to save and leave after this step. Call it at every step, on all processes."""
        if jax.process_count() > 1:
            stop = multihost_utils.reached_preemption_sync_point(step)
        else:
            stop = self._received
        if stop:
            logging.warning("asked to stop: saving step %d and leaving", step)
        return stop
