"""Checks of the options of suites: each returns the value, or says what was meant.

A suite checks its options when it is made, so that a mistake in a configuration is told before
anything is decoded or embedded. True and False are no numbers here.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from bigclip.config import ConfigError, suggest


def whole(value: Any, option: str, *, least: int = 1, most: int | None = None) -> int:
    """Return a whole number.

    Args:
        value: of the configuration.
        option: its name there, for the message.
        least, most: the smallest and the largest that are allowed.

    Raises:
        ConfigError: if it is something else.
    """
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not fits or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{option} = {value!r}: needs a whole number {bounds}.")
    return value


def positive(value: Any, option: str) -> float:
    """Return a finite number above 0; arguments and errors as of `whole`."""
    if not _is_number(value) or not 0 < value < math.inf:
        raise ConfigError(f"{option} = {value!r}: needs a positive number.")
    return value


def share(value: Any, option: str) -> float:
    """Return a number between 0 and 1, neither included; arguments and errors as of `whole`."""
    if not _is_number(value) or not 0 < value < 1:
        raise ConfigError(f"{option} = {value!r}: needs a number between 0 and 1.")
    return value


def seed(value: Any, option: str = "seed") -> int:
    """Return a seed, a whole number from 0 on; arguments and errors as of `whole`."""
    return whole(value, option, least=0)


def flag(value: Any, option: str) -> bool:
    """Return True or False; arguments and errors as of `whole`."""
    if not isinstance(value, bool):
        raise ConfigError(f"{option} = {value!r}: needs True or False.")
    return value


def text(value: Any, option: str) -> str:
    """Return a text that is not empty; arguments and errors as of `whole`."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{option} = {value!r}: needs a name.")
    return value


def several(
    values: Any, option: str, one: Callable[[Any, str], Any], *, least_count: int = 1
) -> list:
    """Return one value, or several different ones, as a list.

    Args:
        values: a value, or a list of values.
        option: their name in the configuration, for the message.
        one: checks one of them: a function of this module.
        least_count: how many there must be.

    Raises:
        ConfigError: if there are too few, one is given twice, or `one` refuses one.
    """
    found = list(values) if isinstance(values, list | tuple) else [values]
    found = [one(value, option) for value in found]
    if len(found) < least_count:
        raise ConfigError(f"{option} = {values!r}: needs at least {least_count}.")
    if len(set(found)) < len(found):
        raise ConfigError(f"{option} = {values!r}: needs each once.")
    return found


def choices(values: Any, valid: Iterable[Any], option: str) -> list:
    """Return a list of different choices.

    Args:
        values: a list with at least one.
        valid: what there is to choose from.
        option: its name in the configuration, for the message.

    Raises:
        ConfigError: if it is no list, holds something twice or something that there is not; names
            the nearest choice and lists all.
    """
    valid = list(valid)
    if not isinstance(values, list | tuple) or not values:
        hint = suggest("", map(str, valid))
        raise ConfigError(f"{option} = {values!r}: needs a list of choices.{hint}")
    for value in values:
        if isinstance(value, bool) or value not in valid:
            hint = suggest(str(value), map(str, valid))
            raise ConfigError(f"{option}: no choice {value!r}.{hint}")
    if len(set(values)) < len(values):
        raise ConfigError(f"{option} = {list(values)!r}: needs each once.")
    return list(values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
