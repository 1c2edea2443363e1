"""Start-up of a run with several processes, and what they must decide together."""

import collections
import json
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from bigclip.config import ConfigError

Result = TypeVar("Result")

# Where a scheduler says that this process is one of several: Slurm's number of tasks, the hosts of
# a TPU slice (comma separated), the number of slices of a multi-slice job.
_COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "MEGASCALE_NUM_SLICES")
_HOSTS = "TPU_WORKER_HOSTNAMES"
_TEXT_BYTES = 2048  # of what the processes tell each other
_LAST_WORDS_SECONDS = 5.0
# What errors say that come of a collective, a barrier or JAX's service: another process is gone.
# Their types do not tell: JAX raises JaxRuntimeError, ValueError or RuntimeError for the same.
_LOST = re.compile(
    r"\b(gloo|nccl)\b|^(UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED)\b|barrier|coordination service",
    re.IGNORECASE,
)


def is_one_of_several() -> bool:
    """Whether the environment says that this process is part of a multi-process run."""
    if os.environ.get("JAX_COORDINATOR_ADDRESS") or "," in os.environ.get(_HOSTS, ""):
        return True
    return any(int(os.environ.get(name) or 1) > 1 for name in _COUNTS)


def _hint(address: str, num_processes: int | None, timeout_seconds: float) -> str:
    return (
        f"error: this process could not join the run at {address} within {timeout_seconds:g} s. "
        f"Check that all {num_processes or ''} processes were started, one a host; that the "
        "address is process 0's, and its port open between the hosts (firewalls often close new "
        "ports); and that all run the same versions. A program that is meant to run on one host "
        "only of several must not join: unset the scheduler's variables "
        f"({', '.join((*_COUNTS, _HOSTS))})."
    )


def start(
    *,
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout_seconds: float = 300,
    heartbeat_timeout_seconds: float = 100,
) -> None:
    """Join the other processes of the run; does nothing where there is only one.

    On Slurm, GKE and TPU slices everything is detected; elsewhere give all three arguments (or
    `coordinator_address` in JAX_COORDINATOR_ADDRESS).

    If the others do not come in time, the process ends with exit code 1 and a hint. It ends, and
    does not raise, because JAX's client aborts the process at its own timeout, with a C++ trace.

    Args:
        coordinator_address: "host:port" of process 0.
        num_processes: number of processes.
        process_id: this one's number, from 0.
        timeout_seconds: how long to wait for the others.
        heartbeat_timeout_seconds: a process that is silent for so long counts as dead, and JAX
            ends all others (SIGABRT): they would wait for it in a collective for ever. Shorter
            restarts sooner, but must outlast what may stop a healthy process (a paused machine).
    """
    if coordinator_address is None and not is_one_of_several():
        return
    if jax.distributed.is_initialized():
        return
    address = coordinator_address or os.environ.get("JAX_COORDINATOR_ADDRESS", "(detected)")

    def give_up() -> None:
        print(_hint(address, num_processes, timeout_seconds), file=sys.stderr, flush=True)
        os._exit(1)

    watch = threading.Timer(timeout_seconds, give_up)
    watch.daemon = True
    watch.start()
    try:
        jax.distributed.initialize(
            coordinator_address=coordinator_address,
            num_processes=num_processes,
            process_id=process_id,
            initialization_timeout=math.ceil(timeout_seconds) + 60,
            heartbeat_timeout_seconds=math.ceil(heartbeat_timeout_seconds),
        )
    finally:
        watch.cancel()
    logging.info("process %d of %d joined", jax.process_index(), jax.process_count())


def agree(value: float) -> float:
    """Return process 0's value on every process, so that all take the same decision."""
    if jax.process_count() == 1:
        return value
    return float(gather_texts(repr(float(value)))[0])


def add_up(value: float) -> float:
    """Return the sum of the processes' values."""
    return sum(float(text) for text in gather_texts(repr(float(value))))


def add_up_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the sums of the processes' counts, name by name (2 kB as JSON)."""
    total: collections.Counter[str] = collections.Counter()
    for told in gather_texts(json.dumps(counts)):
        total.update(json.loads(told))
    return dict(total)


def gather_blocks(array: np.ndarray, block: int) -> list[np.ndarray]:
    """Gather one array of each block of rows; all must have one shape and type.

    Args:
        array: of this process.
        block: the number of its block of rows; processes with the same one hold the same array.

    Returns:
        The arrays in the order of the blocks, on every process.
    """
    if jax.process_count() == 1:
        return [array]
    # As bytes: JAX would cut 64 bit integers down to 32.
    own = np.concatenate([np.array([block], np.int64).view(np.uint8), array.ravel().view(np.uint8)])
    blocks = {}
    for row in np.asarray(multihost_utils.process_allgather(own)):
        index = int(row[:8].copy().view(np.int64)[0])
        blocks[index] = row[8:].copy().view(array.dtype).reshape(array.shape)
    return [blocks[index] for index in sorted(blocks)]


def gather_texts(text: str) -> list[str]:
    """Tell all processes a short text (2 kB); returns what each has told, by its number."""
    if jax.process_count() == 1:
        return [text]
    row = np.zeros(_TEXT_BYTES, np.uint8)
    told = text.encode()[:_TEXT_BYTES]
    row[: len(told)] = np.frombuffer(told, np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(row))
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in rows]


def all_or_none(check: Callable[[], Result]) -> Result:
    """Run a check on every process; what one of them cannot do, none does.

    Without this, a mistake that only one host can see (data that only it lacks) would leave the
    others waiting for it in their first collective.

    Args:
        check: called once on every process, and must not itself wait for the others.

    Raises:
        ConfigError: on every process, if `check` raises one on any; names the process.
    """
    result, error = None, None
    try:
        result = check()
    except ConfigError as raised:
        error = raised
    told = gather_texts("" if error is None else str(error) or "no reason given")
    if error is not None:
        raise error
    for index, text in enumerate(told):
        if text:
            raise ConfigError(f"process {index} cannot go on, so none does: {text}")
    return result


def check_same(text: str, what: str) -> None:
    """Stop all processes if a text is not the same on all.

    Args:
        text: for example a digest; the first 2 kB count.
        what: names it in the message.

    Raises:
        ConfigError: on every process; names those that differ from process 0.
    """
    told = gather_texts(text)
    other = [index for index, one in enumerate(told) if one != told[0]]
    if other:
        raise ConfigError(
            f"process {', '.join(map(str, other))} and process 0 differ in {what}: start all "
            "processes with the same command, the same versions, data and folders."
        )


def has_lost_peer(error: BaseException) -> bool:
    """Whether an error came of another process that is gone, and not of this one's own fault."""
    while error is not None:
        if _LOST.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def leave(exit_code: int) -> NoReturn:
    """End this process after an error that the others may not have.

    The orderly exit would wait for the others, which wait for this one in a collective. So this
    process just goes, and the loss of it ends the others.

    Args:
        exit_code: of this process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if jax.process_count() == 1:
        sys.exit(exit_code)
    if is_main():
        # JAX's service lives here, and its end is that of all others at once: if they have failed,
        # too, let them tell why.
        time.sleep(_LAST_WORDS_SECONDS)
    os._exit(exit_code)


def is_main() -> bool:
    """Whether this process writes what is written once a run."""
    return jax.process_index() == 0
