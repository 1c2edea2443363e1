"""Small pictures in every format that is read."""

import struct
import zlib

import numpy as np
import PIL.Image


def picture(mode="RGB", size=(37, 23)):
    """A smooth picture with every kind of edge; smooth, so that JPEG keeps it nearly."""
    y, x = np.mgrid[: size[1], : size[0]]
    channels = [(x * 5 + y * 2) % 256, (x * 2 + y * 7) % 256, 255 - (x * 3) % 256, (y * 11) % 256]
    pixels = np.stack(channels, -1).astype(np.uint8)
    if mode == "RGB":
        return PIL.Image.fromarray(pixels[..., :3])
    if mode == "RGBA":
        return PIL.Image.fromarray(pixels)
    return PIL.Image.fromarray(pixels[..., :3]).convert(mode)


def orientation(value):
    exif = PIL.Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


CASES = {
    "jpg": ("RGB", "jpg", {}),
    "jpg progressive": ("RGB", "jpg", {"progressive": True, "quality": 95}),
    "jpg grey": ("L", "jpg", {}),
    "jpg cmyk": ("CMYK", "jpg", {}),
    "png": ("RGB", "png", {}),
    "png grey": ("L", "png", {}),
    "png bilevel": ("1", "png", {}),
    "png palette": ("P", "png", {}),
    "png palette transparent": ("P", "png", {"transparency": 3}),
    "png rgb transparent": ("RGB", "png", {"transparency": (5, 2, 252)}),
    "png grey alpha": ("LA", "png", {}),
    "png alpha": ("RGBA", "png", {}),
    "webp": ("RGB", "webp", {}),
    "webp lossless": ("RGB", "webp", {"lossless": True}),
    "webp alpha": ("RGBA", "webp", {}),
    "webp lossless alpha": ("RGBA", "webp", {"lossless": True}),
    "gif": ("P", "gif", {}),
    "bmp": ("RGB", "bmp", {}),
    **{f"jpg turned {v}": ("RGB", "jpg", {"exif": orientation(v)}) for v in range(1, 9)},
    **{f"webp turned {v}": ("RGB", "webp", {"exif": orientation(v)}) for v in range(1, 9)},
    **{f"png turned {v}": ("RGB", "png", {"exif": orientation(v)}) for v in range(1, 9)},
    "jpg grey turned": ("L", "jpg", {"exif": orientation(5)}),
    "jpg cmyk turned": ("CMYK", "jpg", {"exif": orientation(8)}),
    "jpg whole colours": ("RGB", "jpg", {"subsampling": 0}),
    "jpg comment": ("RGB", "jpg", {"comment": "a" * 999}),
    "png palette alphas": ("P", "png", {"transparency": bytes(range(256))}),
    "png grey transparent": ("L", "png", {"transparency": 90}),
    "gif transparent": ("P", "gif", {"transparency": 3}),
    "tiff": ("RGB", "tiff", {}),
    "tiff alpha": ("RGBA", "tiff", {}),
}


def png(*chunks):
    """Put a PNG together from (name, content)."""
    encoded = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        named = name.encode() + content
        encoded += struct.pack(">I", len(content)) + named + struct.pack(">I", zlib.crc32(named))
    return encoded
