"""Training pictures: cut, turned and coloured at random, to uint8 [H, H, 3].

OpenCV does the work, in few passes: a resize out of the cut, a flip, an affine map, a colour
matrix. Everything is off by default; then the cut is that of the evaluation
transform.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess, crop_box, fitted_size

CROPS = ("none", "square", "resized")
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_TO_GREY = np.tile(_LUMA, (3, 1))
_TO_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
# A turn by t in the plane of I and Q is, in RGB, KEPT + cos(t) COS + sin(t) SIN.
_KEPT, _COS, _SIN = (
    np.linalg.inv(_TO_YIQ) @ np.array(turn) @ _TO_YIQ
    for turn in (
        [[1, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 0], [0, 0, -1], [0, 1, 0]],
    )
)
_MAX_CROP_ATTEMPTS = 10


class Augmenter:
    """The training transform; call it with pixels and random numbers."""

    def __init__(
        self,
        preprocess: Preprocess,
        *,
        crop: str = "none",
        scale: Sequence[float] = (0.9, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        jitter: float = 1.0,
        grayscale: float = 0.0,
        rotate_degrees: float = 0.0,
        translate: float = 0.0,
    ):
        """Check and keep the settings.

        Args:
            preprocess: gives the size, and the cut where `crop` is "none".
            crop: "none" cuts as the evaluation does; "square" takes the largest square at a
                random place (CLIP, arXiv 2103.00020, section 2.4); "resized" takes a random
                rectangle and squashes it (Inception's, with `scale` and `ratio`).
            scale: least and largest share of the area, for "resized".
            ratio: least and largest width / height, for "resized".
            flip: probability of mirroring left and right. Mind captions with sides or letters.
            brightness: pixels times a factor in [1 - brightness, 1 + brightness].
            contrast: distance from the mean grey times such a factor.
            saturation: distance from each pixel's own grey times such a factor.
            hue: turn of the colour circle in [-hue, hue]; 0.5 is half of it. About the grey axis
                in YIQ, so that brightness stays.
            jitter: probability that the four above happen at all.
            grayscale: probability of taking all colour away.
            rotate_degrees: turn by an angle in [-rotate_degrees, rotate_degrees].
            translate: shift, each way, by up to this share of the side. What comes in over an
                edge is the picture mirrored.

        Raises:
            ConfigError: if a value is out of range.
        """
        if crop not in CROPS:
            raise ConfigError(f"config.data.augment.crop {crop!r} is none of {CROPS}")
        for name, (low, high), most in (("scale", scale, 1.0), ("ratio", ratio, math.inf)):
            if not 0 < low <= high <= most:
                raise ConfigError(
                    f"config.data.augment.{name} must be two numbers, 0 < least <= largest <= "
                    f"{most}, not ({low}, {high})"
                )
        limits = {
            "flip": (flip, 1),
            "brightness": (brightness, 1),
            "contrast": (contrast, 1),
            "saturation": (saturation, 1),
            "hue": (hue, 0.5),
            "jitter": (jitter, 1),
            "grayscale": (grayscale, 1),
            "rotate_degrees": (rotate_degrees, 180),
            "translate": (translate, 1),
        }
        for name, (value, most) in limits.items():
            if not 0 <= value <= most:
                raise ConfigError(
                    f"config.data.augment.{name} must lie in [0, {most}], not {value!r}"
                )
        self.preprocess = preprocess
        self.crop = crop
        self.scale = tuple(scale)
        self.log_ratio = tuple(math.log(value) for value in ratio)
        self.flip = flip
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.jitter = jitter
        self.grayscale = grayscale
        self.rotate_degrees = rotate_degrees
        self.translate = translate
        self._moves = rotate_degrees > 0 or translate > 0
        self._jitters = jitter > 0 and max(brightness, contrast, saturation, hue) > 0

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Transform one picture.

        Args:
            pixels: uint8 [h, w, 3], RGB, any size.
            rng: where every choice comes from.

        Returns:
            uint8 [H, H, 3].
        """
        image = self._cut(pixels, rng)
        if self.flip and rng.random() < self.flip:
            image = cv2.flip(image, 1)
        if self._moves:
            image = self._move(image, rng)
        return self._colour(image, rng)

    def _cut(self, pixels: np.ndarray, rng) -> np.ndarray:
        height, width = pixels.shape[:2]
        size = self.preprocess.size
        if self.crop == "resized":
            left, top, right, bottom = self._random_rectangle(width, height, rng)
        elif self.crop == "square":
            side = min(width, height)
            left = int(rng.random() * (width - side + 1))
            top = int(rng.random() * (height - side + 1))
            right, bottom = left + side, top + side
        elif self.preprocess.resize == "squash":
            left, top, right, bottom = 0, 0, width, height
        elif self.preprocess.resize == "crop":
            left, top, right, bottom = (round(x) for x in crop_box(width, height, size))
            right, bottom = max(right, left + 1), max(bottom, top + 1)
        else:
            fitted = fitted_size(width, height, size)
            image = np.full((size, size, 3), self.preprocess.fill, np.uint8)
            left, top = (size - fitted[0]) // 2, (size - fitted[1]) // 2
            image[top : top + fitted[1], left : left + fitted[0]] = _resize(pixels, fitted)
            return image
        return _resize(pixels[top:bottom, left:right], (size, size))

    def _random_rectangle(self, width: int, height: int, rng) -> tuple[int, int, int, int]:
        """Draw share of area and aspect ratio until the rectangle fits."""
        low, high = self.log_ratio
        for _ in range(_MAX_CROP_ATTEMPTS):
            area = width * height * _between(*self.scale, rng)
            ratio = math.exp(_between(low, high, rng))
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

    def _move(self, image: np.ndarray, rng) -> np.ndarray:
        size = self.preprocess.size
        centre = (size - 1) / 2
        angle = _between(-self.rotate_degrees, self.rotate_degrees, rng)
        matrix = cv2.getRotationMatrix2D((centre, centre), angle, 1.0)
        matrix[:, 2] += [_between(-self.translate, self.translate, rng) * size for _ in range(2)]
        return cv2.warpAffine(
            image, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )

    def _colour(self, image: np.ndarray, rng) -> np.ndarray:
        # Each change is linear, so they are one matrix [3, 4], and values are clipped once.
        jitters = self._jitters and rng.random() < self.jitter
        greys = self.grayscale and rng.random() < self.grayscale
        if not (jitters or greys):
            return image
        matrix = np.zeros((3, 4))
        left = matrix[:, :3]
        left[:] = _TO_GREY
        if jitters:
            brightness = _between(1 - self.brightness, 1 + self.brightness, rng)
            contrast = _between(1 - self.contrast, 1 + self.contrast, rng)
            saturation = _between(1 - self.saturation, 1 + self.saturation, rng)
            turn = 2 * math.pi * _between(-self.hue, self.hue, rng)
            if not greys:
                # The grey part of a colour is not turned: _TO_GREY is a fixed point.
                left[:] = (1 - saturation) * _TO_GREY
                left += saturation * (_KEPT + math.cos(turn) * _COS + math.sin(turn) * _SIN)
            left *= brightness * contrast
            matrix[:, 3] = brightness * (1 - contrast) * _LUMA.dot(cv2.mean(image)[:3])
        return cv2.transform(image, matrix)


def _resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize to (width, height): sides that shrink by area, sides that grow by a cubic."""
    shrunk = min(pixels.shape[1], size[0]), min(pixels.shape[0], size[1])
    if shrunk != (pixels.shape[1], pixels.shape[0]):
        pixels = cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != size:
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(pixels)


def _between(low: float, high: float, rng: np.random.Generator) -> float:
    return low + (high - low) * rng.random()
