"""From encoded bytes to RGB pixels: uint8 [H, W, 3].

One meaning, two ways. Pillow reads everything, and defines what comes out: the first frame of an
animation, transparency laid on white, grey and CMYK brought to RGB, 16 bits cut to 8; and then
turned upright as EXIF says (and XMP does not: as browsers show it). OpenCV reads the plain cases
(nearly all of a web data set) two to three times as fast and to the same pixels; `decode` looks
at the header to know which case it has, and how large the picture is before any memory is spent
on it.

What cannot be used is a `BadImage` of one of four faults. AVIF and HEIC are "unknown_image":
which of them can be read depends on how Pillow was built, and a data set must not.
"""

import io

import cv2
import numpy as np
import PIL.Image

from bigclip.data.image_headers import Header, exif_orientation, read_header

MAX_PIXELS = 89_478_485  # where Pillow, too, begins to suspect a decompression bomb
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
# EXIF's orientations from 2 on.
_TURNS = (
    PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    PIL.Image.Transpose.ROTATE_180,
    PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    PIL.Image.Transpose.TRANSPOSE,
    PIL.Image.Transpose.ROTATE_270,
    PIL.Image.Transpose.TRANSVERSE,
    PIL.Image.Transpose.ROTATE_90,
)
# In OpenCV a flag that reduces is that of grey plus, for colour, another one.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


class BadImage(ValueError):
    """The bytes are no picture that can be used.

    Attributes:
        fault: what is wrong, one of `bigclip.data.records.FAULTS`.
    """

    def __init__(self, fault: str, reason: str):
        super().__init__(reason)
        self.fault = fault


def decode(encoded: bytes, *, reduced: int = 1) -> np.ndarray:
    """Decode as fast as possible.

    Args:
        encoded: the file's content.
        reduced: 1, 2, 4 or 8; a pixel of the result stands for a square with sides of so many.
            More than 1 only where `reducible_size` is not None: libjpeg then computes fewer
            pixels to begin with.

    Returns:
        uint8 [ceil(H / reduced), ceil(W / reduced), 3], RGB.

    Raises:
        BadImage: if it is no picture, is cut off, or has more than `MAX_PIXELS` pixels.
    """
    header = _checked_header(encoded)
    if header is None or not header.is_plain:
        return np.asarray(open_rgb(encoded))
    flags = cv2.IMREAD_UNCHANGED
    if not header.has_alpha:
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[reduced]
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error as error:
        raise BadImage("broken_image", f"cannot be decoded: {error.err}") from None
    if pixels is None:
        raise BadImage(
            "broken_image", "cannot be decoded: its header is that of a picture, its data is not"
        )
    expected = -(-header.height // reduced), -(-header.width // reduced)
    if pixels.shape[:2] != expected:
        raise BadImage(
            "broken_image",
            f"says that it is {header.width} x {header.height} large, but its data is not",
        )
    if header.has_alpha:
        # OpenCV leaves the alpha away where a file only reserves it.
        if pixels.ndim == 3 and pixels.shape[2] == 4:
            return on_white(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA))
        return np.asarray(open_rgb(encoded))
    return _turned(pixels, header.orientation)


def reducible_size(encoded: bytes) -> tuple[int, int] | None:
    """Tell the width and height, upright, of a picture that `decode` can reduce; else None.

    Pixel (x, y) of the reduced picture is then the square from (n x, n y) of the whole one.

    Raises:
        BadImage: if the header says that the picture has no pixels, or more than `MAX_PIXELS`.
    """
    header = _checked_header(encoded)
    if header is None or header.kind != "jpeg" or not header.is_plain:
        return None
    # libjpeg's last squares may reach over the edge, which a turn would make the first ones.
    if header.orientation != 1 and (header.width % 8 or header.height % 8):
        return None
    return header.upright_size


def open_rgb(encoded: bytes) -> PIL.Image.Image:
    """Decode with Pillow, into mode RGB. Errors as `decode`."""
    _checked_header(encoded)
    try:
        image = PIL.Image.open(io.BytesIO(encoded), formats=_FORMATS)
        _check_size(*image.size)
        image.load()
        orientation = exif_orientation(image.info.get("exif", b""))
        image = to_rgb(image)
        return image.transpose(_TURNS[orientation - 2]) if orientation > 1 else image
    except BadImage:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise BadImage("huge_image", f"has more than {MAX_PIXELS:,} pixels: {error}") from None
    except PIL.UnidentifiedImageError:
        if _begins_like_a_picture(encoded):
            raise BadImage(
                "broken_image", "begins like a picture, but its header cannot be read"
            ) from None
        raise _unknown(encoded) from None
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


def check_header(encoded: bytes) -> None:
    """Look at what costs a few microseconds; decoding may still find more.

    Raises:
        BadImage: if it is empty, of no known format, or too large.
    """
    if _checked_header(encoded) is None and not _begins_like_a_picture(encoded):
        try:
            PIL.Image.open(io.BytesIO(encoded), formats=_FORMATS).close()
        except PIL.UnidentifiedImageError:
            raise _unknown(encoded) from None
        except Exception:  # as above; a known format, whose damage decoding will tell
            return


def _begins_like_a_picture(encoded: bytes) -> bool:
    return encoded.startswith(_SIGNATURES) or encoded[8:12] == b"WEBP"


def _unknown(encoded: bytes) -> BadImage:
    message = f"is no picture in any of {', '.join(_FORMATS)}; starts {encoded[:12]}"
    return BadImage("unknown_image", message)


def _checked_header(encoded: bytes) -> Header | None:
    if not encoded:
        raise BadImage("empty_image", "has no bytes")
    header = read_header(encoded)
    if header is not None:
        _check_size(header.width, header.height)
    return header


def _check_size(width: int, height: int):
    if width * height > MAX_PIXELS:
        raise BadImage("huge_image", f"has {width} x {height} pixels, more than {MAX_PIXELS:,}")
    if not width * height:
        raise BadImage("broken_image", f"has no pixels: {width} x {height}")


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply one of EXIF's orientations: 1 to 4 flip, 5 to 8 exchange the axes as well."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = cv2.transpose(pixels)
    # OpenCV's codes: up and down, left and right, both.
    code = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return pixels if code is None else cv2.flip(pixels, code)
