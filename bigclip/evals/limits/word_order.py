"""Skill `word_order`: "a red circle above a blue square", or a blue square above a red circle?

The two texts of a pair are the same words, so that a bag of words is at chance (arXiv 2210.01936;
2204.03162). Half of the pairs say the reverse relation, so that "who is named first stands on the
left" is no help either.
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
from bigclip.evals.limits.scenes import Background, Entity, Scene

# The relation of the first thing that is drawn to the second, and its reverse.
RELATIONS = {
    "horizontal": ("to the left of", "to the right of"),
    "vertical": ("above", "below"),
    "depth": ("behind", "in front of"),
    "size": ("larger than", "smaller than"),
    "inside": ("around", "inside"),
}
_LARGE, _SMALL = 0.075, 0.02
_OUTER, _INNER = 0.22, 0.03
_OVERLAP_AREA, _OVERLAP_STEP = 0.09, 0.1


def make_sets(num_sets: int, cast: Cast, rng: np.random.Generator) -> list[ItemSet]:
    """Return `num_sets` pairs a condition: the keys of `RELATIONS`; no "inside" for emoji."""
    sets = []
    for condition, relation in RELATIONS.items():
        if condition == "inside" and not cast.says_looks:
            continue  # an owl inside of a fox would only hide it
        backgrounds = deal_backgrounds(num_sets, cast, rng)
        pairs = cast.deal_entities(2, num_sets, rng)
        reverse = dealing.deal((False, True), num_sets, rng)
        for background, (x, y), is_reverse in zip(backgrounds, pairs, reverse, strict=True):
            scenes = _scenes(condition, background, x, y, rng)
            words = relation[is_reverse]
            texts = tuple(
                f"{cast.phrase(one)} {words} {cast.phrase(other)}"
                for one, other in ((x, y), (y, x))
            )
            sets.append(ItemSet(condition, scenes, texts[::-1] if is_reverse else texts))
    return sets


def _scenes(
    condition: str, background: Background, x: Entity, y: Entity, rng: np.random.Generator
) -> tuple[Scene, Scene]:
    """Draw `x` to the left of, above, behind, larger than, or around `y`; and then `y` so."""
    if condition in ("horizontal", "vertical"):
        places = draw_places("left" if condition == "horizontal" else "above", rng)
        area = draw_area(rng)
        return scene(background, [x, y], places, area), scene(background, [y, x], places, area)
    if condition == "size":  # nobody moves; where the larger one stands does not matter
        places = draw_places(LAYOUTS[rng.integers(len(LAYOUTS))], rng)
        return (
            scene(background, [x, y], places, [_LARGE, _SMALL]),
            scene(background, [x, y], places, [_SMALL, _LARGE]),
        )
    centre = rng.uniform(0.49, 0.51, 2)
    if condition == "inside":
        places = [tuple(centre)] * 2
        return (
            scene(background, [x, y], places, [_OUTER, _INNER]),
            scene(background, [y, x], places, [_OUTER, _INNER]),
        )
    angle = rng.uniform(0, 2 * np.pi)  # again nobody moves: the first that is drawn is behind
    step = _OVERLAP_STEP * np.array([np.cos(angle), np.sin(angle)])
    places = [tuple(centre + step), tuple(centre - step)]
    return (
        scene(background, [x, y], places, _OVERLAP_AREA),
        scene(background, [y, x], places[::-1], _OVERLAP_AREA),
    )
