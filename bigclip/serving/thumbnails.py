"""Pictures as the page shows them: decoded and encoded anew, so that only pixels leave."""

import io
from collections.abc import Callable

import PIL.Image

from bigclip.data import images
from bigclip.serving.recent import Recent

SIDES = {"thumbnails": 320, "pictures": 1280}  # longest side in pixels; screens are fine
_KEPT_BYTES = 64 << 20
_REDUCTIONS = (8, 4, 2)
_LOSSLESS_PIXELS = 160 * 160  # icons: small anyway, and flat colours show every loss


class Thumbnails:
    """Small copies of pictures, the last ones remembered.

    Args:
        read: number -> encoded picture.
    """

    def __init__(self, read: Callable[[int], bytes]):
        self._read = read
        self._kept = Recent(_KEPT_BYTES, size=len)

    def get(self, number: int, side: int) -> bytes:
        """Return a picture as WebP, upright, at most `side` pixels wide and high.

        Raises:
            OSError, BadImage or BadRecord: if it cannot be read any more.
        """
        found = self._kept.get((number, side))
        if found is None:
            found = smaller(self._read(number), side)
            self._kept.put((number, side), found)
        return found


def smaller(encoded: bytes, side: int) -> bytes:
    """Encode a picture anew as WebP with at most `side` x `side` pixels.

    Raises:
        BadImage: if it is none, or too large to decode.
    """
    size = images.reducible_size(encoded)
    # libjpeg decodes a photograph at an eighth of its size much faster than the whole.
    reduced = next((n for n in _REDUCTIONS if size and max(size) >= n * side), 1)
    image = PIL.Image.fromarray(images.decode(encoded, reduced=reduced))
    image.thumbnail((side, side))
    file = io.BytesIO()
    lossless = image.width * image.height <= _LOSSLESS_PIXELS
    image.save(file, "WEBP", lossless=lossless, quality=82, method=2)
    return file.getvalue()
