"""Skill `spatial`: "a red circle left of a blue square" against "... right of ...".

The texts of a pair differ in the relation alone, its pictures in who stands where. As in What'sUp
(arXiv 2310.19785), but what the things are tells nothing about how they usually lie.
"""

import numpy as np

from bigclip.evals.limits import dealing
from bigclip.evals.limits.casts import Cast
from bigclip.evals.limits.items import (
    ItemSet,
    deal_backgrounds,
    draw_area,
    draw_places,
    scene,
)

RELATIONS = {
    "horizontal": (("left", "to the left of"), ("right", "to the right of")),
    "vertical": (("above", "above"), ("below", "below")),
}
SIDES = (
    (("left", "on the left"), ("right", "on the right")),
    (("above", "at the top"), ("below", "at the bottom")),
)


def make_sets(num_sets: int, cast: Cast, rng: np.random.Generator) -> list[ItemSet]:
    """Return `num_sets` pairs a condition: "horizontal", "vertical" and "place".

    In "place" there is a single thing, on one side of the picture.
    """
    sets = []
    for condition, relations in RELATIONS.items():
        backgrounds = deal_backgrounds(num_sets, cast, rng)
        for background, (x, y) in zip(
            backgrounds, cast.deal_entities(2, num_sets, rng), strict=True
        ):
            area = draw_area(rng)
            places = draw_places(relations[0][0], rng)
            sets.append(
                ItemSet(
                    condition,
                    tuple(
                        scene(background, [x, y], order, area) for order in (places, places[::-1])
                    ),
                    tuple(f"{cast.phrase(x)} {words} {cast.phrase(y)}" for _, words in relations),
                    tuple(name for name, _ in relations),
                )
            )
    backgrounds = deal_backgrounds(num_sets, cast, rng)
    entities = cast.deal_entities(1, num_sets, rng)
    sides = dealing.deal(SIDES, num_sets, rng)
    for background, (x,), pair in zip(backgrounds, entities, sides, strict=True):
        area = draw_area(rng)
        places = draw_places(pair[0][0], rng)
        sets.append(
            ItemSet(
                "place",
                tuple(scene(background, [x], [place], area) for place in places),
                tuple(f"{cast.phrase(x)} {words}" for _, words in pair),
            )
        )
    return sets
