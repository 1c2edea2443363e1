"""Durations in the unit that suits the user: steps, examples or epochs."""

from bigclip.config import ConfigError

_UNITS = ("steps", "examples", "epochs")


def in_steps(
    name: str,
    *,
    steps: float | None,
    examples: float | None,
    epochs: float | None,
    batch_size: int,
    epoch_examples: int,
    where: str = "config",
) -> int | None:
    """Turn a duration, given in one of three units, into a number of steps.

    Args:
        name: what lasts so long ("warmup"), for messages.
        steps: the duration in optimizer steps, or None.
        examples: in image-text pairs, or None.
        epochs: in passes over the training source, or None.
        batch_size: B.
        epoch_examples: number of records of the training source.
        where: the block that holds the keys, for messages.

    Returns:
        The number of steps, rounded to the nearest; None if no unit is given.

    Raises:
        ConfigError: if more than one unit is given, or the duration is negative.
    """
    given = {
        unit: value
        for unit, value in zip(_UNITS, (steps, examples, epochs), strict=True)
        if value is not None
    }
    if len(given) > 1:
        keys = " and ".join(f"{name}_{unit}" for unit in given)
        raise ConfigError(f"{where}: {keys} are both set: give {name} in one unit.")
    if not given:
        return None
    ((unit, value),) = given.items()
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise ConfigError(f"{where}.{name}_{unit} = {value!r} must be a number, at least 0.")
    per_step = {"steps": 1, "examples": batch_size, "epochs": batch_size / epoch_examples}[unit]
    return round(value / per_step)
