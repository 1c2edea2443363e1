"""Corruptions of pictures at five strengths, after Hendrycks and Dietterich 2019.

"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations" (arXiv
1903.12261), ImageNet-C. The strengths are those of its released code (github.com/hendrycks/
robustness, ImageNet-C/imagenet_c/imagenet_c/corruptions.py), which are for pictures of 224 pixels;
what is in pixels there is scaled with the side of the picture here, so that a blur is as wide a
part of a small picture as of a large one. Noise, quantisation and coding have no width and are
the same at every size.

Of the paper's fifteen, frost is missing: it lays photographs of frosted windows over the picture,
which are not ours to ship. The implementations are new, and agree with the released ones in
distribution and not in every pixel: numbers are to be compared between models under this code, not
with published tables.
"""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bigclip.config import ConfigError, suggest
from bigclip.evals.robustness.corruptions import blur, digital, noise, weather

STRENGTHS = (1, 2, 3, 4, 5)


class Corruption(NamedTuple):
    """One way to spoil a picture.

    Attributes:
        family: "noise", "blur", "weather" or "digital".
        spoil: (float32 [H, H, 3] in [0, 1], level, rng) -> the same; need not be clipped.
        levels: what `spoil` takes, for each of the five strengths.
    """

    family: str
    spoil: Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]
    levels: tuple[Any, Any, Any, Any, Any]


CORRUPTIONS: dict[str, Corruption] = {
    # standard deviation
    "gaussian_noise": Corruption("noise", noise.gaussian, (0.08, 0.12, 0.18, 0.26, 0.38)),
    # photons of white light
    "shot_noise": Corruption("noise", noise.shot, (60, 25, 12, 5, 3)),
    # share of values
    "impulse_noise": Corruption("noise", noise.impulse, (0.03, 0.06, 0.09, 0.17, 0.27)),
    # radius
    "defocus_blur": Corruption("blur", blur.defocus, (3, 4, 6, 8, 10)),
    # width of the blur, farthest neighbour, rounds
    "glass_blur": Corruption(
        "blur", blur.glass, ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
    ),
    # radius, width
    "motion_blur": Corruption("blur", blur.motion, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    # largest zoom, step
    "zoom_blur": Corruption(
        "blur", blur.zoom, ((1.1, 0.01), (1.15, 0.01), (1.2, 0.02), (1.25, 0.02), (1.3, 0.03))
    ),
    # mean and deviation of the noise, zoom, threshold, radius and width of the motion, visibility
    "snow": Corruption(
        "weather",
        weather.snow,
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    # density, decay of the detail
    "fog": Corruption("weather", weather.fog, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    # added to the value in HSV
    "brightness": Corruption("weather", weather.brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    # share that is left
    "contrast": Corruption("digital", digital.contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    # reach of the displacement, its smoothness, reach of the affine map; in sides of 244 pixels
    "elastic_transform": Corruption(
        "digital",
        digital.elastic,
        ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    ),
    # resolution that is left
    "pixelate": Corruption("digital", digital.pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    # quality
    "jpeg_compression": Corruption("digital", digital.jpeg, (25, 18, 15, 10, 7)),
}


def corrupt(picture: np.ndarray, name: str, strength: int, *, seed: int, key: str) -> np.ndarray:
    """Spoil a picture.

    Args:
        picture: uint8 [H, H, 3].
        name: one of `CORRUPTIONS`.
        strength: 1 to 5.
        seed: of the run.
        key: name of the picture; other pictures get other noise.

    Returns:
        uint8 [H, H, 3], a function of the arguments alone.

    Raises:
        ConfigError: for an unknown corruption or strength.
    """
    if name not in CORRUPTIONS:
        raise ConfigError(f"corruptions: no corruption {name!r}.{suggest(str(name), CORRUPTIONS)}")
    if strength not in STRENGTHS:
        raise ConfigError(f"strengths are integers from 1 to 5, not {strength!r}.")
    corruption = CORRUPTIONS[name]
    digest = hashlib.sha256(f"{seed}/{name}/{strength}/{key}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:16], "big"))
    spoilt = corruption.spoil(
        picture.astype(np.float32) / 255, corruption.levels[strength - 1], rng
    )
    return np.rint(np.clip(spoilt, 0, 1) * 255).astype(np.uint8)
