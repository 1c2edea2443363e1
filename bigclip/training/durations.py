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
    epoch_examples: int | None,
    where: str = "config",
) -> int | None:
    """Turn a duration, given in one of three units, into a number of steps.

    Args:
        name: what lasts so long ("warmup"), for messages.
        steps: the duration in optimizer steps, or None.
        examples: in image-text pairs, or None.
        epochs: in passes over the training source, or None.
        batch_size: B.
        epoch_examples: number of records of the training source; None if it is not known.
        where: the block that holds the keys, for messages.

    Returns:
        The number of steps, rounded to the nearest; None if no unit is given.

    Raises:
        ConfigError: if more than one unit is given, the duration is negative, or in epochs of
            unknown length.
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
    if unit == "steps":
        return round(value)
    if unit == "examples":
        return round(value / batch_size)
    if epoch_examples is None:
        raise ConfigError(
            f"{where}.{name}_epochs: streamed shards do not tell how many records they hold; set "
            f"config.data.source.num_records, or give {name}_examples."
        )
    return round(value * epoch_examples / batch_size)
