"""Random changes of colour, all of them as one matrix."""

import math

import cv2
import numpy as np

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


class ColourJitter:
    """Changes colours at random; arguments as of `Augmenter`, which checks them."""

    def __init__(
        self,
        *,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
        jitter: float,
        grayscale: float,
    ):
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.jitter = jitter if max(brightness, contrast, saturation, hue) > 0 else 0.0
        self.grayscale = grayscale

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change one picture, uint8 [h, w, 3]."""
        # Each change is linear, so they are one matrix [3, 4], and values are clipped once.
        jitters = self.jitter and rng.random() < self.jitter
        greys = self.grayscale and rng.random() < self.grayscale
        if not (jitters or greys):
            return image
        matrix = np.zeros((3, 4))
        left = matrix[:, :3]
        left[:] = _TO_GREY
        if jitters:
            brightness, contrast, saturation = (
                1 + amount * (2 * rng.random() - 1)
                for amount in (self.brightness, self.contrast, self.saturation)
            )
            turn = 2 * math.pi * self.hue * (2 * rng.random() - 1)
            if not greys:
                # The grey part of a colour is not turned: _TO_GREY is a fixed point.
                left[:] = (1 - saturation) * _TO_GREY
                left += saturation * (_KEPT + math.cos(turn) * _COS + math.sin(turn) * _SIN)
            left *= brightness * contrast
            matrix[:, 3] = brightness * (1 - contrast) * _LUMA.dot(cv2.mean(image)[:3])
        return cv2.transform(image, matrix)
