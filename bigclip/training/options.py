"""The small blocks of a configuration, checked: checkpoints and log."""

from typing import Any

from bigclip.config import ConfigError


def log_options(
    *,
    every_steps: int = 20,
    profile_first_step: int | None = None,
    profile_steps: int = 5,
) -> dict[str, Any]:
    """How a run tells what it does.

    Args:
        every_steps: metrics are averaged over, and written after, so many steps.
        profile_first_step: from which step of this process on a profile is traced into
            `WORKDIR/profile` (for TensorBoard or xprof); None traces none.
        profile_steps: number of steps to trace.
    """
    if every_steps < 1 or profile_steps < 1:
        raise ConfigError("config.log: every_steps and profile_steps must be at least 1.")
    return {
        "every_steps": every_steps,
        "profile_first_step": profile_first_step,
        "profile_steps": profile_steps,
    }


def checkpoint_options(
    *,
    every_steps: int | None = 1000,
    every_minutes: float | None = None,
    keep_last: int = 3,
    keep_every_steps: int | None = None,
) -> dict[str, Any]:
    """When a run saves, besides at its end and on SIGTERM.

    Args:
        every_steps: save after each multiple of this.
        every_minutes: and when so long has passed since the last save.
        keep_last: newest checkpoints to keep; a follower evaluates them as long as they exist.
        keep_every_steps: those at multiples of this are kept for good.
    """
    if keep_last < 1 or any(x is not None and x <= 0 for x in (every_steps, every_minutes)):
        raise ConfigError(
            "config.checkpoints: every_steps and every_minutes must be positive, keep_last at "
            "least 1."
        )
    return {
        "every_steps": every_steps,
        "every_minutes": every_minutes,
        "keep_last": keep_last,
        "keep_every_steps": keep_every_steps,
    }
