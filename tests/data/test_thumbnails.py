"""Small copies for pages: upright, small, and nothing but pixels."""

import base64
import io

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigclip.data.images import BadImage
from bigclip.data.thumbnails import as_webp, data_uri, smaller


def photograph(width, height, *, orientation=1):
    """Left half red, right half blue, as the camera held it; with a description."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0], pixels[:, width // 2 :, 2] = 250, 250
    file = io.BytesIO()
    image = PIL.Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112], exif[0x010E] = orientation, "where I live"
    image.save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def opened(webp):
    image = PIL.Image.open(io.BytesIO(webp))
    assert image.format == "WEBP"
    assert not image.getexif()
    return np.asarray(image.convert("RGB")).astype(int)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 200), st.integers(2, 200), st.integers(1, 64))
def test_no_side_is_longer_than_asked_and_the_proportions_stay(width, height, side):
    copy = opened(smaller(photograph(width, height), side))
    scale = min(side / max(width, height), 1)
    assert max(copy.shape[:2]) == round(max(width, height) * scale)
    assert abs(copy.shape[0] - height * scale) <= 1
    assert abs(copy.shape[1] - width * scale) <= 1


@pytest.mark.parametrize("size", [(40, 24), (640, 384)])
def test_turned_photographs_stand_upright_and_lose_their_notes(size):
    encoded = photograph(*size, orientation=6)  # the camera was turned: left is up
    assert b"where I live" in encoded
    webp = smaller(encoded, 40)
    assert b"where I live" not in webp
    copy = opened(webp)
    assert copy.shape == (40, 24, 3)
    assert (copy[5, 12, 0] > 200, copy[5, 12, 2] < 50) == (True, True)
    assert (copy[35, 12, 2] > 200, copy[35, 12, 0] < 50) == (True, True)


def test_small_drawings_keep_every_pixel_where_asked():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    exact = smaller(file.getvalue(), 30, lossless_pixels=600)
    np.testing.assert_array_equal(opened(exact), pixels)
    np.testing.assert_array_equal(opened(as_webp(pixels)), pixels)
    assert len(smaller(file.getvalue(), 30, lossless_pixels=599)) < len(exact)


def test_an_address_holds_the_picture():
    webp = as_webp(np.zeros((4, 5, 3), np.uint8))
    prefix, _, data = data_uri(webp).partition(",")
    assert (prefix, base64.b64decode(data)) == ("data:image/webp;base64", webp)


def test_what_is_no_picture_is_told():
    with pytest.raises(BadImage):
        smaller(b"no picture", 40)
