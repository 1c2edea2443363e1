"""Pictures as the page shows them: small copies, the last ones remembered."""

from collections.abc import Callable

from bigclip.data.thumbnails import smaller
from bigclip.serving.recent import Recent

SIDES = {"thumbnails": 320, "pictures": 1280}  # longest side in pixels; screens are fine
_KEPT_BYTES = 64 << 20
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
            found = smaller(self._read(number), side, lossless_pixels=_LOSSLESS_PIXELS)
            self._kept.put((number, side), found)
        return found
