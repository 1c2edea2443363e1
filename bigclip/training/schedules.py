"""Learning rate schedules: a factor in [0, 1] of the peak, as a function of the step.

All begin with a linear warm-up from 0 and may end with a linear cool-down to 0:

    cosine    half a cosine from 1 to `final_fraction` (CLIP)
    linear    a straight line from 1 to `final_fraction`
    rsqrt     1 / sqrt(1 + steps since warm-up / timescale), for runs whose end is not fixed:
              continue from any checkpoint, or cool down from it (scaling ViT, arXiv 2106.04560)
    constant  1
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bigclip.config import ConfigError, choose
from bigclip.training.durations import in_steps

Schedule = Callable[[jax.Array | int], jax.Array]


def _cosine(step: jax.Array, length: int, timescale: int, final: float) -> jax.Array:
    done = jnp.clip(step / max(length, 1), 0, 1)
    return final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * done))


def _linear(step: jax.Array, length: int, timescale: int, final: float) -> jax.Array:
    return 1 - (1 - final) * jnp.clip(step / max(length, 1), 0, 1)


def _rsqrt(step: jax.Array, length: int, timescale: int, final: float) -> jax.Array:
    return jax.lax.rsqrt(1 + jnp.maximum(step, 0) / max(timescale, 1))


def _constant(step: jax.Array, length: int, timescale: int, final: float) -> jax.Array:
    return jnp.ones_like(step)


_SHAPES = {"cosine": _cosine, "linear": _linear, "rsqrt": _rsqrt, "constant": _constant}


def make_schedule(
    *,
    total_steps: int,
    batch_size: int,
    epoch_examples: int,
    name: str = "cosine",
    warmup_steps: float | None = None,
    warmup_examples: float | None = None,
    warmup_epochs: float | None = None,
    cooldown_steps: float | None = None,
    cooldown_examples: float | None = None,
    cooldown_epochs: float | None = None,
    timescale_steps: float | None = None,
    timescale_examples: float | None = None,
    timescale_epochs: float | None = None,
    final_fraction: float = 0.0,
) -> Schedule:
    """Build a schedule. See the module's docstring for the shapes.

    Args:
        total_steps: length of the run.
        batch_size: B, to read `_examples`.
        epoch_examples: records of the training source, to read `_epochs`.
        name: "cosine", "linear", "rsqrt" or "constant".
        warmup_steps: linear warm-up from 0 (or `_examples`, `_epochs`); none by default.
        warmup_examples: see `warmup_steps`.
        warmup_epochs: see `warmup_steps`.
        cooldown_steps: linear cool-down to 0 at the end of the run; none by default.
        cooldown_examples: see `cooldown_steps`.
        cooldown_epochs: see `cooldown_steps`.
        timescale_steps: for rsqrt; 10,000 steps by default.
        timescale_examples: see `timescale_steps`.
        timescale_epochs: see `timescale_steps`.
        final_fraction: where cosine and linear end.

    Returns:
        step -> factor in [0, 1], float32; step 0 is the first update.

    Raises:
        ConfigError: for an unknown name, two units of one duration, or durations that do not fit.
    """
    shape = choose(name, _SHAPES, "config.schedule.name")
    unit = {
        "batch_size": batch_size,
        "epoch_examples": epoch_examples,
        "where": "config.schedule",
    }
    warmup = in_steps(
        "warmup", steps=warmup_steps, examples=warmup_examples, epochs=warmup_epochs, **unit
    )
    cooldown = in_steps(
        "cooldown", steps=cooldown_steps, examples=cooldown_examples, epochs=cooldown_epochs, **unit
    )
    timescale = in_steps(
        "timescale",
        steps=timescale_steps,
        examples=timescale_examples,
        epochs=timescale_epochs,
        **unit,
    )
    if timescale is not None and name != "rsqrt":
        raise ConfigError(f"config.schedule: timescale is for rsqrt; {name} has no use for it.")
    if final_fraction and name not in ("cosine", "linear"):
        raise ConfigError("config.schedule.final_fraction is for cosine and linear only.")
    warmup, cooldown = warmup or 0, cooldown or 0
    if warmup + cooldown > total_steps:
        raise ConfigError(
            f"config.schedule: warm-up ({warmup} steps) and cool-down ({cooldown}) are longer "
            f"together than the run ({total_steps} steps): lower config.schedule.warmup_steps or "
            "cooldown_steps, or raise config.total_steps."
        )

    def schedule(step: jax.Array | int) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        factor = shape(step - warmup, total_steps - warmup, timescale or 10_000, final_fraction)
        if warmup:
            # The first update already moves: at step 0 the factor is 1 / warmup, not 0.
            factor = jnp.where(step < warmup, (step + 1) / warmup, factor)
        if cooldown:
            factor = factor * jnp.clip((total_steps - step) / cooldown, 0, 1)
        return factor

    return schedule
