"""Skill `counting`: "two red circles", "three red circles", ...

A set has one picture for each number, with things of one kind and colour. More things of one size
are more paint, so that the amount of paint alone would tell the number. Therefore half of the sets
hold the size of a thing equal ("equal_size") and half hold the paint equal ("equal_ink": the more
things, the smaller). What a model gains from paint in the one half it loses in the other, and from
size likewise; both halves are reported. That control is the usual one for the number sense of
children. What remains is that more things are spread wider and have a longer outline, as they are
in the world.

CLIP's weakness here: arXiv 2302.12066, which also counts from two on.
"""

from collections.abc import Sequence

import numpy as np

from bigclip.evals.limits import shapes
from bigclip.evals.limits.casts import Cast
from bigclip.evals.limits.items import ItemSet, deal_backgrounds, scene

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# This part of the picture the largest number of things covers where all are equal in size.
_INK = 0.13
_GAP = 1.1  # least distance of two things, in units of their extent
_EXTENT = max(shapes.radius(shape) for shape in shapes.SHAPES)
_MARGIN = 0.01
_THROWS = 40  # at one place before all things are taken up again


def make_sets(
    num_sets: int, cast: Cast, rng: np.random.Generator, *, counts: Sequence[int]
) -> list[ItemSet]:
    """Return `num_sets` sets a condition, each with one item for every count."""
    sets = []
    reference = _INK / max(counts)
    middle = float(np.exp(np.mean(np.log(counts))))
    for condition in ("equal_size", "equal_ink"):
        backgrounds = deal_backgrounds(num_sets, cast, rng)
        for background, (x,) in zip(backgrounds, cast.deal_entities(1, num_sets, rng), strict=True):
            area = reference * rng.uniform(0.8, 1.0)
            scenes = []
            for count in counts:
                each = area if condition == "equal_size" else area * middle / count
                places = _throw(count, _EXTENT * np.sqrt(each), rng)
                scenes.append(scene(background, [x] * count, places, each))
            labels = tuple(NUMBERS[count - 1] for count in counts)
            texts = tuple(
                f"{number} {cast.phrase(x, article=False) if number == 'one' else cast.plural(x)}"
                for number in labels
            )
            sets.append(ItemSet(condition, tuple(scenes), texts, labels))
    return sets


def _throw(count: int, radius: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Draw places at random, none too near another."""
    low = radius + _MARGIN
    while True:
        places: list[tuple[float, float]] = []
        for _ in range(_THROWS * count):
            x, y = rng.uniform(low, 1 - low, 2)
            if all(np.hypot(x - a, y - b) >= 2 * radius * _GAP for a, b in places):
                places.append((x, y))
            if len(places) == count:
                return places
