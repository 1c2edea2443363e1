"""Antialiased resizing of training pictures, uint8 [h, w, 3] to uint8 [H, W, 3].

Images per CPU-second, from the encoded picture on: photographs as JPEG of quality 90, cut to 90
to 100% of their area, to 224 x 224, on one core of an AMD EPYC. For 500 x 375 also the mean
difference to "bicubic" in grey levels.

                               500 x 375     1024 x 768  2048 x 1536
    area                       930    0.96   460         170
    bilinear                   510    1.13   170          28
    bicubic                    390    0      125          24
    open_clip, to compare      235    0       85          24
    OpenCV's INTER_AREA        610    0.93   200          51
    INTER_LINEAR, aliased     1290    2.39   390         100
"""

import cv2
import numpy as np
import PIL.Image

INTERPOLATIONS = ("area", "bilinear", "bicubic", "bilinear_aliased")
_PILLOW = {
    "bilinear": PIL.Image.Resampling.BILINEAR,
    "bicubic": PIL.Image.Resampling.BICUBIC,
}
_MAX_BLURRED_SHRINK = 2.3  # 512 pixels to 224; beyond, three taps are too few
_LEAST_KEPT = 1.5  # a reduced cut's sides over the target's; with less, detail is lost


def resize(pixels: np.ndarray, size: tuple[int, int], interpolation: str = "area") -> np.ndarray:
    """Resize, but for "bilinear_aliased" without aliasing.

    Args:
        pixels: uint8 [h, w, 3].
        size: (W, H), the result's width and height.
        interpolation: "bicubic" and "bilinear" are Pillow's, to the bit, which published
            PyTorch models were trained with. "area" averages what falls into a pixel, and
            enlarges with a cubic; it is the fast one. "bilinear_aliased" looks at four pixels
            only, as big_vision does when it trains SigLIP, and is faster still.

    Returns:
        uint8 [H, W, 3], contiguous.
    """
    if interpolation == "bilinear_aliased":
        return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    if interpolation != "area":
        image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(image.resize(size, _PILLOW[interpolation]))
    height, width = pixels.shape[:2]
    shrinks = width / size[0], height / size[1]
    if shrinks == (1, 1):
        return np.ascontiguousarray(pixels)
    if min(shrinks) >= 1 and max(shrinks) <= _MAX_BLURRED_SHRINK:
        return _blurred(pixels, size, shrinks)
    shrunk = min(width, size[0]), min(height, size[1])
    if shrunk != (width, height):
        pixels = cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != size:
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    return pixels


def reduction(cut: tuple[int, int], size: tuple[int, int]) -> int:
    """Find by how much a JPEG may be reduced while decoding.

    Args:
        cut: (w, h) of the part that is wanted, in pixels of the whole picture.
        size: (W, H) that it will be resized to.

    Returns:
        1, 2, 4 or 8: the most that leaves both sides of the cut 1.5 times as long as needed.
    """
    spare = min(cut[0] / size[0], cut[1] / size[1]) / _LEAST_KEPT
    return max(n for n in (1, 2, 4, 8) if n <= max(spare, 1))


def _blurred(pixels: np.ndarray, size: tuple[int, int], shrinks: tuple[float, float]) -> np.ndarray:
    # OpenCV has vector code for three-tap filters and for a cubic that looks at single pixels,
    # but none for areas with fractions of pixels: these two take half of its time. The strength
    # of the blur was fitted, on photographs, to Pillow's bicubic filter.
    kernels = []
    for shrink in shrinks:
        side = max(0.0, 0.23 * shrink - 0.2)
        kernels.append(np.array([side, 1 - 2 * side, side], np.float32))
    image = cv2.sepFilter2D(pixels, -1, *kernels, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
