"""Balanced draws: decks that are dealt out whole before they are shuffled again.

Independent draws balance only on average, and the model that always says "red" would profit from
whatever is left. A deck that is dealt out whole leaves nothing.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def deal(values: Sequence[T], num: int, rng: np.random.Generator) -> list[T]:
    """Draw `num` values; after every len(values) draws, each was drawn equally often."""
    rounds = -(-num // len(values))
    order = np.concatenate([rng.permutation(len(values)) for _ in range(rounds)])
    return [values[i] for i in order[:num]]


def deal_distinct(
    values: Sequence[T], roles: int, num: int, rng: np.random.Generator
) -> list[tuple[T, ...]]:
    """Draw `num` tuples of different values, one for each role.

    After every len(values) draws each value had each role equally often: a draw takes `roles`
    neighbours on a circle of all values in random order.

    Raises:
        ValueError: if there are fewer values than roles.
    """
    count = len(values)
    if roles > count:
        raise ValueError(f"{roles} different values cannot be drawn from {count}.")
    drawn: list[tuple[T, ...]] = []
    for _ in range(-(-num // count)):
        circle = rng.permutation(count)
        starts = rng.permutation(count)
        drawn += [tuple(values[circle[(s + r) % count]] for r in range(roles)) for s in starts]
    return drawn[:num]
