"""Who plays in the scenes: plane figures in colours, or emoji of the embedded data."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from bigclip.evals.limits import dealing, shapes
from bigclip.evals.limits.scenes import BACKGROUNDS, Entity, Painter, paint_shape
from bigclip.evals.limits.sprites import NOUNS, STYLES, SpritePainter

_DARK, _LIGHT, _WHITE = (35, 56), (205, 236), (238, 241)


class Cast(NamedTuple):
    """What can be drawn, and what it is called.

    Attributes:
        plurals: noun -> its plural; the nouns are the kinds of entities.
        looks: colours or styles.
        says_looks: whether a phrase names the look: colours yes, styles no.
        backgrounds: kinds of background.
        shades: ranges of their grey levels.
        make_painter: gives what draws its things.
    """

    plurals: Mapping[str, str]
    looks: tuple[str, ...]
    says_looks: bool
    backgrounds: tuple[str, ...]
    shades: tuple[tuple[int, int], ...]
    make_painter: Callable[[], Painter]

    def phrase(self, entity: Entity, *, adjective: str = "", article: bool = True) -> str:
        """Return "a red circle", or without an article "red circle"."""
        look = entity.look if self.says_looks else ""
        words = " ".join(word for word in (adjective, look, entity.kind) if word)
        if not article:
            return words
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"

    def plural(self, entity: Entity) -> str:
        """Return "red circles"."""
        plural = self.plurals[entity.kind]
        return f"{entity.look} {plural}" if self.says_looks else plural

    def deal_entities(
        self, roles: int, num: int, rng: np.random.Generator
    ) -> list[tuple[Entity, ...]]:
        """Draw tuples of entities that differ in their nouns, and in their colours.

        After a whole deck each noun and each look had each role equally often. Emoji of one
        tuple share a style, so that the style tells nothing.
        """
        kinds = dealing.deal_distinct(tuple(self.plurals), roles, num, rng)
        if self.says_looks:
            looks = dealing.deal_distinct(self.looks, roles, num, rng)
        else:
            looks = [(style,) * roles for style in dealing.deal(self.looks, num, rng)]
        return [
            tuple(Entity(*pair) for pair in zip(*row, strict=True))
            for row in zip(kinds, looks, strict=True)
        ]


CASTS = {
    "shapes": Cast(
        plurals=shapes.SHAPES,
        looks=tuple(shapes.COLOURS),
        says_looks=True,
        backgrounds=BACKGROUNDS,
        shades=(_DARK, _LIGHT),
        make_painter=lambda: paint_shape,
    ),
    # Drawn for a white page, and learned on one.
    "emoji": Cast(
        plurals=NOUNS,
        looks=STYLES,
        says_looks=False,
        backgrounds=BACKGROUNDS,
        shades=(_WHITE,),
        make_painter=SpritePainter,
    ),
}
