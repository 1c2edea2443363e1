"""Training pictures: cut, turned and coloured at random, to uint8 [H, H, 3].

OpenCV does the work, in few passes: a resize out of the cut, a flip, an affine map, a colour
matrix, a blur. Everything is off by default; then the cut is that of the evaluation transform.
What is off draws no random number.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from bigclip.config import ConfigError, call
from bigclip.data.colour import ColourJitter
from bigclip.data.crops import Cropper
from bigclip.data.preprocess import Preprocess
from bigclip.data.rand_augment import RandAugment


class Augmenter:
    """The training transform; call it with a picture and random numbers.

    What published models were trained with, in keys of config.data.augment:

        CLIP (arXiv 2103.00020)       crop="square"
        open_clip                     crop="resized", scale=(0.9, 1), interpolation="bicubic"
        SLIP, LaCLIP (2305.20088)     crop="resized", scale=(0.5, 1)
        SigLIP (2303.15343)           interpolation="bilinear_aliased"; and
                                      config.preprocess.resize="squash"
        ConVIRT (2010.00747)          crop="resized", scale=(0.6, 1), flip=0.5,
                                      rotate_degrees=20, translate=0.1, zoom=(0.95, 1.05),
                                      brightness=0.4, contrast=0.4, blur=1
        RWKV-CLIP (2406.06973)        crop="resized", scale=(0.7, 1), ratio=(0.8, 1.25), flip=0.5
        MobileCLIP (2311.17049)       crop="resized", scale=(0.08, 1), interpolation="bicubic",
                                      rand_augment={"magnitude": 3}
    """

    def __init__(
        self,
        preprocess: Preprocess,
        *,
        crop: str = "none",
        scale: Sequence[float] = (0.9, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = "area",
        flip: float = 0.0,
        rotate_degrees: float = 0.0,
        translate: float = 0.0,
        zoom: Sequence[float] = (1.0, 1.0),
        rand_augment: Mapping[str, Any] | None = None,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        jitter: float = 1.0,
        grayscale: float = 0.0,
        blur: float = 0.0,
        blur_sigma: Sequence[float] = (0.1, 3.0),
    ):
        """Check and keep the settings. They are applied in this order.

        Args:
            preprocess: gives the size, and the cut where `crop` is "none".
            crop: "none" cuts as the evaluation does; "square" takes the largest square at a
                random place (CLIP, arXiv 2103.00020, section 2.4); "resized" takes a random
                rectangle and squashes it (Inception's, with `scale` and `ratio`).
            scale: least and largest share of the area, for "resized".
            ratio: least and largest width / height, for "resized".
            interpolation: the filter; "area" is by far the fastest. See `resizing.resize`.
            flip: probability of mirroring left and right. Mind captions with sides or letters.
            rotate_degrees: turn by an angle in [-rotate_degrees, rotate_degrees].
            translate: shift, each way, by up to this share of the side. What comes in over an
                edge is the picture mirrored.
            zoom: least and largest factor of enlarging about the middle.
            rand_augment: keyword arguments of `RandAugment`; None for none of it.
            brightness: pixels times a factor in [1 - brightness, 1 + brightness].
            contrast: distance from the mean grey times such a factor.
            saturation: distance from each pixel's own grey times such a factor.
            hue: turn of the colour circle in [-hue, hue]; 0.5 is half of it. About the grey axis
                in YIQ, so that brightness stays.
            jitter: probability that the four above happen at all.
            grayscale: probability of taking all colour away.
            blur: probability of a Gaussian blur.
            blur_sigma: least and largest width of it, in pixels of the result.

        Raises:
            ConfigError: if a value is out of range.
        """
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
            "blur": (blur, 1),
        }
        for name, (value, most) in limits.items():
            if not 0 <= value <= most:
                raise ConfigError(
                    f"config.data.augment.{name} must lie in [0, {most}], not {value!r}"
                )
        for name, pair in (("zoom", zoom), ("blur_sigma", blur_sigma)):
            if len(pair) != 2 or not 0 < pair[0] <= pair[1]:
                raise ConfigError(
                    f"config.data.augment.{name} must be two numbers, 0 < least <= largest, not "
                    f"{tuple(pair)}"
                )
        self.preprocess = preprocess
        self.cropper = Cropper(
            preprocess, crop=crop, scale=scale, ratio=ratio, interpolation=interpolation
        )
        self.flip = flip
        self.rotate_degrees = rotate_degrees
        self.translate = translate
        self.zoom = tuple(zoom)
        self.rand_augment = None
        if rand_augment is not None:
            self.rand_augment = call(RandAugment, rand_augment, "data.augment.rand_augment")
        self.colour = ColourJitter(
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            jitter=jitter,
            grayscale=grayscale,
        )
        self.blur = blur
        self.blur_sigma = tuple(blur_sigma)
        self._zooms = self.zoom != (1, 1)
        self._moves = rotate_degrees > 0 or translate > 0 or self._zooms

    def __call__(self, picture: bytes | np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Transform one picture.

        Args:
            picture: encoded, or uint8 [h, w, 3], RGB, any size. Encoded is faster for a large
                JPEG, of which no more is decoded than is needed.
            rng: where every choice comes from.

        Returns:
            uint8 [H, H, 3].

        Raises:
            bigclip.data.images.BadImage: if the bytes cannot be decoded.
        """
        image = self.cropper(picture, rng)
        if self.flip and rng.random() < self.flip:
            image = cv2.flip(image, 1)
        if self._moves:
            image = self._move(image, rng)
        if self.rand_augment is not None:
            image = self.rand_augment(image, rng)
        image = self.colour(image, rng)
        if self.blur and rng.random() < self.blur:
            image = cv2.GaussianBlur(image, (0, 0), _between(*self.blur_sigma, rng))
        return image

    def _move(self, image: np.ndarray, rng) -> np.ndarray:
        size = self.preprocess.size
        centre = (size - 1) / 2
        angle = _between(-self.rotate_degrees, self.rotate_degrees, rng)
        shifts = [_between(-self.translate, self.translate, rng) * size for _ in range(2)]
        zoom = _between(*self.zoom, rng) if self._zooms else 1.0
        matrix = cv2.getRotationMatrix2D((centre, centre), angle, zoom)
        matrix[:, 2] += shifts
        return cv2.warpAffine(
            image, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )


def _between(low: float, high: float, rng: np.random.Generator) -> float:
    return low + (high - low) * rng.random()
