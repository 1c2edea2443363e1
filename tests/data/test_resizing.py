"""The resize of training: as close to Pillow's filters as an area average is, and exact cuts."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest

from bigclip.data import images
from bigclip.data.augment import Augmenter
from bigclip.data.crops import Cropper
from bigclip.data.preprocess import Preprocess
from bigclip.data.resizing import INTERPOLATIONS, reduction, resize


def natural(width, height, seed=0):
    """Noise whose power falls as in photographs, with hard edges of a few shapes laid over."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(3, height, width))) / frequency**1.3
    texture = np.fft.ifft2(spectrum).real
    texture /= texture.std((1, 2), keepdims=True)
    pixels = np.ascontiguousarray((125 + 35 * texture).transpose(1, 2, 0).clip(0, 255), np.uint8)
    for _ in range(6):
        corner = tuple(int(x) for x in rng.integers(0, (width, height)))
        cv2.circle(pixels, corner, width // 8, rng.integers(0, 256, 3).tolist(), -1)
    return pixels


def bicubic(pixels, size):
    image = PIL.Image.fromarray(pixels)
    return np.asarray(image.resize(size, PIL.Image.Resampling.BICUBIC)).astype(int)


def mean_difference(found, expected):
    return np.abs(found.astype(int) - expected).mean()


# Of 96 x 96: shrinks of 1.04 to 2.2, alike and unlike; those of a 500 x 375 picture to 224 are
# the last.
@pytest.mark.parametrize(
    ("width", "height"), [(100, 100), (120, 120), (150, 150), (180, 180), (120, 200), (214, 161)]
)
def test_area_is_about_as_close_to_a_bicubic_as_opencvs(width, height):
    size = 96, 96
    found, plain, aliased = [], [], []
    for seed in range(4):
        pixels = natural(width, height, seed)
        expected = bicubic(pixels, size)
        found.append(mean_difference(resize(pixels, size), expected))
        area = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        plain.append(mean_difference(area, expected))
        linear = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        aliased.append(mean_difference(linear, expected))
    # On photographs it is 0.6 to 1.1 of the area average's, by the shrink.
    assert np.mean(found) < 1.1 * np.mean(plain)
    if max(width, height) > 150:
        assert np.mean(found) < 0.6 * np.mean(aliased)


@pytest.mark.parametrize("side", [150, 180, 192, 240, 300, 700])
def test_area_does_not_alias(side):
    # Stripes finer than the result can hold must become grey, whatever their phase.
    stripes = np.zeros((side, side, 3), np.uint8)
    stripes[:, ::2] = 255
    found = resize(stripes, (96, 96))[:, 2:-2].astype(int)
    linear = cv2.resize(stripes, (96, 96), interpolation=cv2.INTER_LINEAR)[:, 2:-2].astype(int)
    area = cv2.resize(stripes, (96, 96), interpolation=cv2.INTER_AREA)[:, 2:-2].astype(int)
    # Not quite: an average over two or three stripes keeps a part of the last one.
    assert found.std() <= max(area.std(), 0.5 * linear.std()) + 1


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (50, 20), (32, 32), (33, 100), (64, 64)])
def test_keeps_flat_pictures_flat(interpolation, shape):
    found = resize(np.full((*shape, 3), (200, 3, 255), np.uint8), (32, 32), interpolation)
    assert found.shape == (32, 32, 3)
    assert found.flags.c_contiguous
    assert (found == (200, 3, 255)).all()


@pytest.mark.parametrize("size", [(40, 40), (80, 20), (20, 80), (300, 300)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_published_filters_are_pillows(interpolation, size):
    pixels = natural(100, 60)
    filter_ = getattr(PIL.Image.Resampling, interpolation.upper())
    expected = np.asarray(PIL.Image.fromarray(pixels).resize(size, filter_))
    assert (resize(pixels, size, interpolation) == expected).all()


def test_a_bicubic_cut_sees_nothing_outside():
    # As torchvision does it: cut first, resize then.
    pixels = natural(100, 60)
    cut = Augmenter(Preprocess(size=24), crop="resized", interpolation="bicubic")
    left, top, right, bottom = cut.cropper.rectangle(100, 60, np.random.default_rng(3))
    expected = bicubic(np.ascontiguousarray(pixels[top:bottom, left:right]), (24, 24))
    assert (cut(pixels, np.random.default_rng(3)) == expected).all()


@pytest.mark.parametrize(("cut", "size", "n"), [
    ((500, 375), (224, 224), 1),
    ((671, 999), (224, 224), 1),
    ((672, 672), (224, 224), 2),
    ((999, 1344), (224, 224), 2),
    ((1344, 1344), (224, 224), 4),
    ((9999, 9999), (224, 224), 8),
    ((100, 100), (224, 224), 1),
    ((1344, 700), (224, 112), 4),
])  # fmt: skip
def test_reduces_as_long_as_detail_is_left(cut, size, n):
    assert reduction(cut, size) == n


def jpeg(pixels, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def turned(value):
    exif = PIL.Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


class Recorded:
    """Stands for `images.decode` and remembers by how much it reduced."""

    def __init__(self, monkeypatch):
        self.reduced, self.decode = [], images.decode
        monkeypatch.setattr(images, "decode", self)

    def __call__(self, encoded, *, reduced=1):
        self.reduced.append(reduced)
        return self.decode(encoded, reduced=reduced)


# 803 x 607 leaves parts of a square of 8 at the edges; turned, that one is decoded as a whole.
@pytest.mark.parametrize(("orientation", "width", "height", "reduces"), [
    (1, 800, 600, True), (1, 803, 607, True), (6, 800, 600, True), (3, 800, 600, True),
    (6, 803, 607, False),
])  # fmt: skip
@pytest.mark.parametrize("crop", ["none", "square", "resized"])
@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_a_reduced_picture_is_cut_at_the_same_place(
    fit, crop, orientation, width, height, reduces, monkeypatch
):
    recorded = Recorded(monkeypatch)
    encoded = jpeg(natural(width, height), exif=turned(orientation))
    whole = images.decode(encoded)
    cut = Augmenter(Preprocess(size=64, resize=fit), crop=crop, scale=(0.5, 0.6))
    for seed in range(3):
        one, other = np.random.default_rng(seed), np.random.default_rng(seed)
        recorded.reduced.clear()
        found, expected = cut(encoded, one).astype(int), cut(whole, other).astype(int)
        assert one.random() == other.random()
        assert (recorded.reduced[0] > 1) == reduces
        here = np.abs(found - expected).mean()
        # A shift by half a pixel would show: libjpeg's filter is not that of an area.
        shifted = [
            np.abs(np.roll(found, s, axis) - expected).mean() for axis in (0, 1) for s in (-1, 1)
        ]
        assert here < 2
        assert here < 0.35 * min(shifted)


def test_places_of_a_reduced_picture_are_exact():
    # Ramps: a value tells the place. 1568 pixels to 128: decoded at an eighth.
    y, x = np.mgrid[:1600, :1600]
    pixels = np.stack([x * 255 / 1600, y * 255 / 1600, 0 * x], -1).astype(np.uint8)
    encoded = jpeg(pixels, subsampling=0)
    options = {"scale": (0.96, 0.97), "ratio": (1, 1), "interpolation": "area"}
    cut = Cropper(Preprocess(size=128), crop="resized", **options)
    for seed in range(5):
        found = cut(encoded, np.random.default_rng(seed)).astype(float)
        box = np.array(cut.rectangle(1600, 1600, np.random.default_rng(seed)))
        # Whole squares of 8, of the ramps that were cut down to whole levels.
        first, last = -(-box[:2] // 8) * 8, box[2:] // 8 * 8 - 1
        expected = (first + last) / 2 * 255 / 1600 - 0.5
        # A pixel of the picture at an eighth is 1.3 levels.
        assert np.abs(found[..., :2].mean((0, 1)) - expected).max() < 0.45


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_published_filters_see_the_whole_picture(interpolation, monkeypatch):
    recorded = Recorded(monkeypatch)
    Augmenter(Preprocess(size=32), interpolation=interpolation)(jpeg(natural(400, 300)), None)
    assert recorded.reduced == [1]


def test_other_formats_are_decoded_as_a_whole():
    pixels = natural(400, 300)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    cut = Augmenter(Preprocess(size=32), crop="square")
    found = cut(file.getvalue(), np.random.default_rng(0))
    assert (found == cut(pixels, np.random.default_rng(0))).all()
