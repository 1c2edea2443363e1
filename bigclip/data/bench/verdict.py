"""Whether a host keeps up with its chips."""

import math
import os
import pathlib
from typing import NamedTuple

from bigclip.config import ConfigError

_QUOTA = pathlib.Path("/sys/fs/cgroup/cpu.max")


class Need(NamedTuple):
    """How many examples a second this host must make, and why."""

    examples_per_second: float
    reason: str
    num_hosts: int = 1  # that share the batch


class Verdict(NamedTuple):
    """What this host can feed.

    Attributes:
        cores: that this process may use.
        measured: examples a second, as configured.
        most: examples a second if all cores worked as those did that were measured.
        need: what is wanted, if it was told.
        keeps_up: "yes", "with all cores" or "no"; None without a need.
    """

    cores: float
    measured: float
    most: float
    need: Need | None
    keeps_up: str | None

    def sentences(self, *, num_workers: int) -> list[str]:
        """Say it."""
        told = [
            f"With all of its {self.cores:g} cores this host makes about {self.most:,.0f} "
            f"examples/s; as configured it made {self.measured:,.0f}."
        ]
        if self.need is None:
            return told
        needed = self.need.examples_per_second
        told.append(f"Needed: {needed:,.0f} examples/s ({self.need.reason}).")
        if self.keeps_up == "yes":
            told.append(f"It keeps up, {self.measured / needed:.2g} times over.")
        elif self.keeps_up == "with all cores":
            workers = max(num_workers + 1, math.ceil(self.cores * needed / self.most))
            told.append(
                f"It does not keep up as configured, but would with more cores at work: try "
                f"--config.data.num_workers={workers}."
            )
        else:
            told.append(
                f"It does not keep up: all cores together make {self.most / needed:.0%} of that. "
                "Store smaller pictures (python -m bigclip.data.convert), augment less, or take "
                "hosts with more cores a chip."
            )
        return told


def host_cores() -> float:
    """Return how many cores this process may use: of the machine, or of its container."""
    cores = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = _QUOTA.read_text().split()
        if quota != "max":
            cores = min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        pass  # no container with a quota
    return cores


def read_need(
    *,
    chips: int | None,
    chips_per_host: int,
    step_seconds: float | None,
    examples_per_second: float | None,
    batch_size: int,
) -> Need | None:
    """Work out what is needed of one host, from the command's flags.

    Args:
        chips: of the whole run.
        chips_per_host: that one host feeds.
        step_seconds: of one step of `batch_size` examples on all chips.
        examples_per_second: told directly, for one host.
        batch_size: B.

    Raises:
        ConfigError: if they contradict each other or make no sense.
    """
    for name, value in (
        ("chips", chips),
        ("chips_per_host", chips_per_host),
        ("step_seconds", step_seconds),
        ("examples_per_second", examples_per_second),
    ):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"--{name} must be positive, not {value}.")
    if (chips is None) != (step_seconds is None):
        raise ConfigError("--chips and --step_seconds belong together: give both.")
    if examples_per_second is not None:
        if chips is not None:
            raise ConfigError("give --examples_per_second, or --chips and --step_seconds.")
        return Need(examples_per_second, "as told")
    if chips is None:
        return None
    num_hosts = max(1, chips // chips_per_host)
    if chips > chips_per_host and chips % chips_per_host:
        raise ConfigError(
            f"--chips {chips} is no multiple of --chips_per_host {chips_per_host}: hosts share "
            "the batch evenly."
        )
    return Need(
        batch_size / step_seconds / num_hosts,
        f"a host for {chips // num_hosts} of {chips} chips, {batch_size:,} examples every "
        f"{step_seconds:g} s",
        num_hosts,
    )


def judge(*, measured: float, per_core_second: float, cores: float, need: Need | None) -> Verdict:
    """Compare what a host makes with what is needed of it.

    Args:
        measured: examples a second.
        per_core_second: examples of a CPU second.
        cores: of the host.
        need: of `read_need`.
    """
    # Cores that wait for a disk make no more than was measured; it is an upper limit.
    most = max(measured, per_core_second * cores)
    keeps_up = None
    if need is not None:
        keeps_up = "no"
        if measured >= need.examples_per_second:
            keeps_up = "yes"
        elif most >= need.examples_per_second:
            keeps_up = "with all cores"
    return Verdict(cores, measured, most, need, keeps_up)
