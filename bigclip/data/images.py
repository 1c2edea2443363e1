"""From encoded bytes to RGB pixels: uint8 [H, W, 3].

One meaning, two ways. Pillow reads everything, and defines what comes out: the first frame of an
animation, turned upright as EXIF says, transparency laid on white, grey and CMYK brought to RGB,
16 bits cut to 8. OpenCV reads the plain cases (nearly all of a web data set) two to three times
as fast and to the same pixels; `decode` looks at the header to know which case it has, and how
large the picture is before any memory is spent on it.
"""

import io
from typing import NamedTuple

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps

MAX_PIXELS = 89_478_485  # where Pillow, too, begins to suspect a decompression bomb
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


class BadImage(ValueError):
    """The bytes are no picture that can be used.

    Attributes:
        fault: what is wrong, one of `bigclip.data.records.FAULTS`.
    """

    def __init__(self, fault: str, reason: str):
        super().__init__(reason)
        self.fault = fault


def decode(encoded: bytes) -> np.ndarray:
    """Decode as fast as possible.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        BadImage: if it is no picture, is cut off, or has more than `MAX_PIXELS` pixels.
    """
    header = _sniff(encoded)
    if header is None:
        return np.asarray(open_rgb(encoded))
    _check_size(header.width, header.height)
    flags = cv2.IMREAD_UNCHANGED if header.has_alpha else cv2.IMREAD_COLOR_RGB
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error as error:
        raise BadImage("broken_image", f"cannot be decoded: {error.err}") from None
    if pixels is None:
        raise BadImage(
            "broken_image", "cannot be decoded: its header is that of a picture, its data is not"
        )
    if header.has_alpha:
        # OpenCV leaves the alpha away where a file only reserves it.
        if pixels.ndim == 3 and pixels.shape[2] == 4:
            return on_white(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA))
        return np.asarray(open_rgb(encoded))
    return pixels


def open_rgb(encoded: bytes) -> PIL.Image.Image:
    """Decode with Pillow, into mode RGB. Errors as `decode`."""
    try:
        image = PIL.Image.open(io.BytesIO(encoded), formats=_FORMATS)
        _check_size(*image.size)
        return to_rgb(PIL.ImageOps.exif_transpose(image))
    except BadImage:
        raise
    except PIL.UnidentifiedImageError:
        start = encoded[:12]
        raise BadImage(
            "unknown_image", f"is no picture in any of {', '.join(_FORMATS)}; starts {start}"
        ) from None
    except Exception as error:  # Pillow's readers raise nearly anything on broken data
        raise BadImage(
            "broken_image", f"cannot be decoded: {type(error).__name__}: {error}"
        ) from None


def to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Bring any mode of Pillow to RGB; transparency becomes white, 16 bits become 8."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if image.mode.startswith("I"):
            values = values.astype(np.int64) >> 8
        grey = np.clip(values, 0, 255).astype(np.uint8)
        return PIL.Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        return PIL.Image.fromarray(on_white(np.asarray(image.convert("RGBA"))))
    return image.convert("RGB")


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Lay a picture with straight alpha, uint8 [H, W, 4], on white: uint8 [H, W, 3]."""
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    # 255 - a (255 - x) / 255, rounded; t + (t >> 8) >> 8 is the exact division of 16 bits.
    shade = (255 - rgba[..., :3]).astype(np.uint16) * alpha + 128
    return 255 - ((shade + (shade >> 8)) >> 8).astype(np.uint8)


def _check_size(width: int, height: int):
    if width * height > MAX_PIXELS:
        raise BadImage("huge_image", f"has {width} x {height} pixels, more than {MAX_PIXELS:,}")
    if not width * height:
        raise BadImage("broken_image", f"has no pixels: {width} x {height}")


class _Header(NamedTuple):
    width: int
    height: int
    has_alpha: bool


def _sniff(encoded: bytes) -> _Header | None:
    """Read the size from the header of a picture that OpenCV reads as Pillow does; else None."""
    if encoded[:3] == b"\xff\xd8\xff":
        return _sniff_jpeg(encoded)
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return _sniff_webp(encoded)
    if encoded[:8] == b"\x89PNG\r\n\x1a\n":
        return _sniff_png(encoded)
    return None


def _sniff_jpeg(encoded: bytes) -> _Header | None:
    position = 2
    while position + 9 < len(encoded) and encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = int.from_bytes(encoded[position + 2 : position + 4], "big")
        # Baseline, extended and progressive frames; the others are rare and left to Pillow.
        if marker in (0xC0, 0xC1, 0xC2):
            height = int.from_bytes(encoded[position + 5 : position + 7], "big")
            width = int.from_bytes(encoded[position + 7 : position + 9], "big")
            # Four components are CMYK, which the two libraries bring to RGB differently.
            return _Header(width, height, False) if encoded[position + 9] in (1, 3) else None
        if marker == 0xDA or length < 2:
            return None
        position += 2 + length
    return None


def _sniff_webp(encoded: bytes) -> _Header | None:
    if len(encoded) < 30:
        return None
    kind = encoded[12:16]
    if kind == b"VP8 ":
        width = int.from_bytes(encoded[26:28], "little") & 0x3FFF
        return _Header(width, int.from_bytes(encoded[28:30], "little") & 0x3FFF, False)
    if kind == b"VP8L":
        bits = int.from_bytes(encoded[21:25], "little")
        return _Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1))
    if kind == b"VP8X":
        flags = encoded[20]
        if flags & 0x0A:  # an animation, or EXIF with perhaps an orientation
            return None
        width = int.from_bytes(encoded[24:27], "little") + 1
        return _Header(width, int.from_bytes(encoded[27:30], "little") + 1, bool(flags & 0x10))
    return None


def _sniff_png(encoded: bytes) -> _Header | None:
    width = int.from_bytes(encoded[16:20], "big")
    height = int.from_bytes(encoded[20:24], "big")
    if len(encoded) < 33 or encoded[24] != 8 or encoded[25] not in (0, 2, 3, 6):
        return None
    position = 33
    while encoded[position + 4 : position + 8] not in (b"IDAT", b""):
        if encoded[position + 4 : position + 8] in (b"tRNS", b"eXIf", b"acTL"):
            return None
        position += 12 + int.from_bytes(encoded[position : position + 4], "big")
    return _Header(width, height, encoded[25] == 6)
