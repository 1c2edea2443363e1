"""Skill `control`: one thing, named rightly or wrongly. Without this, the other skills say nothing.

A model that does not know "triangle" is at chance with triangles in any order. Only what it loses
between this skill and the others is due to counting, relations or order.
"""

import numpy as np

from bigclip.evals.limits import dealing
from bigclip.evals.limits.casts import Cast
from bigclip.evals.limits.items import ItemSet, deal_backgrounds, draw_area, scene
from bigclip.evals.limits.scenes import Entity

_CLOSE_AREA = 0.2
# A single thing may stand anywhere in the middle, unless it fills the picture.
_PLACES = {"far": (0.35, 0.65), "close": (0.48, 0.52)}


def make_sets(num_sets: int, cast: Cast, rng: np.random.Generator) -> list[ItemSet]:
    """Return `num_sets` pairs a condition.

    Conditions: for shapes "shape" (the colours are equal, the shapes differ) and "colour" (the
    reverse); for emoji "noun". Half of the things are as large as in the other skills ("far"), half
    fill a good part of the picture ("close"): models trained on pictures of one thing may not
    recognise it from afar.
    """
    sets = []
    for condition in ("shape", "colour") if cast.says_looks else ("noun",):
        backgrounds = deal_backgrounds(num_sets, cast, rng)
        pairs = cast.deal_entities(2, num_sets, rng)
        views = dealing.deal(tuple(_PLACES), num_sets, rng)
        for background, (x, y), view in zip(backgrounds, pairs, views, strict=True):
            if condition == "shape":
                y = Entity(y.kind, x.look)
            elif condition == "colour":
                y = Entity(x.kind, y.look)
            place = tuple(rng.uniform(*_PLACES[view], 2))
            area = _CLOSE_AREA if view == "close" else draw_area(rng)
            sets.append(
                ItemSet(
                    condition,
                    tuple(scene(background, [one], [place], area) for one in (x, y)),
                    tuple(cast.phrase(one) for one in (x, y)),
                    (view, view),
                )
            )
    return sets
