"""Broken, hostile and mistaken pictures: each has its fault, and nothing may crash."""

import io
import struct
import zlib

import hypothesis
import hypothesis.strategies as st
import numpy as np
import PIL.features
import PIL.Image
import pytest
from pictures import CASES, picture, png

from bigclip.data import images
from bigclip.data.augment import Augmenter
from bigclip.data.image_headers import exif_orientation
from bigclip.data.preprocess import Preprocess
from bigclip.data.records import FAULTS


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
