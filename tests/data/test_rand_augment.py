"""RandAugment: each change against Pillow's."""

import math

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest

from bigclip.config import ConfigError
from bigclip.data.augment import Augmenter
from bigclip.data.preprocess import Preprocess
from bigclip.data.rand_augment import OPS, PAPER_OPS, RandAugment

STRENGTHS = (0.0, 0.2, 0.5, 0.9, 1.0)


def smooth(width=90, height=60):
    """A picture without edges, that does not reach black or white, of unlike channels."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + y / 17), np.cos(x / 13 - y / 8), np.sin(x / 20) * np.cos(y / 11)]
    pixels = np.stack([100 + 55 * waves[0], 130 + 70 * waves[1], 90 + 60 * waves[2]], -1)
    return pixels.astype(np.uint8)


def noise(width=45, height=30):
    return np.random.default_rng(0).integers(20, 230, (height, width, 3), np.uint8)


def affine(image, *coefficients):
    return image.transform(
        image.size,
        PIL.Image.Transform.AFFINE,
        coefficients,
        PIL.Image.Resampling.BILINEAR,
        fillcolor=(128, 128, 128),
    )


def enhanced(kind):
    return lambda image, m: getattr(PIL.ImageEnhance, kind)(image).enhance(1 + 0.9 * m)


def solarize_add(image, m):
    return image.point([x + round(110 * m) if x < 128 else x for x in range(256)] * 3)


# Pillow's way to the same, and the largest difference in levels: Pillow cuts to whole levels
# where OpenCV rounds, and grey is rounded before it is used.
BY_VALUE = {
    "identity": (lambda image, m: image, 0),
    "invert": (lambda image, m: PIL.ImageOps.invert(image), 0),
    "autocontrast": (lambda image, m: PIL.ImageOps.autocontrast(image), 1),
    "equalize": (lambda image, m: PIL.ImageOps.equalize(image), 0),
    "posterize": (lambda image, m: PIL.ImageOps.posterize(image, 8 - round(4 * m)), 0),
    "solarize": (lambda image, m: PIL.ImageOps.solarize(image, math.ceil(256 * (1 - m))), 0),
    "solarize_add": (solarize_add, 0),
    "brightness": (enhanced("Brightness"), 1),
    "contrast": (enhanced("Contrast"), 2),
    "colour": (enhanced("Color"), 2),
    "sharpness": (enhanced("Sharpness"), 2),
}
# Sizes of the shifts are those of the picture of 90 x 60.
BY_PLACE = {
    "rotate": lambda image, m: image.rotate(
        30 * m, PIL.Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)
    ),
    "shear_x": lambda image, m: affine(image, 1, 0.3 * m, 0, 0, 1, 0),
    "shear_y": lambda image, m: affine(image, 1, 0, 0, 0.3 * m, 1, 0),
    "translate_x": lambda image, m: affine(image, 1, 0, round(90 * 150 / 331 * m), 0, 1, 0),
    "translate_y": lambda image, m: affine(image, 1, 0, 0, 0, 1, round(60 * 150 / 331 * m)),
}


def signed(name, m):
    return (m, -m) if OPS[name].is_signed else (m,)


def test_every_change_has_a_reference():
    assert set(BY_VALUE) | set(BY_PLACE) == set(OPS)


@pytest.mark.parametrize("m", STRENGTHS)
@pytest.mark.parametrize("name", BY_VALUE)
def test_changes_of_values_are_pillows(name, m):
    reference, levels = BY_VALUE[name]
    for pixels in (smooth(), noise(), np.full((8, 9, 3), 77, np.uint8)):
        for strength in signed(name, m):
            found = OPS[name].change(pixels, strength)
            expected = np.asarray(reference(PIL.Image.fromarray(pixels), strength))
            assert found.dtype == np.uint8
            assert np.abs(found.astype(int) - expected).max() <= levels


@pytest.mark.parametrize("m", STRENGTHS)
@pytest.mark.parametrize("name", BY_PLACE)
def test_changes_of_places_are_pillows(name, m):
    pixels = smooth()
    inside = PIL.Image.new("RGB", (90, 60), (255, 255, 255))
    for strength in signed(name, m):
        found = OPS[name].change(pixels, strength).astype(int)
        expected = np.asarray(BY_PLACE[name](PIL.Image.fromarray(pixels), strength))
        mask = np.asarray(BY_PLACE[name](inside, strength))[..., 0] == 255
        # Pillow's edge is sharp, OpenCV's blends half a pixel with the grey: leave a pixel out.
        kept, outer = eroded(mask), eroded(~mask)
        difference = np.abs(found - expected)
        # OpenCV takes places to 1/32 of a pixel, of which the steepest slope here is 10 levels.
        assert difference[kept].max() <= 1
        assert difference[outer].max(initial=0) == 0
        assert kept.sum() > 0.4 * mask.size


def eroded(mask):
    padded = np.pad(mask, 1)
    height, width = mask.shape
    shifts = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.all(shifts, 0)


@pytest.mark.parametrize("name", OPS)
def test_any_shape_is_kept(name):
    for shape in ((1, 1, 3), (1, 7, 3), (7, 1, 3), (2, 2, 3)):
        for m in signed(name, 0.9):
            assert OPS[name].change(np.full(shape, 33, np.uint8), m).shape == shape


@pytest.mark.parametrize("name", sorted(set(OPS) - {"invert", "autocontrast", "equalize"}))
def test_nothing_changes_at_magnitude_nought(name):
    assert (OPS[name].change(noise(), 0.0) == noise()).all()


class Script:
    """Random numbers that were written down."""

    def __init__(self, *values):
        self.values = list(values)

    def random(self):
        return self.values.pop(0)


def test_draws_changes_and_signs():
    augment = RandAugment(num_ops=2, magnitude=9, ops=["posterize", "brightness"])
    dark = OPS["brightness"].change(noise(), -0.9)
    assert (augment(noise(), Script(0.9, 0.4, 0.1)) == OPS["posterize"].change(dark, 0.9)).all()
    few = OPS["posterize"].change(noise(), 0.9)
    assert (augment(noise(), Script(0.1, 0.9, 0.6)) == OPS["brightness"].change(few, 0.9)).all()


def test_takes_the_papers_fourteen_equally_often():
    augment, rng = RandAugment(num_ops=1, magnitude=10), np.random.default_rng(0)
    drawn = [augment.ops[int(rng.random() * len(augment.ops))] for _ in range(14_000)]
    counts = {name: drawn.count(name) for name in PAPER_OPS}
    assert sum(counts.values()) == 14_000
    assert len(counts) == 14
    assert min(counts.values()) > 850


def test_is_wired_and_a_function_of_the_random_numbers():
    pixels = noise(32, 32)
    change = Augmenter(Preprocess(size=32), rand_augment={"num_ops": 3, "magnitude": 7})
    first = [change(pixels, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    assert (first[0] == first[2]).all()
    assert (first[0] != first[1]).any()
    assert (first[0] != pixels).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_ops": 0}, "rand_augment.num_ops must be a positive integer"),
        ({"magnitude": 11}, r"rand_augment.magnitude must lie in \[0, 10\]"),
        ({"ops": []}, "rand_augment.ops must be a list"),
        ({"ops": ["rotated"]}, "no choice 'rotated'. Did you mean 'rotate'"),
        ({"strength": 3}, "unknown key 'strength' in config.data.augment.rand_augment"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        Augmenter(Preprocess(size=8), rand_augment=options)
