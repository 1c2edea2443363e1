"""Outlines of plane figures, all of one area, and the colours that they are filled with.

Equal areas matter: were a star smaller than a square, the share of coloured pixels would tell one
from the other, and a model could pass without knowing either.
"""

import functools

import numpy as np

# Far from each other, and from the greys of every background.
COLOURS = {
    "red": (225, 35, 35),
    "orange": (250, 140, 20),
    "yellow": (245, 220, 30),
    "green": (35, 160, 60),
    "blue": (45, 85, 225),
    "purple": (140, 45, 175),
}


def _polygon(radii: list[float], start: float) -> np.ndarray:
    angles = start + 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _circle() -> np.ndarray:
    return _polygon(np.ones(96), 0.0)


def _square() -> np.ndarray:
    return _polygon(np.ones(4), np.pi / 4)


def _triangle() -> np.ndarray:
    return _polygon(np.ones(3), -np.pi / 2)


def _star() -> np.ndarray:
    """Five points; the inner corners lie where the sides of a pentagram cross."""
    inner = np.sin(np.pi / 10) / np.sin(7 * np.pi / 10)
    return _polygon(np.tile([1.0, inner], 5), -np.pi / 2)


def _cross() -> np.ndarray:
    """Two equal bars, 2 long and 0.8 wide."""
    quarter = np.array([(0.4, -0.4), (0.4, -1.0), (-0.4, -1.0)])
    turn = np.array([(0.0, -1.0), (1.0, 0.0)])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    height = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -height], axis=1)


_OUTLINES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "heart": _heart,
}
# With their plurals.
SHAPES = {name: "crosses" if name == "cross" else f"{name}s" for name in _OUTLINES}


@functools.cache
def outline(shape: str) -> np.ndarray:
    """Return the corners of a figure, [n, 2] as (x, y), y downwards.

    Its area is 1 and its centre of mass the origin.

    Args:
        shape: one of `SHAPES`.
    """
    points = _OUTLINES[shape]()
    area, centre = _area_and_centre(points)
    points = (points - centre) / np.sqrt(abs(area))
    points.flags.writeable = False
    return points


def radius(shape: str) -> float:
    """Return the distance of a figure's farthest corner from its centre."""
    return float(np.linalg.norm(outline(shape), axis=1).max())


def _area_and_centre(points: np.ndarray) -> tuple[float, np.ndarray]:
    """Sum over the triangles between the origin and each side."""
    after = np.roll(points, -1, axis=0)
    doubled = points[:, 0] * after[:, 1] - after[:, 0] * points[:, 1]
    area = doubled.sum() / 2
    return area, ((points + after) * doubled[:, None]).sum(axis=0) / (6 * area)
