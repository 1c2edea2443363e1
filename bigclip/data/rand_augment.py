"""RandAugment (Cubuk et al. 2020, arXiv 1909.13719): a few changes out of a list, equally strong.

m is the magnitude over 10. Ranges are those of AutoAugment (arXiv 1805.09501, table 6), turned so
that every change grows with m and m = 0 changes nothing; the other end of a range in brackets is
taken as often. Signs and choices are all that is random.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from bigclip.config import ConfigError, choose

_FILL = (128, 128, 128)  # what comes in over an edge; grey, as in the released code
_LEVELS = np.arange(256)


class RandAugment:
    """Applies `num_ops` changes, drawn with replacement, one after the other."""

    def __init__(
        self,
        *,
        num_ops: int = 2,
        magnitude: float = 9.0,
        ops: Sequence[str] | None = None,
    ):
        """Check and keep the settings.

        Args:
            num_ops: N, how many changes each picture gets; the paper takes 1 to 3.
            magnitude: M in [0, 10], how strong they are. The paper's ResNet-50 for ImageNet
                took 9. torchvision counts to 30, so that its default of 9, MobileCLIP's, is 3.
            ops: names in `OPS` to draw from; None for the paper's fourteen, which are also
                torchvision's, to the ranges. timm and big_vision add "invert" and
                "solarize_add", and leave out "identity".

        Raises:
            ConfigError: if a value is out of range, or an operation unknown.
        """
        where = "config.data.augment.rand_augment"
        if not isinstance(num_ops, int) or num_ops < 1:
            raise ConfigError(f"{where}.num_ops must be a positive integer, not {num_ops!r}")
        if not 0 <= magnitude <= 10:
            raise ConfigError(f"{where}.magnitude must lie in [0, 10], not {magnitude!r}")
        if ops is not None and (isinstance(ops, str) or not ops):
            raise ConfigError(f"{where}.ops must be a list of at least one name, not {ops!r}")
        self.num_ops = num_ops
        self.strength = magnitude / 10
        self.ops = tuple(PAPER_OPS if ops is None else ops)
        for name in self.ops:
            choose(name, OPS, f"{where}.ops")

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change one picture, uint8 [h, w, 3]."""
        for _ in range(self.num_ops):
            op = OPS[self.ops[int(rng.random() * len(self.ops))]]
            strength = self.strength
            if op.is_signed and rng.random() < 0.5:
                strength = -strength
            image = op.change(image, strength)
        return image


# What every pixel's value becomes, from a table.


def invert(image: np.ndarray, m: float) -> np.ndarray:
    """Take 255 - x, whatever m."""
    return cv2.bitwise_not(image)


def posterize(image: np.ndarray, m: float) -> np.ndarray:
    """Keep the upper 8 - round(4 m) bits. (big_vision keeps 4 m of them: less is stronger.)"""
    return image & np.uint8(0xFF << round(4 * m) & 0xFF)


def solarize(image: np.ndarray, m: float) -> np.ndarray:
    """Invert the values from 256 (1 - m) on. (big_vision: from 256 m on.)"""
    return _mapped(image, np.where(256 * (1 - m) > _LEVELS, _LEVELS, 255 - _LEVELS))


def solarize_add(image: np.ndarray, m: float) -> np.ndarray:
    """Add 110 m to the values under 128."""
    return _mapped(image, np.where(_LEVELS < 128, _LEVELS + round(110 * m), _LEVELS))


def brightness(image: np.ndarray, m: float) -> np.ndarray:
    """Multiply by 1 + 0.9 m [1 - 0.9 m]."""
    return _mapped(image, _LEVELS * (1 + 0.9 * m))


def contrast(image: np.ndarray, m: float) -> np.ndarray:
    """Multiply the distance from the mean grey by 1 + 0.9 m [1 - 0.9 m]."""
    mean = round(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0])
    return _mapped(image, mean + (_LEVELS - mean) * (1 + 0.9 * m))


def autocontrast(image: np.ndarray, m: float) -> np.ndarray:
    """Stretch each channel to 0 ... 255, whatever m."""
    tables = np.tile(_LEVELS, (3, 1))
    for table, channel in zip(tables, cv2.split(image), strict=True):
        low, high = int(channel.min()), int(channel.max())
        if low < high:
            table[:] = np.clip((_LEVELS - low) * 255 // (high - low), 0, 255)
    return _mapped(image, tables.T)


def equalize(image: np.ndarray, m: float) -> np.ndarray:
    """Make each channel's histogram flat, whatever m.

    As Pillow counts: the pixels under a level, in steps of a 255th of all those that do not have
    the highest level.
    """
    tables = np.tile(_LEVELS, (3, 1))
    for table, channel in zip(tables, cv2.split(image), strict=True):
        counts = np.bincount(channel.ravel(), minlength=256)
        step = int(counts.sum() - counts[channel.max()]) // 255
        if step:
            below = np.cumsum(counts) - counts
            table[:] = np.minimum((step // 2 + below) // step, 255)
    return _mapped(image, tables.T)


# What the neighbourhood or the colour of a pixel tells.


def colour(image: np.ndarray, m: float) -> np.ndarray:
    """Multiply the distance from each pixel's own grey by 1 + 0.9 m [1 - 0.9 m]."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return _away_from(grey, image, 1 + 0.9 * m)


def sharpness(image: np.ndarray, m: float) -> np.ndarray:
    """Multiply the distance from the smoothed picture by 1 + 0.9 m [1 - 0.9 m].

    Smoothing weighs a pixel 5 and its eight neighbours 1, and leaves the edge as it is.
    """
    kernel = np.ones((3, 3), np.float32)
    kernel[1, 1] = 5
    smooth = image.copy()
    smooth[1:-1, 1:-1] = cv2.filter2D(image, -1, kernel / 13)[1:-1, 1:-1]
    return _away_from(smooth, image, 1 + 0.9 * m)


# Where a pixel comes from.


def rotate(image: np.ndarray, m: float) -> np.ndarray:
    """Turn by 30 m degrees to the left [right] about the middle."""
    height, width = image.shape[:2]
    sine, cosine = math.sin(math.radians(30 * m)), math.cos(math.radians(30 * m))
    x, y = (width - 1) / 2, (height - 1) / 2
    matrix = [
        [cosine, -sine, x - cosine * x + sine * y],
        [sine, cosine, y - sine * x - cosine * y],
    ]
    return _warped(image, matrix)


def shear_x(image: np.ndarray, m: float) -> np.ndarray:
    """Take each row from 0.3 m [-0.3 m] of its distance to the upper edge further right."""
    return _warped(image, [[1, 0.3 * m, 0.15 * m], [0, 1, 0]])


def shear_y(image: np.ndarray, m: float) -> np.ndarray:
    """Take each column from 0.3 m [-0.3 m] of its distance to the left edge further down."""
    return _warped(image, [[1, 0, 0], [0.3 * m, 1, 0.15 * m]])


def translate_x(image: np.ndarray, m: float) -> np.ndarray:
    """Take what lies 150/331 m of the width further right [left], in whole pixels."""
    return _warped(image, [[1, 0, round(150 / 331 * m * image.shape[1])], [0, 1, 0]])


def translate_y(image: np.ndarray, m: float) -> np.ndarray:
    """Take what lies 150/331 m of the height further down [up], in whole pixels."""
    return _warped(image, [[1, 0, 0], [0, 1, round(150 / 331 * m * image.shape[0])]])


def identity(image: np.ndarray, m: float) -> np.ndarray:
    """Change nothing."""
    return image


class Op(NamedTuple):
    """One change: (uint8 [h, w, 3], m in [-1, 1]) -> the same shape; m >= 0 if not signed."""

    change: Callable[[np.ndarray, float], np.ndarray]
    is_signed: bool = False


OPS = {
    "identity": Op(identity),
    "autocontrast": Op(autocontrast),
    "equalize": Op(equalize),
    "rotate": Op(rotate, is_signed=True),
    "solarize": Op(solarize),
    "colour": Op(colour, is_signed=True),
    "posterize": Op(posterize),
    "contrast": Op(contrast, is_signed=True),
    "brightness": Op(brightness, is_signed=True),
    "sharpness": Op(sharpness, is_signed=True),
    "shear_x": Op(shear_x, is_signed=True),
    "shear_y": Op(shear_y, is_signed=True),
    "translate_x": Op(translate_x, is_signed=True),
    "translate_y": Op(translate_y, is_signed=True),
    "invert": Op(invert),
    "solarize_add": Op(solarize_add),
}
PAPER_OPS = tuple(OPS)[:14]


def _mapped(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Look values up in a table [256] for all channels, or [256, 3] with one for each."""
    table = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return cv2.LUT(image, table.reshape(256, 1, -1))


def _away_from(base: np.ndarray, image: np.ndarray, factor: float) -> np.ndarray:
    return cv2.addWeighted(base, 1 - factor, image, factor, 0)


def _warped(image: np.ndarray, matrix: Sequence[Sequence[float]]) -> np.ndarray:
    """Take pixel (x, y) from `matrix` (x, y, 1), bilinearly."""
    return cv2.warpAffine(
        image,
        np.array(matrix, np.float64),
        (image.shape[1], image.shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=_FILL,
    )
