"""Weather: snow, fog, and too much light.

Flakes and clouds are drawn at 224 pixels and then brought to the picture's size, so that they are
as large a part of a small picture as of a large one.
"""

import cv2
import numpy as np

from bigclip.evals.robustness.corruptions.blur import REFERENCE_SIDE, smear, zoomed

_FRACTAL_SIDE = 256


def snow(picture: np.ndarray, level: tuple, rng: np.random.Generator) -> np.ndarray:
    """Whiten the picture and let flakes fall."""
    mean, deviation, zoom, threshold, radius, width, visibility = level
    noise = rng.standard_normal((REFERENCE_SIDE, REFERENCE_SIDE), np.float32)
    flakes = zoomed(np.float32(mean) + np.float32(deviation) * noise, zoom)
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    flakes = _to_side(smear(flakes, radius, width, rng.uniform(-135, -45)), len(picture))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    whitened = np.maximum(picture, 1.5 * grey + 0.5)
    picture = visibility * picture + (1 - visibility) * whitened
    return picture + (flakes + np.rot90(flakes, k=2))[..., None]


def fog(picture: np.ndarray, level: tuple, rng: np.random.Generator) -> np.ndarray:
    """Add a cloud and scale the sum back to the picture's brightest value."""
    density, decay = level
    cloud = plasma(_FRACTAL_SIDE, decay, rng)[:REFERENCE_SIDE, :REFERENCE_SIDE]
    cloud = _to_side(cloud.astype(np.float32), len(picture))[..., None]
    brightest = picture.max()
    return (picture + density * cloud) * (brightest / (brightest + density))


def brightness(picture: np.ndarray, added: float, rng: np.random.Generator) -> np.ndarray:
    """Raise the value in HSV; hue and saturation stay."""
    del rng
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + added, 0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def plasma(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a fractal height map by diamonds and squares, on a torus.

    Each round doubles the resolution: new points are the mean of four old ones plus noise, whose
    reach falls by decay ** 2 from round to round (the released code's `wibble` enters twice).

    Args:
        side: a power of two.
        decay: large for smooth clouds, small for ragged ones.
        rng: draws them.

    Returns:
        float64 [side, side], from 0 to 1.
    """
    heights, reach = np.zeros((1, 1)), 1.0
    while len(heights) < side:
        noise = reach * rng.uniform(-1, 1, (3, *heights.shape))
        right, below = np.roll(heights, -1, axis=1), np.roll(heights, -1, axis=0)
        middle = (heights + right + below + np.roll(right, -1, axis=0)) / 4 + noise[0]
        finer = np.empty((2 * len(heights),) * 2)
        finer[::2, ::2], finer[1::2, 1::2] = heights, middle
        finer[::2, 1::2] = (heights + right + middle + np.roll(middle, 1, axis=0)) / 4 + noise[1]
        finer[1::2, ::2] = (heights + below + middle + np.roll(middle, 1, axis=1)) / 4 + noise[2]
        heights, reach = finer, reach / decay**2
    heights -= heights.min()
    return heights / heights.max()


def _to_side(layer: np.ndarray, side: int) -> np.ndarray:
    shrinks = side < len(layer)
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(layer, (side, side), interpolation=interpolation)
