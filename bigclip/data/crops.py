"""Which part of a picture a model is trained on, brought to its size."""

import math
from collections.abc import Sequence

import numpy as np

from bigclip.config import ConfigError
from bigclip.data import images
from bigclip.data.preprocess import Preprocess, crop_box, fitted_size
from bigclip.data.resizing import INTERPOLATIONS, reduction, resize

CROPS = ("none", "square", "resized")
_MAX_ATTEMPTS = 10


class Cropper:
    """Cuts a rectangle out and resizes it to uint8 [H, H, 3]; arguments as of `Augmenter`.

    The rectangle is drawn from the picture's size alone, which a header tells; so a JPEG that is
    much too large is decoded at a half, a quarter or an eighth of its size.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        *,
        crop: str,
        scale: Sequence[float],
        ratio: Sequence[float],
        interpolation: str,
    ):
        for name, value, choices in (
            ("crop", crop, CROPS),
            ("interpolation", interpolation, INTERPOLATIONS),
        ):
            if value not in choices:
                raise ConfigError(f"config.data.augment.{name} {value!r} is none of {choices}")
        for name, pair, most in (("scale", scale, 1.0), ("ratio", ratio, math.inf)):
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most:
                raise ConfigError(
                    f"config.data.augment.{name} must be two numbers, 0 < least <= largest <= "
                    f"{most}, not {tuple(pair)}"
                )
        self.preprocess = preprocess
        self.crop = crop
        self.scale = tuple(scale)
        self.log_ratio = tuple(math.log(value) for value in ratio)
        self.interpolation = interpolation

    def __call__(self, picture: bytes | np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cut and resize one picture. Arguments, result and errors as of `Augmenter`."""
        whole = None
        if isinstance(picture, bytes):
            if self.interpolation == "area":
                whole = images.reducible_size(picture)
            if whole is None:
                picture = images.decode(picture)
        if whole is None:
            whole = picture.shape[1], picture.shape[0]
        left, top, right, bottom = self.rectangle(*whole, rng)
        size = side, _ = self.preprocess.size, self.preprocess.size
        if self.crop == "none" and self.preprocess.resize == "pad":
            size = fitted_size(*whole, side)
        if self.interpolation == "area":
            # The same rectangle, whether it is decoded from a JPEG or not: in whole steps.
            n = reduction((right - left, bottom - top), size)
            left, top, right, bottom = (
                -(-left // n) * n,
                -(-top // n) * n,
                right // n * n,
                bottom // n * n,
            )
            if isinstance(picture, bytes):
                picture = images.decode(picture, reduced=n)
                left, top, right, bottom = left // n, top // n, right // n, bottom // n
        image = resize(picture[top:bottom, left:right], size, self.interpolation)
        if size == (side, side):
            return image
        canvas = np.full((side, side, 3), self.preprocess.fill, np.uint8)
        left, top = (side - size[0]) // 2, (side - size[1]) // 2
        canvas[top : top + size[1], left : left + size[0]] = image
        return canvas

    def rectangle(self, width: int, height: int, rng) -> tuple[int, int, int, int]:
        """Choose left, top, right, bottom in pixels of a picture of this size."""
        if self.crop == "resized":
            return self._random_rectangle(width, height, rng)
        if self.crop == "square":
            side = min(width, height)
            left = int(rng.random() * (width - side + 1))
            top = int(rng.random() * (height - side + 1))
            return left, top, left + side, top + side
        if self.preprocess.resize == "crop":
            box = crop_box(width, height, self.preprocess.size)
            left, top, right, bottom = (round(x) for x in box)
            return left, top, max(right, left + 1), max(bottom, top + 1)
        return 0, 0, width, height

    def _random_rectangle(self, width: int, height: int, rng) -> tuple[int, int, int, int]:
        """Draw share of area and aspect ratio until the rectangle fits."""
        low, high = self.log_ratio
        least, largest = self.scale
        for _ in range(_MAX_ATTEMPTS):
            area = width * height * (least + (largest - least) * rng.random())
            ratio = math.exp(low + (high - low) * rng.random())
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left = int(rng.random() * (width - w + 1))
                top = int(rng.random() * (height - h + 1))
                return left, top, left + w, top + h
        # A very long picture: the largest rectangle of an allowed ratio, from the middle.
        w = max(1, min(width, round(height * math.exp(high))))
        h = max(1, min(height, round(width / math.exp(low))))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h
