"""A small memory of what was computed last."""

import collections
import threading
from collections.abc import Callable, Hashable
from typing import Any


class Recent:
    """Keeps the values that were used last, up to a bound of their sizes. Threads may share it.

    Args:
        bound: of the sum of the sizes.
        size: of a value; 1 by default, so that the bound is a number of values.
    """

    def __init__(self, bound: int, size: Callable[[Any], int] = lambda value: 1):
        self._bound, self._size, self._total = bound, size, 0
        self._values: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """Return the value, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value, and forget the oldest ones beyond the bound."""
        with self._lock:
            if key in self._values:
                self._total -= self._size(self._values.pop(key))
            self._values[key] = value
            self._total += self._size(value)
            while self._total > self._bound:
                self._total -= self._size(self._values.popitem(last=False)[1])
