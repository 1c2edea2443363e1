"""Start-up of a run with several processes, and what they must decide together."""

import math
import os
import sys
import threading

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

# Where a scheduler says that this process is one of several: Slurm's number of tasks, the hosts of
# a TPU slice (comma separated), the number of slices of a multi-slice job.
_COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "MEGASCALE_NUM_SLICES")
_HOSTS = "TPU_WORKER_HOSTNAMES"


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
        )
    finally:
        watch.cancel()
    logging.info("process %d of %d joined", jax.process_index(), jax.process_count())


def agree(value: float) -> float:
    """Return process 0's value on every process, so that all take the same decision."""
    if jax.process_count() == 1:
        return value
    return float(multihost_utils.broadcast_one_to_all(np.float64(value)))


def is_main() -> bool:
    """Whether this process writes what is written once a run."""
    return jax.process_index() == 0
