"""What the first bytes of a picture tell, without decoding it."""

from typing import NamedTuple

_ORIENTATION = 0x0112  # a tag of TIFF's, and so of EXIF's
_SHORT = 3  # TIFF's 16-bit unsigned integer


class Header(NamedTuple):
    """What a JPEG, PNG or WebP file says about itself."""

    kind: str  # "jpeg", "png" or "webp"
    width: int  # as stored, before the turn
    height: int
    is_plain: bool = True  # OpenCV decodes it to the pixels that Pillow decodes it to
    has_alpha: bool = False
    orientation: int = 1  # EXIF's; only of a JPEG

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height after the turn that the orientation asks for."""
        if self.orientation >= 5:
            return self.height, self.width
        return self.width, self.height


def read_header(encoded: bytes) -> Header | None:
    """Read the header of a JPEG, PNG or WebP file.

    Returns:
        None for other formats, and where the header cannot be made out.
    """
    if encoded[:3] == b"\xff\xd8\xff":
        return _jpeg(encoded)
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return _webp(encoded)
    if encoded[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(encoded)
    return None


def exif_orientation(exif: bytes) -> int:
    """Read the orientation out of EXIF data: 1 to 8, where 1, upright, stands for none as well.

    Args:
        exif: a TIFF header with its first directory, with or without "Exif" before it.
    """
    tiff = exif[6:] if exif[:4] == b"Exif" else exif
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1
    start = int.from_bytes(tiff[4:8], order)
    for entry in range(int.from_bytes(tiff[start : start + 2], order)):
        at = start + 2 + 12 * entry
        if at + 12 > len(tiff):
            break
        tag, type_ = (int.from_bytes(tiff[i : i + 2], order) for i in (at, at + 2))
        if tag == _ORIENTATION and type_ == _SHORT:
            value = int.from_bytes(tiff[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _jpeg(encoded: bytes) -> Header | None:
    header, position, orientation = None, 2, None
    while position + 9 < len(encoded) and encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = int.from_bytes(encoded[position + 2 : position + 4], "big")
        # Frames of all kinds; in between are tables of Huffman and arithmetic codes.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, components = encoded[position + 4], encoded[position + 9]
            header = Header(
                "jpeg",
                width=int.from_bytes(encoded[position + 7 : position + 9], "big"),
                height=int.from_bytes(encoded[position + 5 : position + 7], "big"),
                # Baseline, extended and progressive frames; the others are rare. Four
                # components are CMYK, which the two libraries bring to RGB differently.
                is_plain=marker <= 0xC2 and precision == 8 and components in (1, 3),
            )
        elif marker == 0xE1 and orientation is None:
            content = encoded[position + 4 : position + 2 + length]
            if content[:6] == b"Exif\0\0":
                orientation = exif_orientation(content)
        elif marker == 0xDA:
            return header and header._replace(orientation=orientation or 1)
        if length < 2:
            return None
        position += 2 + length
    return None


def _webp(encoded: bytes) -> Header | None:
    if len(encoded) < 32:  # OpenCV refuses the smallest of all pictures
        return None
    kind = encoded[12:16]
    if kind == b"VP8 ":
        width = int.from_bytes(encoded[26:28], "little") & 0x3FFF
        return Header("webp", width, int.from_bytes(encoded[28:30], "little") & 0x3FFF)
    if kind == b"VP8L":
        bits = int.from_bytes(encoded[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        return Header("webp", width, height, has_alpha=bool(bits >> 28 & 1))
    if kind == b"VP8X":
        flags = encoded[20]
        return Header(
            "webp",
            width=int.from_bytes(encoded[24:27], "little") + 1,
            height=int.from_bytes(encoded[27:30], "little") + 1,
            is_plain=not flags & 0x0A,  # no animation, and no EXIF with perhaps an orientation
            has_alpha=bool(flags & 0x10),
        )
    return None


def _png(encoded: bytes) -> Header | None:
    if len(encoded) < 33:
        return None
    width = int.from_bytes(encoded[16:20], "big")
    height = int.from_bytes(encoded[20:24], "big")
    depth, colours = encoded[24], encoded[25]
    is_plain = depth == 8 and colours in (0, 2, 3, 6)
    # To the end: an orientation may come after the pixels, and of a file that is cut off, or in
    # disorder, libpng would write a line to the standard error.
    position, name = 33, b"IHDR"
    while name and name != b"IEND":
        length = int.from_bytes(encoded[position : position + 4], "big")
        name = encoded[position + 4 : position + 8]
        is_plain = is_plain and name not in (b"tRNS", b"acTL", b"eXIf")
        position += 12 + length
    is_plain = is_plain and position <= len(encoded)
    return Header("png", width, height, is_plain, has_alpha=colours == 6)
