"""What processing does to pictures: contrast, distortion, resolution, coding."""

import io

import cv2
import numpy as np
import PIL.Image

from bigclip.evals.robustness.corruptions.blur import REFERENCE_SIDE

# The released code's unit of the elastic transform; a slip for 224, by its own comment.
_ELASTIC_UNIT = 244


def contrast(picture: np.ndarray, left: float, rng: np.random.Generator) -> np.ndarray:
    """Move all values towards the mean of their channel."""
    del rng
    mean = picture.mean(axis=(0, 1))
    return mean + left * (picture - mean)


def elastic(picture: np.ndarray, level: tuple, rng: np.random.Generator) -> np.ndarray:
    """Shear the picture by a random affine map, then move its points by a smooth random field."""
    reach, smoothness, shear = (_ELASTIC_UNIT * value for value in level)
    side = len(picture)
    scale = side / REFERENCE_SIDE
    middle, arm = side // 2, side // 3
    corners = np.array(
        [(middle + arm, middle + arm), (middle + arm, middle - arm), (middle - arm, middle - arm)],
        np.float32,
    )
    moved = corners + scale * rng.uniform(-shear, shear, corners.shape).astype(np.float32)
    matrix = cv2.getAffineTransform(corners, moved)
    picture = cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    field = [reach * _smooth_noise(smoothness, rng) for _ in range(2)]
    if side != REFERENCE_SIDE:
        how = cv2.INTER_AREA if side < REFERENCE_SIDE else cv2.INTER_LINEAR
        field = [scale * cv2.resize(part, (side, side), interpolation=how) for part in field]
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return cv2.remap(
        picture, x + field[0], y + field[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


def pixelate(picture: np.ndarray, left: float, rng: np.random.Generator) -> np.ndarray:
    """Average over blocks of pixels."""
    del rng
    side = len(picture)
    image = PIL.Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    for length in (max(int(side * left), 1), side):
        image = image.resize((length, length), PIL.Image.Resampling.BOX)
    return np.asarray(image, np.float32) / 255


def jpeg(picture: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    """Code as JPEG, and decode."""
    del rng
    buffer = io.BytesIO()
    image = PIL.Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    image.save(buffer, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(buffer), np.float32) / 255


def _smooth_noise(deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Return uniform noise in [-1, 1] under a Gaussian filter, float32 [224, 224].

    The picture goes on mirrored beyond its edges, for which a filter is a product in the cosine
    transform; this one is wider than the picture, and would take a second otherwise.
    """
    noise = rng.uniform(-1, 1, (REFERENCE_SIDE, REFERENCE_SIDE)).astype(np.float32)
    frequency = np.pi * np.arange(REFERENCE_SIDE) / REFERENCE_SIDE
    response = np.exp(-0.5 * (deviation * frequency) ** 2).astype(np.float32)
    return cv2.idct(cv2.dct(noise) * response[:, None] * response)
