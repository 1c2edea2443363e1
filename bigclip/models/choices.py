"""Look a choice up by name, and help the reader of the message when there is none."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from bigclip.config import ConfigError

T = TypeVar("T")


def pick(table: Mapping[str, T], name: str, *, what: str) -> T:
    """Return `table[name]`.

    Args:
        table: the valid names.
        name: the name asked for.
        what: what is being chosen, for the message ("remat policy").

    Raises:
        ConfigError: no such name; tells the nearest one and lists them all.
    """
    if name not in table:
        raise ConfigError(unknown(name, table, what=what))
    return table[name]


def unknown(name: object, valid: Iterable[str], *, what: str) -> str:
    """Word the message about an unknown name: the nearest valid one, then all of them."""
    valid = list(valid)
    nearest = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"unknown {what} {name!r}: {hint}valid are {', '.join(valid)}"
