"""The input pipeline as a run has it, without a model: examples a second, cores, memory."""

import os
import time
from typing import NamedTuple

from bigclip.data.batches import Batches
from bigclip.data.process_tree import cpu_seconds, memory_bytes
from bigclip.data.run_records import Run

_WARM_UP_BATCHES = 2
_MEMORY_EVERY_SECONDS = 1.0


class Throughput(NamedTuple):
    """What was measured, over this process and its workers.

    Attributes:
        num_examples: in the measured time.
        num_batches: likewise.
        seconds: the measured time.
        first_seconds: from the start until the first batch was there.
        cpu_seconds: in the measured time.
        start_memory: resident bytes before the batches were opened.
        begin_memory: at the begin of the measured time.
        peak_memory: the most that was seen in it.
        end_memory: at its end.
        bad: fault -> bad records, over all batches.
        rejected: rule -> records that the filter left out.
        num_seen: examples made, and bad records.
    """

    num_examples: int
    num_batches: int
    seconds: float
    first_seconds: float
    cpu_seconds: float
    start_memory: int
    begin_memory: int
    peak_memory: int
    end_memory: int
    bad: dict[str, int]
    rejected: dict[str, int]
    num_seen: int

    @property
    def examples_per_second(self) -> float:
        """Of all cores that were used."""
        return self.num_examples / self.seconds

    @property
    def cores(self) -> float:
        """How many cores were busy, on the average."""
        return self.cpu_seconds / self.seconds

    @property
    def examples_per_core_second(self) -> float:
        """Examples of one CPU second."""
        return self.num_examples / max(self.cpu_seconds, 1e-9)


def measure(run: Run, *, seconds: float, batches: int | None, num_hosts: int = 1) -> Throughput:
    """Take batches as fast as they come.

    Args:
        run: the opened data.
        seconds: how long.
        batches: stop after so many, if that is earlier.
        num_hosts: that share the batch; the first one's rows are made.

    Raises:
        ConfigError: as `open_batches`, before or between batches.
    """
    pid = os.getpid()
    start_memory = memory_bytes(pid)
    begin = time.perf_counter()
    where = {"batch_size": run.batch_size, "seed": run.seed, "process_count": num_hosts}
    with run.pipeline.open_batches(**where) as opened:
        next(opened)
        first_seconds = time.perf_counter() - begin
        # What was made ahead while the first one was awaited would count as speed.
        for _ in range(_WARM_UP_BATCHES - 1):
            next(opened)
        measured = _measure(opened, pid, seconds=seconds, batches=batches)
        tally = opened.tally
    return Throughput(
        num_examples=measured["num_batches"] * (run.batch_size // num_hosts),
        first_seconds=first_seconds,
        start_memory=start_memory,
        bad=dict(tally.bad),
        rejected=dict(tally.rejected),
        num_seen=tally.num_seen,
        **measured,
    )


def _measure(opened: Batches, pid: int, *, seconds: float, batches: int | None) -> dict:
    begin_memory = peak_memory = memory_bytes(pid)
    begin_cpu = cpu_seconds(pid)
    begin = looked = time.perf_counter()
    count, passed = 0, 0.0
    while passed < seconds and (batches is None or count < batches):
        next(opened)
        count += 1
        now = time.perf_counter()
        passed = now - begin
        if now - looked > _MEMORY_EVERY_SECONDS:
            looked = now
            peak_memory = max(peak_memory, memory_bytes(pid))
    spent = cpu_seconds(pid) - begin_cpu
    end_memory = memory_bytes(pid)
    return {
        "num_batches": count,
        "seconds": passed,
        "cpu_seconds": spent,
        "begin_memory": begin_memory,
        "peak_memory": max(peak_memory, end_memory),
        "end_memory": end_memory,
    }
