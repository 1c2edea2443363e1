"""The evaluation transform, against formulas written down independently."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from bigclip.config import ConfigError
from bigclip.data.images import BadImage
from bigclip.data.preprocess import Preprocess

GOLDENS = Path(__file__).parent.parent / "goldens"
sys.path.insert(0, str(GOLDENS))

from preprocess_pictures import SHAPES, SIZE, picture  # noqa: E402

SIZES = [(64, 64), (500, 375), (375, 500), (31, 97), (1000, 10), (7, 300), (224, 224), (225, 224)]


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def clip_transform(image, size, resample):
    """The released transform as its parts say: resize the short side, cut the centre out.

    The rules are torchvision's: the long side is cut down to an integer, the corner is rounded.
    """
    width, height = image.size
    if width < height:
        resized = size, int(size * height / width)
    else:
        resized = int(size * width / height), size
    image = image.resize(resized, resample)
    left = int(round((resized[0] - size) / 2.0))
    top = int(round((resized[1] - size) / 2.0))
    return np.asarray(image.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_crop_is_the_transform_of_the_released_clip(width, height, interpolation):
    image = PIL.Image.fromarray(noise(width, height))
    expected = clip_transform(image, 56, getattr(PIL.Image.Resampling, interpolation.upper()))
    found = Preprocess(size=56, resize="crop", interpolation=interpolation)(image)
    if max(width, height) <= 32 * min(width, height):
        assert (found == expected).all()
    else:
        # Only the wanted part is computed, so Pillow may take its two passes the other way
        # round, and cuts off overshoots of this noise in between.
        assert np.abs(found.astype(int) - expected).mean() <= 1


def bicubic_weights(length, size):
    """Antialiased Catmull-Rom weights [size, length] (Keys 1981, a = -0.5)."""
    scale = max(1.0, length / size)
    centres = (np.arange(size) + 0.5) * length / size
    t = np.abs((np.arange(length) + 0.5 - centres[:, None]) / scale)
    weights = np.where(
        t < 1, 1.5 * t**3 - 2.5 * t**2 + 1, np.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0)
    )
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_squash_is_an_antialiased_cubic(width, height):
    # Values that no overshoot takes out of range, so that the order of passes does not matter.
    pixels = noise(width, height) // 4 + 96
    rows, columns = bicubic_weights(height, 48), bicubic_weights(width, 48)
    expected = np.einsum("yh,xw,hwc->yxc", rows, columns, pixels.astype(float), optimize=True)
    found = Preprocess(size=48, resize="squash")(pixels)
    # Two roundings to whole levels, the first one weighted by at most 1.25 in absolute sum.
    assert np.abs(found - expected).max() <= 0.5 * 1.25 + 0.5 + 0.01


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_pad_keeps_the_aspect_and_fills_with_the_mean(width, height):
    pixels = np.full((height, width, 3), 250, np.uint8)
    preprocess = Preprocess(size=40, resize="pad", mean=(0.1, 0.5, 0.2), std=(1, 1, 1))
    found = preprocess(pixels)
    inside = (found == 250).all(-1)
    fitted = (
        max(1, round(40 * width / max(width, height))),
        max(1, round(40 * height / max(width, height))),
    )
    assert (found[~inside] == [26, 128, 51]).all()
    assert (inside.any(0).sum(), inside.any(1).sum()) == fitted
    assert inside.sum() == fitted[0] * fitted[1]


# Settings, file and transform of the reference (see make_preprocess_goldens.py), and the largest
# difference in grey levels. Where it is 1, TensorFlow cuts to whole levels and Pillow rounds,
# between its two passes as well.
REFERENCES = [
    ({"resize": "crop"}, "open_clip", "openai", 0),
    ({"resize": "squash"}, "open_clip", "squash", 0),
    ({"resize": "squash"}, "transformers", "siglip", 0),
    ({"resize": "squash", "interpolation": "bilinear_aliased"}, "tensorflow", "siglip", 0),
    ({"resize": "squash", "interpolation": "bilinear"}, "tensorflow", "siglip_antialias", 1),
]


@pytest.mark.parametrize(("width", "height"), SHAPES)
@pytest.mark.parametrize(("options", "file", "transform", "levels"), REFERENCES)
def test_equals_the_published_transforms(options, file, transform, levels, width, height):
    with np.load(GOLDENS / "preprocess" / f"{file}.npz") as goldens:
        expected = goldens[f"{transform}/{width}x{height}"].astype(int)
    found = Preprocess(size=SIZE, **options)(picture(width, height))
    assert np.abs(found - expected).max() <= levels


def test_the_two_published_siglip_transforms_differ():
    # What goes wrong if weights that saw one of them are evaluated with the other one.
    pixels = picture(80, 60)
    aliased = Preprocess(size=SIZE, interpolation="bilinear_aliased")(pixels)
    assert np.abs(Preprocess(size=SIZE)(pixels).astype(int) - aliased).mean() > 5


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_an_aliased_picture_is_made_of_neighbours(resize):
    # From 8 to 2 pixels, 2 x 2 of each 4 x 4 are read: the inner ones.
    pixels = np.full((8, 8, 3), 9, np.uint8)
    pixels[1::4, 1::4] = pixels[2::4, 2::4] = pixels[1::4, 2::4] = pixels[2::4, 1::4] = 200
    preprocess = Preprocess(size=2, resize=resize, interpolation="bilinear_aliased")
    assert (preprocess(pixels) == 200).all()


def test_takes_bytes_images_and_arrays(picture_encoder):
    pixels = noise(30, 20)
    preprocess = Preprocess(size=16)
    expected = preprocess(pixels)
    assert expected.shape == (16, 16, 3)
    assert expected.dtype == np.uint8
    assert (preprocess(picture_encoder(pixels)) == expected).all()
    assert (preprocess(PIL.Image.open(io.BytesIO(picture_encoder(pixels)))) == expected).all()
    grey = pixels[..., 0]
    assert (preprocess(grey) == preprocess(np.stack([grey] * 3, -1))).all()
    opaque = np.dstack([pixels, np.full((20, 30), 255, np.uint8)])
    assert (preprocess(opaque) == expected).all()
    with pytest.raises(BadImage):
        preprocess(b"no picture")
    with pytest.raises(TypeError, match="multiply values"):
        preprocess(pixels / 255.0)
    with pytest.raises(TypeError, match="bytes, Pillow or an array"):
        preprocess("picture.png")


def test_is_plain_data_and_back():
    preprocess = Preprocess(size=224, resize="crop", mean=(0.5,) * 3, std=(0.5,) * 3)
    assert Preprocess(**json.loads(json.dumps(preprocess.to_dict()))) == preprocess


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "preprocess.size"),
        ({"size": 64.0}, "preprocess.size"),
        ({"resize": "stretch"}, "preprocess.resize 'stretch' is none of"),
        ({"interpolation": "nearest"}, "preprocess.interpolation 'nearest' is none of"),
        ({"mean": (0.5, 0.5)}, "preprocess.mean"),
        ({"std": (0.5, 0.0, 0.5)}, "preprocess.std must be three finite positive numbers"),
        ({"std": (0.5, float("nan"), 0.5)}, "preprocess.std.*nan"),
        ({"mean": [0.5, 0.5, float("-inf")]}, "preprocess.mean must be three finite numbers"),
        ({"mean": (0.5, 0.5, 10**400)}, "preprocess.mean"),
        ({"mean": "123"}, "preprocess.mean.*'123'"),
        ({"mean": None}, "preprocess.mean.*None"),
        ({"std": (0.5, True, 0.5)}, "preprocess.std.*True"),
        ({"size": True}, "preprocess.size.*True"),
        ({"size": 10**9}, "preprocess.size.*at most 16384"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        Preprocess(**options)
