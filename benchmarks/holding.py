"""Holding a process and all that it started for a while (Linux)."""

import os
import signal

from bigclip.data.process_tree import process_tree


def hold(pid: int) -> None:
    """Stop a tree until `resume`, so that what it makes ahead costs another's turn nothing."""
    for one in process_tree(pid):
        _signal(one, signal.SIGSTOP)


def resume(pid: int) -> None:
    """Let a tree go on."""
    for one in process_tree(pid):
        _signal(one, signal.SIGCONT)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
