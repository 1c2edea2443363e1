"""Decoding: what each kind of picture is, and that OpenCV's shortcut sees what Pillow sees."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from pictures import CASES, orientation, picture, png

from bigclip.data import images
from bigclip.data.image_headers import exif_orientation, read_header


@pytest.mark.parametrize("case", CASES)
def test_both_ways_see_the_same(case, picture_encoder):
    mode, extension, options = CASES[case]
    encoded = picture_encoder(picture(mode), extension, **options)
    fast = images.decode(encoded)
    slow = np.asarray(images.open_rgb(encoded))
    assert fast.dtype == np.uint8
    assert fast.shape == slow.shape
    assert fast.flags.c_contiguous
    # One grey level: the libraries carry their own builds of libjpeg and libwebp.
    assert np.abs(fast.astype(int) - slow).max() <= 1


# What the numbers mean (EXIF 2.3, section 4.6.4): where the stored rows and columns are shown.
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("extension", ["jpg", "webp", "png"])
@pytest.mark.parametrize("value", UPRIGHT)
def test_turns_pictures_upright(value, extension, picture_encoder):
    stored = np.asarray(picture())
    quality = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}
    encoded = picture_encoder(
        stored, extension, exif=orientation(value), **quality.get(extension, {})
    )
    for read in (images.decode, images.open_rgb):
        found = np.asarray(read(encoded)).astype(int)
        expected = UPRIGHT[value](stored)
        assert found.shape == expected.shape
        # JPEG's colours are rounded.
        assert np.abs(found - expected).mean() < (1 if extension == "jpg" else 1e-9)


def exif_segment(content, base):
    """Put EXIF data into a JPEG."""
    body = b"Exif\0\0" + content
    return base[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + base[2:]


def tiff(entry, order="<", count=1):
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "IH", 8, count) + entry


SIX = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)


@pytest.mark.parametrize(("exif", "value"), [
    (tiff(SIX), 6),
    (tiff(struct.pack(">HHIHH", 0x0112, 3, 1, 8, 0), ">"), 8),
    (tiff(struct.pack("<HHII", 0x010F, 2, 4, 0) + SIX, count=2), 6),
    # Broken or unknown is upright.
    (b"", 1), (b"garbage", 1), (b"II*\0", 1), (tiff(b""), 1), (tiff(SIX[:7]), 1),
    (tiff(SIX, count=0), 1), (b"II*\0\xff\xff\xff\xff" + SIX, 1),
    (tiff(struct.pack("<HHIHH", 0x0112, 3, 1, 9, 0)), 1),
    (tiff(struct.pack("<HHIHH", 0x0112, 3, 1, 0, 0)), 1),
    (tiff(struct.pack("<HHII", 0x0112, 2, 0x7FFFFFFF, 6)), 1),  # a text, they say
])  # fmt: skip
def test_broken_exif_is_no_reason_to_lose_a_picture(exif, value, picture_encoder):
    assert exif_orientation(exif) == value
    assert exif_orientation(b"Exif\0\0" + exif) == value
    encoded = exif_segment(exif, picture_encoder(picture(), "jpg"))
    fast, slow = images.decode(encoded), np.asarray(images.open_rgb(encoded))
    assert (fast == slow).all()
    assert fast.shape[:2] == ((37, 23) if value >= 5 else (23, 37))
    assert read_header(encoded).upright_size == fast.shape[1::-1]


def test_xmp_does_not_turn(picture_encoder):
    plain = picture_encoder(picture(), "jpg")
    body = b"http://ns.adobe.com/xap/1.0/\0<x xmlns:tiff='t' tiff:Orientation='6'/>"
    encoded = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]
    for read in (images.decode, images.open_rgb):
        assert (np.asarray(read(encoded)) == images.decode(plain)).all()


@pytest.mark.parametrize("reduced", [1, 2, 4, 8])
@pytest.mark.parametrize(("value", "size"), [(1, (37, 23)), (1, (64, 40)), (6, (64, 40))])
def test_reduces_by_squares(reduced, value, size, picture_encoder):
    y, x = np.mgrid[: size[1], : size[0]]
    smooth = np.stack([x * 3, y * 5, 100 + x], -1).astype(np.uint8)
    encoded = picture_encoder(smooth, "jpg", quality=100, subsampling=0, exif=orientation(value))
    assert images.reducible_size(encoded) == (size if value == 1 else size[::-1])
    found = images.decode(encoded, reduced=reduced).astype(float)
    height, width = (s // reduced * reduced for s in size[::-1])
    squares = smooth[:height, :width].astype(float)
    squares = squares.reshape(height // reduced, reduced, width // reduced, reduced, 3)
    expected = UPRIGHT[value](squares.mean((1, 3)))
    assert np.abs(found[: expected.shape[0], : expected.shape[1]] - expected).max() < 4


def test_only_jpegs_of_whole_squares_are_reducible(picture_encoder):
    assert images.reducible_size(picture_encoder(picture(), "png")) is None
    assert images.reducible_size(picture_encoder(picture("CMYK"), "jpg")) is None
    turned = picture_encoder(picture(), "jpg", exif=orientation(6))  # 37 x 23
    assert images.reducible_size(turned) is None
    assert images.reducible_size(b"no picture") is None
    with pytest.raises(images.BadImage) as caught:
        images.reducible_size(b"")
    assert caught.value.fault == "empty_image"


def test_transparency_becomes_white():
    rgba = np.zeros((256, 256, 4), np.uint8)
    rgba[..., :3] = np.arange(256)[:, None, None]
    rgba[..., 3] = np.arange(256)[None, :]
    alpha = rgba[..., 3:] / 255.0
    expected = np.round(rgba[..., :3] * alpha + 255 * (1 - alpha))
    # All 65,536 pairs of value and alpha; a tie may be rounded either way.
    assert np.abs(images.on_white(rgba) - expected).max() <= 1
    assert (images.on_white(rgba) == expected).mean() > 0.999


def test_sixteen_bits_become_eight(tmp_path):
    values = (np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16)
    file = io.BytesIO()
    PIL.Image.fromarray(values).save(file, "PNG")
    decoded = images.decode(file.getvalue())
    assert decoded.shape == (64, 64, 3)
    assert (decoded == (values >> 8)[..., None]).all()


def test_sixteen_bits_of_every_colour_become_eight():
    values = np.random.default_rng(0).integers(0, 2**16, (5, 7, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)
    encoded = png(("IHDR", header), ("IDAT", zlib.compress(rows)), ("IEND", b""))
    assert (images.decode(encoded) == values >> 8).all()


@pytest.mark.parametrize("read", [images.decode, images.open_rgb])
@pytest.mark.parametrize(("transform", "inks", "expected"), [
    (0, (0, 0, 0, 0), (255, 255, 255)),
    (0, (0, 255, 255, 0), (255, 0, 0)),
    # YCCK: the inverted inks, (255, 255, 255) and (255, 0, 0), are themselves the inverse of
    # what Y, Cb, Cr give: black (0, 128, 128) and cyan (179, 171, 1).
    (2, (255, 127, 127, 0), (255, 255, 255)),
    (2, (76, 84, 254, 0), (255, 0, 0)),
])  # fmt: skip
def test_cmyk_and_ycck_are_inverted_as_adobe_does(read, transform, inks, expected, picture_encoder):
    # Pillow writes what inks leave, 255 - x, and Adobe's marker with transform 0.
    encoded = picture_encoder(PIL.Image.new("CMYK", (16, 16), inks), "jpg", quality=98)
    at = encoded.index(b"Adobe") + 11
    assert encoded[at] == 0
    found = np.asarray(read(encoded[:at] + bytes([transform]) + encoded[at + 1 :])).astype(int)
    assert np.abs(found - expected).max() <= 3


@pytest.mark.parametrize("extension", ["gif", "webp", "png"])
def test_takes_the_first_frame(extension):
    frames = [PIL.Image.new("RGB", (9, 7), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, extension.upper(), save_all=True, append_images=frames[1:])
    decoded = images.decode(file.getvalue())
    assert decoded.shape == (7, 9, 3)
    # Lossy WebP does not keep red exactly.
    assert np.abs(decoded.astype(int) - [255, 0, 0]).max() <= 3
