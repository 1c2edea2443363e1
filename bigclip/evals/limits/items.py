"""Sets of pictures and texts that only fit one way, and what all skills make them with.

A set has K pictures and K texts, and text k is right for picture k alone. So each text is right
once and wrong K - 1 times, against the same other texts, and each picture likewise. A model that
looks at the texts only chooses the same one for all K pictures and is right for one of them: at
chance exactly, whatever it knows about language. Benchmarks with one picture and a perturbed text
(ARO, CREPE) can be passed blind, as "SugarCrepe" shows (arXiv 2306.14610); the pairing here is
that of Winoground (arXiv 2204.03162).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bigclip.evals.limits import dealing
from bigclip.evals.limits.casts import Cast
from bigclip.evals.limits.scenes import Background, Entity, Scene, Thing

# Multiples of this many sets hold every shape, colour, noun and layout equally often.
BALANCED = 12

# Area of a thing, the picture being 1, where there are two of one size.
_MIN_AREA, _MAX_AREA = 0.05, 0.065
_NEAR, _FAR, _JITTER = 0.25, 0.75, 0.015

# Where the first and the second entity stand: a line of two places, and which is the first's.
LAYOUTS = ("left", "right", "above", "below")


class ItemSet(NamedTuple):
    """K pictures and K texts, the k-th of which belong together and no others.

    Attributes:
        condition: the sub-condition of the skill, such as "vertical".
        scenes: K scenes.
        texts: K texts.
        labels: what each item is about, where accuracies by it are of interest: K names or none.
    """

    condition: str
    scenes: tuple[Scene, ...]
    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()


def deal_backgrounds(num: int, cast: Cast, rng: np.random.Generator) -> list[Background]:
    """Draw backgrounds of all of a cast's kinds and shades."""
    choices = [(kind, shade) for kind in cast.backgrounds for shade in cast.shades]
    return [
        Background(kind, int(rng.integers(*shade)), depth=14, seed=int(rng.integers(1 << 32)))
        for kind, shade in dealing.deal(choices, num, rng)
    ]


def draw_area(rng: np.random.Generator) -> float:
    """Draw an area for both things of a picture."""
    return rng.uniform(_MIN_AREA, _MAX_AREA)


def draw_places(layout: str, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Draw the centres of the first and the second of two things.

    Args:
        layout: of `LAYOUTS`: where the first stands, seen from the second.
        rng: moves both a little, along and across their line.
    """
    near, far, *across = rng.uniform(-_JITTER, _JITTER, 4)
    along = [_NEAR + near, _FAR + far]
    if layout in ("right", "below"):
        along.reverse()
    points = [(a, 0.5 + 2 * c) for a, c in zip(along, across, strict=True)]
    return [point[::-1] if layout in ("above", "below") else point for point in points]


def draw_place(rng: np.random.Generator) -> tuple[float, float]:
    """Draw the centre of a single thing."""
    x, y = rng.uniform(0.35, 0.65, 2)
    return x, y


def scene(
    background: Background,
    entities: Sequence[Entity],
    places: Sequence[tuple[float, float]],
    areas: float | Sequence[float],
) -> Scene:
    """Put entities to places, with one area for all or one for each."""
    if isinstance(areas, float):
        areas = [areas] * len(entities)
    things = zip(entities, places, areas, strict=True)
    return Scene(background, tuple(Thing(*thing) for thing in things))
