"""Skill `negation`: what a text says is not there must not be there (arXiv 2501.09425).

A model that overhears "no" prefers the text whose nouns it sees, which is the wrong one or none.
"""

import numpy as np

from bigclip.evals.limits import dealing
from bigclip.evals.limits.casts import Cast
from bigclip.evals.limits.items import (
    LAYOUTS,
    ItemSet,
    deal_backgrounds,
    draw_area,
    draw_place,
    draw_places,
    scene,
)

CONDITIONS = ("no", "without", "but_no")


def make_sets(num_sets: int, cast: Cast, rng: np.random.Generator) -> list[ItemSet]:
    """Return `num_sets` pairs a condition.

    "no": a picture of X against one of Y, with the texts "X" and "no X". "without": X and Y
    against X and Z, "X with Y" and "X without Y". "but_no": X and Z against Y and Z, "X but no Y"
    and "Y but no X", the same words.
    """
    sets = []
    for condition in CONDITIONS:
        backgrounds = deal_backgrounds(num_sets, cast, rng)
        triples = cast.deal_entities(3, num_sets, rng)
        layouts = dealing.deal(LAYOUTS, num_sets, rng)
        for background, (x, y, z), layout in zip(backgrounds, triples, layouts, strict=True):
            places, area = draw_places(layout, rng), draw_area(rng)
            one, other = cast.phrase(x), cast.phrase(y)
            bare, bare_other = cast.phrase(x, article=False), cast.phrase(y, article=False)
            if condition == "no":
                casting, places = ([x], [y]), [draw_place(rng)]
                texts = (one, f"no {bare}")
            elif condition == "without":
                casting = ([x, y], [x, z])
                texts = (f"{one} with {other}", f"{one} without {other}")
            else:
                casting = ([x, z], [y, z])
                texts = (f"{one} but no {bare_other}", f"{other} but no {bare}")
            scenes = tuple(scene(background, who, places, area) for who in casting)
            sets.append(ItemSet(condition, scenes, texts))
    return sets
