"""The fixed table of positions that big_vision computes where `posemb="sincos2d"`."""

import numpy as np

_TEMPERATURE = 10_000.0


def sincos_positions(grid: int, width: int) -> np.ndarray:
    """Return sines and cosines of both coordinates, as MoCo v3 has them (arXiv 2104.02057).

    The quarters of a row are sin(x w), cos(x w), sin(y w), cos(y w), with frequencies w from 1
    down to 1 / 10,000, both included.

    Args:
        grid: patches along a side.
        width: E, divisible by 4 and at least 8.

    Returns:
        float32 [grid * grid, E], row by row.
    """
    frequency = _TEMPERATURE ** -np.linspace(0, 1, width // 4)
    y, x = np.indices((grid, grid)).reshape(2, -1, 1) * frequency  # [P, E / 4] each
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1).astype(np.float32)
