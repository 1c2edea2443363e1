"""Decoding: OpenCV's shortcut must see what Pillow sees, and nothing may crash."""

import io
import struct
import zlib

import hypothesis
import hypothesis.strategies as st
import numpy as np
import PIL.features
import PIL.Image
import pytest

from bigclip.data import images
from bigclip.data.augment import Augmenter
from bigclip.data.image_headers import exif_orientation, read_header
from bigclip.data.preprocess import Preprocess
from bigclip.data.records import FAULTS


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


def png(*chunks):
    """Put a PNG together from (name, content)."""
    encoded = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        named = name.encode() + content
        encoded += struct.pack(">I", len(content)) + named + struct.pack(">I", zlib.crc32(named))
    return encoded


def png_of_size(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png(("IHDR", header), ("IDAT", zlib.compress(b"\0")), ("IEND", b""))


def jpeg_of_size(width, height):
    file = io.BytesIO()
    picture().save(file, "JPEG")
    encoded = file.getvalue()
    at = encoded.index(b"\xff\xc0") + 5
    return encoded[:at] + struct.pack(">HH", height, width) + encoded[at + 4 :]


def animated_webp_of_size(width, height):
    frames = [PIL.Image.new("RGB", (9, 7), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    encoded = file.getvalue()
    assert encoded[12:16] == b"VP8X"
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return encoded[:24] + sides + encoded[30:]


def gif_of_size(width, height):
    file = io.BytesIO()
    picture("P").save(file, "GIF")
    encoded = file.getvalue()
    return encoded[:6] + struct.pack("<HH", width, height) + encoded[10:]


BOMBS = {
    "png": (png_of_size, 20_000, 20_000),
    "png, one row": (png_of_size, 2**31 - 1, 1),
    "jpeg": (jpeg_of_size, 65_000, 65_000),
    "webp": (animated_webp_of_size, 2**24, 2**24),
    "gif": (gif_of_size, 60_000, 60_000),
    "gif, less": (gif_of_size, 12_000, 12_000),
}


@pytest.mark.parametrize("read", [images.decode, images.open_rgb])
@pytest.mark.parametrize("bomb", BOMBS)
def test_refuses_bombs_before_they_go_off(read, bomb, recwarn):
    make, width, height = BOMBS[bomb]
    with pytest.raises(images.BadImage) as caught:
        read(make(width, height))
    assert caught.value.fault == "huge_image"


@pytest.mark.parametrize("read", [images.decode, images.open_rgb])
@pytest.mark.parametrize("make", [png_of_size, jpeg_of_size])
def test_a_picture_without_pixels_is_broken(read, make):
    with pytest.raises(images.BadImage, match="no pixels") as caught:
        read(make(0, 5))
    assert caught.value.fault == "broken_image"


@pytest.mark.parametrize("height", [8, 230])
def test_a_jpeg_of_another_height_is_what_libjpeg_makes_of_it(height):
    # libjpeg only warns, and paints grey what is missing; neither library tells of warnings.
    encoded = jpeg_of_size(37, height)
    fast = images.decode(encoded)
    assert fast.shape == (height, 37, 3)
    assert (fast == np.asarray(images.open_rgb(encoded))).all()


def test_refuses_large_bitmaps_of_other_formats(monkeypatch, picture_encoder):
    monkeypatch.setattr(images, "MAX_PIXELS", 37 * 23 - 1)
    for extension in ("gif", "bmp", "webp", "jpg", "tiff"):
        with pytest.raises(images.BadImage, match="37 x 23 pixels, more than 850"):
            images.decode(picture_encoder(picture(), extension))


@pytest.mark.parametrize("read", [images.decode, images.open_rgb])
@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "gif", "bmp"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_off_picture_is_broken(read, extension, share, picture_encoder, capfd):
    encoded = picture_encoder(picture(size=(64, 64)), extension)
    with pytest.raises(images.BadImage) as caught:
        read(encoded[: int(len(encoded) * share)])
    assert caught.value.fault == "broken_image"
    # A web data set has many of them: no library may write a line about each.
    assert capfd.readouterr().err == ""


def test_a_png_that_lacks_its_last_mark_alone_is_whole(picture_encoder):
    encoded = picture_encoder(picture(), "png")
    assert (images.decode(encoded[:-12]) == images.decode(encoded)).all()


def test_junk_after_the_end_does_no_harm(picture_encoder):
    for extension in ("jpg", "png", "gif"):
        encoded = picture_encoder(picture(), extension)
        assert (images.decode(encoded + b"junk" * 100) == images.decode(encoded)).all()


@pytest.mark.parametrize("read", [images.decode, images.open_rgb])
@pytest.mark.parametrize(("content", "fault"), [
    (b"", "empty_image"),
    (b"<!DOCTYPE html><html>not found</html>", "unknown_image"),
    (b"404: not found", "unknown_image"),
    (b"\0" * 100, "unknown_image"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unknown_image"),
    (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf" + b"\0" * 99, "unknown_image"),
    (b"\0\0\0\x20ftypheic\0\0\0\0mif1heic" + b"\0" * 99, "unknown_image"),
    (b"\xff\xd8\xff", "broken_image"),
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "broken_image"),
    (b"RIFF\0\0\0\0WEBPVP8 " + b"\x10\0" * 50, "broken_image"),
    (b"GIF89a", "broken_image"),
])  # fmt: skip
def test_what_is_no_picture_is_told_by_its_fault(read, content, fault):
    with pytest.raises(images.BadImage) as caught:
        read(content)
    assert caught.value.fault == fault
    assert fault in FAULTS


def test_avif_is_unknown_however_pillow_was_built(picture_encoder):
    if not PIL.features.check("avif"):
        pytest.skip("this Pillow cannot write AVIF")
    with pytest.raises(images.BadImage) as caught:
        images.decode(picture_encoder(picture(), "avif"))
    assert caught.value.fault == "unknown_image"


def outcome(read, encoded):
    """Pixels, or None for a bad picture; everything else goes wrong."""
    try:
        pixels = np.asarray(read(encoded))
    except images.BadImage as error:
        return None if error.fault in FAULTS else pytest.fail(error.fault)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    return pixels


def damaged(data):
    """Encode a picture, then flip, cut out and put in bytes, and cut off the end."""
    mode, extension, options = CASES[data.draw(st.sampled_from(sorted(CASES)))]
    file = io.BytesIO()
    picture(mode).save(file, {"jpg": "JPEG"}.get(extension, extension.upper()), **options)
    content = bytearray(file.getvalue())
    # Half of the damage strikes the headers, where the pictures' sizes stand.
    places = st.one_of(st.integers(0, 60), st.integers(0, len(content) - 1))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(places)
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    return bytes(content)


def nearly_equal(fast, slow):
    return fast.shape == slow.shape and np.abs(fast.astype(int) - slow).max(initial=0) <= 1


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=400, deadline=None)
def test_damage_is_a_picture_or_a_bad_image(data):
    encoded = damaged(data)
    outcome(images.decode, encoded)
    outcome(images.open_rgb, encoded)
    for resize in ("squash", "crop", "pad"):
        outcome(Preprocess(size=4, resize=resize), encoded)
    outcome(lambda content: Augmenter(Preprocess(size=4))(content, None), encoded)


START = [
    b"",
    b"\xff\xd8\xff",
    b"RIFF\0\0\0\0WEBP",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"BM",
    b"II*\0",
]


@hypothesis.given(start=st.sampled_from(START), rest=st.binary(max_size=300))
@hypothesis.settings(max_examples=400, deadline=None)
def test_random_bytes_are_a_picture_or_a_bad_image(start, rest):
    outcome(images.decode, start + rest)
    outcome(Preprocess(size=4), start + rest)
    exif_orientation(rest)


@hypothesis.given(
    case=st.sampled_from(sorted(CASES)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
@hypothesis.settings(max_examples=200, deadline=None)
def test_intact_pictures_look_the_same_both_ways(case, size, seed):
    mode, extension, options = CASES[case]
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 4), np.uint8)
    image = PIL.Image.fromarray(noise)
    file = io.BytesIO()
    image = image if mode == "RGBA" else image.convert("RGB").convert(mode)
    image.save(file, {"jpg": "JPEG"}.get(extension, extension.upper()), **options)
    fast, slow = (outcome(read, file.getvalue()) for read in (images.decode, images.open_rgb))
    assert nearly_equal(fast, slow)
