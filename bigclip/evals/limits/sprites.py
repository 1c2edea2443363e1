"""Emoji of the embedded data as things for scenes: "a fox left of an owl".

Small models trained on pictures of things have hardly seen a plain triangle. Here they meet what
they know, drawn as they know it; the concepts are those of the training split on purpose, for what
is tested is not whether they are known, but what can be said with them.
"""

import functools

import cv2
import numpy as np
import PIL.Image

from bigclip.data import embedded
from bigclip.data.images import open_rgb
from bigclip.data.sources import open_random_access
from bigclip.evals.limits.scenes import Thing

# Unlike each other in form and colour, dark enough to stand out from white, and there in all of
# the styles below.
NOUNS = {
    "fox": "foxes",
    "owl": "owls",
    "pig": "pigs",
    "crab": "crabs",
    "octopus": "octopuses",
    "butterfly": "butterflies",
    "mushroom": "mushrooms",
    "strawberry": "strawberries",
    "pineapple": "pineapples",
    "cactus": "cacti",
    "guitar": "guitars",
    "rocket": "rockets",
}
STYLES = ("noto", "noto-v1", "fluent-flat", "fluent-3d", "twemoji", "emojione")
_GROUND = 12  # levels by which the paper around an emoji may differ from white: WebP is lossy
_MAX_ENLARGED = 1.35  # of the side, for thin things


class SpritePainter:
    """Pastes emoji without the paper they are drawn on.

    All cover about the area of their thing: a guitar is as heavy as an owl.
    """

    def __init__(self):
        self._sprites = _read_sprites()

    def __call__(self, picture: np.ndarray, thing: Thing) -> None:
        """Paste onto `picture`, float32 [H, H, 3]."""
        sprite = self._sprites[tuple(thing.entity)]
        size = len(picture)
        side = np.sqrt(thing.area) * size
        # A sprite that covers a part `fill` of its bounding box is enlarged to cover the area.
        fill = sprite[..., 3].mean() / 255
        scale = side * min(1 / np.sqrt(fill), _MAX_ENLARGED) / np.sqrt(np.prod(sprite.shape[:2]))
        height, width = (max(1, round(length * scale)) for length in sprite.shape[:2])
        image = PIL.Image.fromarray(sprite, "RGBA").convert("RGBa")
        pasted = np.asarray(image.resize((width, height), PIL.Image.Resampling.BICUBIC), np.float32)
        left, top = (
            round(centre * size - length / 2)
            for centre, length in zip(thing.centre, (width, height), strict=True)
        )
        x, y = slice(max(left, 0), left + width), slice(max(top, 0), top + height)
        part = picture[y, x]
        pasted = pasted[y.start - top :, x.start - left :][: part.shape[0], : part.shape[1]]
        part *= 1 - pasted[..., 3:] / 255
        part += pasted[..., :3]


def cut_out(picture: np.ndarray) -> np.ndarray:
    """Remove the white around a drawing, and the empty margin.

    White that the drawing encloses stays.

    Args:
        picture: uint8 [H, W, 3].

    Returns:
        uint8 [h, w, 4], RGBA.
    """
    padded = cv2.copyMakeBorder(picture, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(255,) * 3)
    mask = np.zeros((padded.shape[0] + 2, padded.shape[1] + 2), np.uint8)
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | (255 << 8)
    cv2.floodFill(padded, mask, (0, 0), 0, (_GROUND,) * 3, (_GROUND,) * 3, flags)
    alpha = 255 - mask[2:-2, 2:-2]
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    whole = np.dstack([picture, alpha])
    return whole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@functools.cache
def _read_sprites() -> dict[tuple[str, str], np.ndarray]:
    """Return (noun, style) -> uint8 [h, w, 4]."""
    source = open_random_access(kind="webdataset", shards=embedded.shards("train"))
    sprites = {}
    for index in range(len(source)):
        record = source[index]
        key = (record.metadata.get("concept"), record.metadata.get("style"))
        if key[0] in NOUNS and key[1] in STYLES:
            sprites[key] = cut_out(np.asarray(open_rgb(record.image)))
    return sprites
