"""Blurs: of focus, of frosted glass, of motion, of approach.

Lengths are in pixels of a picture of 224 and scaled to the picture at hand. They need not come out
whole: a disc of radius 0.6 is a kernel like any other.
"""

import cv2
import numpy as np

REFERENCE_SIDE = 224
_SAMPLES = 8  # along a pixel's side, to antialias a kernel


def defocus(picture: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Spread each point over a disc."""
    del rng
    radius *= len(picture) / REFERENCE_SIDE
    half = int(np.ceil(radius))
    side = 2 * half + 1
    fine = (np.arange(side * _SAMPLES) + 0.5) / _SAMPLES - side / 2
    inside = fine[:, None] ** 2 + fine[None, :] ** 2 <= radius**2
    kernel = inside.reshape(side, _SAMPLES, side, _SAMPLES).mean(axis=(1, 3))
    if not kernel.any():  # a disc that is lost in a pixel
        return picture
    return cv2.filter2D(picture, -1, kernel / kernel.sum())


def glass(picture: np.ndarray, level: tuple, rng: np.random.Generator) -> np.ndarray:
    """Blur, move each pixel to a place near by, blur again.

    The released code goes over the picture and swaps each pixel with a neighbour, so that a pixel
    takes part in two swaps a round on average, once as the neighbour. Here as many independent
    moves are added up for every pixel; in pictures of other sizes they are no whole pixels.
    """
    width, farthest, rounds = level
    scale = len(picture) / REFERENCE_SIDE
    y, x = np.mgrid[: len(picture), : len(picture)].astype(np.float32)
    # A swap takes one of the two -farthest to farthest - 1 pixels away, and the other back.
    moves = rng.integers(-farthest, farthest, (2 * rounds, 2, *x.shape), np.int8)
    there = 1 - 2 * rng.integers(0, 2, (2 * rounds, 1, *x.shape), np.int8)
    moves = (moves * there).sum(axis=0, dtype=np.int32).astype(np.float32) * scale
    picture = _gaussian_blur(picture, width * scale)
    picture = cv2.remap(
        picture, x + moves[0], y + moves[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return _gaussian_blur(picture, width * scale)


def motion(picture: np.ndarray, level: tuple, rng: np.random.Generator) -> np.ndarray:
    """Smear along a direction within 45 degrees of the horizontal."""
    radius, width = level
    return smear(picture, radius, width, rng.uniform(-45, 45))


def smear(picture: np.ndarray, radius: float, width: float, degrees: float) -> np.ndarray:
    """Spread each point along a ray, with weights of half a bell.

    Args:
        picture: float32 [H, W, 3] or [H, W].
        radius: the ray is twice as long, in pixels of a picture of 224.
        width: standard deviation of the bell.
        degrees: direction of the ray, against the horizontal.
    """
    scale = picture.shape[0] / REFERENCE_SIDE
    along = np.arange(0, 2 * radius * scale + 1e-9, min(0.5, scale / 2))
    weights = np.exp(-0.5 * (along / (width * scale)) ** 2)
    half = int(np.ceil(2 * radius * scale)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    x = half + along * np.cos(np.radians(degrees))
    y = half + along * np.sin(np.radians(degrees))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for i in (0, 1):  # each sample is shared by the four pixels around it
        for j in (0, 1):
            share = (1 - np.abs(x - left - i)) * (1 - np.abs(y - top - j))
            np.add.at(kernel, (top + j, left + i), weights * share)
    return cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def zoom(picture: np.ndarray, level: tuple, rng: np.random.Generator) -> np.ndarray:
    """Average over zooms into the middle, the picture itself among them."""
    del rng
    largest, step = level
    factors = np.arange(1, largest + step / 2, step)
    total = picture.copy()
    for factor in factors:
        total += zoomed(picture, factor)
    return total / (len(factors) + 1)


def zoomed(picture: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge the middle of a picture, float32 [H, W, ...], to its size."""
    height, width = picture.shape[:2]
    centre = np.array([width - 1, height - 1]) / 2
    matrix = np.array([[1 / factor, 0, 0], [0, 1 / factor, 0]])
    matrix[:, 2] = centre * (1 - 1 / factor)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, matrix, (width, height), flags=flags)


def _gaussian_blur(picture: np.ndarray, width: float) -> np.ndarray:
    side = 2 * int(np.ceil(4 * width)) + 1
    return cv2.GaussianBlur(picture, (side, side), width, borderType=cv2.BORDER_REPLICATE)
