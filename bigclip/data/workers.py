"""What a worker process does first, so that it neither outlives nor disturbs its trainer."""

import multiprocessing
import os
import signal
import threading

import cv2
from absl import flags

_POLL_SECONDS = 1.0


def start_worker(worker_index: int, num_workers: int):
    """Prepare a data worker process.

    A trainer that is killed by SIGKILL cannot stop its workers, and they would wait for it for
    ever; each watches for itself. Signals that a terminal or a scheduler sends to the whole
    process group are for the trainer alone: it has a checkpoint to write first, and needs its
    batches for as long as it runs. Closing the batches stops workers by an event, not a signal.

    Args:
        worker_index: given by Grain, not used.
        num_workers: given by Grain, not used.
    """
    del worker_index, num_workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    use_one_thread()
    threading.Thread(target=_exit_with_parent, name="exit-with-parent", daemon=True).start()


def allow_workers():
    """Let Grain start workers in a program that does not use absl's flags.

    Grain reads its own options from there, which absl forbids before the command line was read.
    """
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def use_one_thread():
    """Keep OpenCV from starting threads of its own; the pictures are the parallel part."""
    cv2.setNumThreads(0)


def _exit_with_parent():
    parent = multiprocessing.parent_process()
    while parent.is_alive() and os.getppid() == parent.pid:
        parent.join(timeout=_POLL_SECONDS)
    os._exit(1)  # at once: threads that wait for the trainer would never be joined
