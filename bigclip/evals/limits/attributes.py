"""Skill `attributes`: "a red circle and a blue square" against "a blue circle and a red square".

Both pictures have both shapes and both colours; only who wears what differs. The texts are the
same words (arXiv 2210.01936). In "colour" the pictures have as much of each colour, too. In "size"
they cannot: the larger thing has more of its own. There the balance of the sets keeps colours from
telling: each colour is as often the large one's as the small one's.
"""

import numpy as np

from bigclip.evals.limits import dealing
from bigclip.evals.limits.casts import Cast
from bigclip.evals.limits.items import (
    LAYOUTS,
    ItemSet,
    deal_backgrounds,
    draw_area,
    draw_places,
    scene,
)
from bigclip.evals.limits.scenes import Entity

_LARGE, _SMALL = 0.075, 0.02


def make_sets(num_sets: int, cast: Cast, rng: np.random.Generator) -> list[ItemSet]:
    """Return `num_sets` pairs a condition: "size", and for shapes "colour"."""
    sets = []
    for condition in ("colour", "size") if cast.says_looks else ("size",):
        backgrounds = deal_backgrounds(num_sets, cast, rng)
        pairs = cast.deal_entities(2, num_sets, rng)
        layouts = dealing.deal(LAYOUTS, num_sets, rng)
        for background, (x, y), layout in zip(backgrounds, pairs, layouts, strict=True):
            places = draw_places(layout, rng)
            if condition == "colour":
                swapped = Entity(x.kind, y.look), Entity(y.kind, x.look)
                area = draw_area(rng)
                scenes = tuple(scene(background, two, places, area) for two in ((x, y), swapped))
                texts = tuple(
                    f"{cast.phrase(one)} and {cast.phrase(other)}"
                    for one, other in ((x, y), swapped)
                )
            else:
                scenes = tuple(
                    scene(background, [x, y], places, areas)
                    for areas in ([_LARGE, _SMALL], [_SMALL, _LARGE])
                )
                texts = tuple(
                    f"{cast.phrase(x, adjective=one)} and {cast.phrase(y, adjective=other)}"
                    for one, other in (("large", "small"), ("small", "large"))
                )
            sets.append(ItemSet(condition, scenes, texts))
    return sets
