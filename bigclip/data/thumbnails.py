"""Small copies of pictures for web pages: decoded and encoded anew, so that only pixels leave.

What else a file holds (where a photograph was taken, by whom, a thumbnail of what was cut away)
stays behind, and what EXIF says of the orientation is done to the pixels. All are WebP, which every
browser shows.
"""

import base64
import io

import numpy as np
import PIL.Image

from bigclip.data import images

_REDUCTIONS = (8, 4, 2)
_QUALITY = 82


def smaller(encoded: bytes, side: int, *, lossless_pixels: int = 0) -> bytes:
    """Encode a picture anew as WebP, upright, with at most `side` x `side` pixels.

    Args:
        encoded: the file's content.
        side: longest side of the copy in pixels; small pictures are not enlarged.
        lossless_pixels: a copy of at most so many pixels keeps each exactly, for drawings whose
            flat colours show every loss. It is about five times as large.

    Raises:
        BadImage: if it is no picture, or too large to decode.
    """
    size = images.reducible_size(encoded)
    # libjpeg decodes a photograph at an eighth of its size much faster than the whole.
    reduced = next((n for n in _REDUCTIONS if size and max(size) >= n * side), 1)
    image = PIL.Image.fromarray(images.decode(encoded, reduced=reduced))
    image.thumbnail((side, side))
    return _webp(image, lossless=image.width * image.height <= lossless_pixels)


def as_webp(pixels: np.ndarray) -> bytes:
    """Encode uint8 [H, W, 3] as WebP, every pixel exactly."""
    return _webp(PIL.Image.fromarray(pixels), lossless=True)


def data_uri(webp: bytes) -> str:
    """Return a picture as an address that holds the picture itself, for pages of one file."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")


def _webp(image: PIL.Image.Image, *, lossless: bool) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=lossless, quality=_QUALITY, method=2)
    return file.getvalue()
