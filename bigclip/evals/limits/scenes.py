"""Scenes as plain data, and the function that draws them.

A scene is a background and a list of things, in units of the picture's side, so that it can be
drawn at any size. Two scenes of one set share their background to the last bit: what differs
between their pictures is what the texts are about, and nothing else.
"""

import functools
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from bigclip.evals.limits import shapes

BACKGROUNDS = ("plain", "gradient", "stripes", "clouds")
_OVERSAMPLING = 8
_FRACTION_BITS = 6  # of OpenCV's fixed-point corners
_GRID = 8  # cells of the clouds' noise along a side
_STRIPES = 6


class Background(NamedTuple):
    """What lies behind the things: grey, so that no colour word is ever true of it.

    Attributes:
        kind: one of `BACKGROUNDS`.
        grey: mean level, 0 to 255.
        depth: largest difference from the mean, in levels.
        seed: decides directions and noise.
    """

    kind: str
    grey: int
    depth: int
    seed: int


class Entity(NamedTuple):
    """What a noun phrase stands for.

    Attributes:
        kind: the noun: a shape, or the name of a picture.
        look: the shape's colour, or the style in which the picture is drawn.
    """

    kind: str
    look: str


class Thing(NamedTuple):
    """An entity at a place. Attributes: centre (x, y) and area, the picture's side being 1."""

    entity: Entity
    centre: tuple[float, float]
    area: float


class Scene(NamedTuple):
    """A picture to be drawn; later things cover earlier ones."""

    background: Background
    things: tuple[Thing, ...]


class Painter(Protocol):
    """Puts a thing onto a picture."""

    def __call__(self, picture: np.ndarray, thing: Thing) -> None:
        """Change `picture`, float32 [H, H, 3], in place."""


def draw(scene: Scene, size: int, painter: Painter) -> np.ndarray:
    """Draw a scene.

    Args:
        scene: what to draw.
        size: H, the side in pixels.
        painter: for the things: `paint_shape`, or an emoji painter.

    Returns:
        uint8 [H, H, 3], RGB; the same for the same scene.
    """
    picture = np.repeat(_background(scene.background, size)[..., None], 3, axis=2)
    for thing in scene.things:
        painter(picture, thing)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def paint_shape(picture: np.ndarray, thing: Thing) -> None:
    """Fill a figure of `shapes.SHAPES` with a colour of `shapes.COLOURS`, antialiased."""
    size = len(picture)
    corners = shapes.outline(thing.entity.kind) * np.sqrt(thing.area) + np.array(thing.centre)
    # Only the part of the picture that the figure touches is drawn in oversampled pixels.
    low = np.clip(np.floor(corners.min(axis=0) * size).astype(int), 0, size)
    high = np.clip(np.ceil(corners.max(axis=0) * size).astype(int), 0, size)
    width, height = high - low
    if width < 1 or height < 1:
        return
    fine = (corners * size - low) * _OVERSAMPLING - 0.5
    mask = np.zeros((height * _OVERSAMPLING, width * _OVERSAMPLING), np.uint8)
    fixed = np.rint(fine * (1 << _FRACTION_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, shift=_FRACTION_BITS)
    cover = cv2.resize(mask, (int(width), int(height)), interpolation=cv2.INTER_AREA)
    cover = cover[..., None].astype(np.float32) / 255
    part = picture[low[1] : high[1], low[0] : high[0]]
    part += cover * (np.array(shapes.COLOURS[thing.entity.look], np.float32) - part)


@functools.lru_cache(maxsize=8)  # the scenes of a set come one after the other
def _background(background: Background, size: int) -> np.ndarray:
    """Return grey levels, float32 [H, H]."""
    rng = np.random.default_rng(background.seed)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    along = x * np.cos(angle) + y * np.sin(angle)
    relief: Any = np.zeros((size, size))
    if background.kind == "gradient":
        relief = along / np.abs(along).max()
    elif background.kind == "stripes":
        relief = np.sin(2 * np.pi * (_STRIPES * along + rng.uniform()))
    elif background.kind == "clouds":
        noise = rng.uniform(-1, 1, (_GRID, _GRID)).astype(np.float32)
        relief = np.clip(cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC), -1, 1)
    levels = (background.grey + background.depth * relief).astype(np.float32)
    levels.flags.writeable = False
    return levels
