"""Decoding: OpenCV's shortcut must see what Pillow sees, and nothing may crash."""

import io
import struct
import zlib

import hypothesis
import hypothesis.strategies as st
import numpy as np
import PIL.Image
import pytest

from bigclip.data import images


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
    "webp turned": ("RGB", "webp", {"exif": orientation(6)}),
    "png turned": ("RGB", "png", {"exif": orientation(6)}),
}


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


def test_turns_pictures_upright(picture_encoder):
    upright = np.asarray(picture())
    encoded = picture_encoder(upright, "jpg", quality=100, subsampling=0, exif=orientation(6))
    # Orientation 6: shown after a quarter turn to the right (k=-1).
    expected = np.rot90(upright, -1)
    assert np.abs(images.decode(encoded).astype(int) - expected).mean() < 2


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


@pytest.mark.parametrize("extension", ["gif", "webp", "png"])
def test_takes_the_first_frame(extension):
    frames = [PIL.Image.new("RGB", (9, 7), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, extension.upper(), save_all=True, append_images=frames[1:])
    decoded = images.decode(file.getvalue())
    assert decoded.shape == (7, 9, 3)
    # Lossy WebP does not keep red exactly.
    assert np.abs(decoded.astype(int) - [255, 0, 0]).max() <= 3


def png_of_size(width, height):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


@pytest.mark.parametrize("read", [images.decode, images.open_rgb])
@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (2**31 - 1, 1), (0, 5)])
def test_refuses_bombs_before_they_go_off(read, width, height):
    with pytest.raises(images.BadImage):
        read(png_of_size(width, height))


def test_refuses_large_bitmaps_of_other_formats(monkeypatch, picture_encoder):
    monkeypatch.setattr(images, "MAX_PIXELS", 37 * 23 - 1)
    for extension in ("gif", "bmp", "webp", "jpg"):
        with pytest.raises(images.BadImage, match="37 x 23 pixels, more than 850"):
            images.decode(picture_encoder(picture(), extension))


@pytest.mark.parametrize("read", [images.decode, images.open_rgb])
@pytest.mark.parametrize("extension", ["jpg", "png", "webp"])
def test_a_cut_off_picture_is_bad(read, extension, picture_encoder):
    encoded = picture_encoder(picture(size=(64, 64)), extension)
    with pytest.raises(images.BadImage):
        read(encoded[: len(encoded) // 2])


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\0" * 100, b"\xff\xd8\xff"])
def test_what_is_no_picture_is_bad(content):
    for read in (images.decode, images.open_rgb):
        with pytest.raises(images.BadImage):
            read(content)


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=300, deadline=None)
def test_damage_never_raises_anything_else(data):
    case = data.draw(st.sampled_from(sorted(CASES)))
    mode, extension, options = CASES[case]
    file = io.BytesIO()
    picture(mode).save(file, {"jpg": "JPEG"}.get(extension, extension.upper()), **options)
    damaged = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, max(0, len(damaged) - 1)))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        decoded = images.decode(bytes(damaged))
    except images.BadImage:
        return
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3
    assert decoded.shape[2] == 3


@hypothesis.given(
    start=st.sampled_from(
        [b"", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n", b"GIF89a"]
    ),
    rest=st.binary(max_size=300),
)
@hypothesis.settings(max_examples=300, deadline=None)
def test_random_bytes_are_bad_pictures(start, rest):
    try:
        images.decode(start + rest)
    except images.BadImage:
        return
