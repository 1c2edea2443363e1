"""Pictures for the goldens of the evaluation transform, from whole numbers alone."""

import numpy as np

SIZE = 32  # H of the results
# Larger and smaller than that, wide, tall, odd.
SHAPES = (
    (80, 60),
    (60, 80),
    (33, 47),
    (21, 14),
    (200, 30),
    (25, 180),
    (32, 32),
    (33, 31),
    (400, 20),
)


def picture(width: int, height: int) -> np.ndarray:
    """Draw rings that grow finer up to the limit, a ramp and a board, uint8 [h, w, 3]."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    rings = (x * x + y * y) * 64 // max(width, height) % 512
    rings = np.minimum(rings, 511 - rings)
    ramp = (255 * x * (height - y)) // (width * height)
    board = 255 * ((x // 3 + y // 5) % 2)
    return np.stack([rings, ramp, board], -1).astype(np.uint8)
