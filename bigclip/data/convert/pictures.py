"""The picture of a record, looked at before it is stored."""

import io

import cv2
import numpy as np
import PIL.Image

from bigclip.data.images import BadImage, decode
from bigclip.data.records import BadRecord, Record

_QUALITY = 95

_STARTS = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"GIF8": "gif", b"BM": "bmp"}


def checked(record: Record, *, max_side: int | None) -> Record:
    """Decode the picture, to know that training will be able to; and shrink it, if asked.

    Args:
        record: as it was read.
        max_side: the most pixels of the longer side. Larger pictures are made smaller, and stored
            upright and without transparency as JPEG, or as WebP if they were no JPEG, of quality
            95; the others stay as they are. None leaves all as they are.

    Raises:
        BadRecord: if it cannot be decoded.
    """
    if not record.image:
        raise BadRecord(record.key, "empty_image", "its picture is empty")
    try:
        pixels = decode(record.image)
    except BadImage as error:
        raise BadRecord(record.key, error.fault, f"its picture {error}") from None
    if max_side is None or max(pixels.shape[:2]) <= max_side:
        return record
    return record._replace(image=_shrunk(pixels, max_side, extension(record.image)))


def extension(encoded: bytes) -> str:
    """The extension of files of that format: jpg, png, webp, gif, bmp; tif for all others."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "webp"
    for start, name in _STARTS.items():
        if encoded.startswith(start):
            return name
    return "tif"


def _shrunk(pixels: np.ndarray, max_side: int, stored_as: str) -> bytes:
    height, width = pixels.shape[:2]
    scale = max_side / max(height, width)
    size = tuple(max(1, round(side * scale)) for side in (width, height))
    image = PIL.Image.fromarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    file = io.BytesIO()
    # No subsampling of colours, and all of the picture: what a later crop enlarges was there.
    if stored_as == "jpg":
        image.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    else:
        image.save(file, "WEBP", quality=_QUALITY)
    return file.getvalue()
