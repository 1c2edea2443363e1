"""Augmentation: each change against its definition in float64."""

import colorsys

import numpy as np
import PIL.Image
import pytest

from bigclip.config import ConfigError
from bigclip.data.augment import Augmenter
from bigclip.data.images import BadImage
from bigclip.data.preprocess import Preprocess

# To whole levels, and OpenCV's weights to 1/1024: three of them, of at most 255.
ROUNDING = 0.5 + 3 * 255 / 2048
LUMA = np.array([0.299, 0.587, 0.114])
PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


class Script:
    """Random numbers that were written down."""

    def __init__(self, *values):
        self.values = list(values)

    def random(self):
        return self.values.pop(0)


def augmenter(size=32, resize="squash", **options):
    return Augmenter(Preprocess(size=size, resize=resize), **options)


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize(("width", "height"), [(32, 32), (100, 60), (61, 200), (300, 5), (20, 16)])
def test_by_default_it_cuts_as_the_evaluation_does(resize, width, height):
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([127 + 120 * np.sin(x / width * 3), y * 255 / height, x + 0.0 * y], -1)
    smooth = np.clip(smooth, 0, 255).astype(np.uint8)
    found = augmenter(resize=resize)(smooth, None)
    expected = Preprocess(size=32, resize=resize)(smooth)
    # Different filters (area and cubic), and crop corners in whole pixels of the original.
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 4


def test_random_rectangles_keep_to_scale_and_ratio():
    cut = augmenter(crop="resized", scale=(0.3, 0.8), ratio=(0.5, 2.0))
    rng = np.random.default_rng(1)
    boxes = np.array([cut.cropper.rectangle(200, 100, rng) for _ in range(3000)])
    left, top, right, bottom = boxes.T
    width, height = right - left, bottom - top
    assert left.min() == 0
    assert top.min() == 0
    assert right.max() == 200
    assert bottom.max() == 100
    area, ratio = width * height / 20_000, width / height
    # Whole pixels move a side by half a pixel, which is 2% of the shortest.
    assert 0.28 < area.min() < 0.31
    assert 0.77 < area.max() < 0.82
    # Less than 0.6 would be higher than the picture, given the least area.
    assert 0.58 < ratio.min() < 0.63
    assert 1.9 < ratio.max() < 2.05


@pytest.mark.parametrize(("width", "height", "box"), [
    (1000, 10, (493, 0, 506, 10)),  # 13 x 10: ratio 4/3
    (10, 1000, (0, 493, 10, 506)),
])  # fmt: skip
def test_pictures_too_long_for_any_rectangle_give_their_middle(width, height, box):
    cut = augmenter(crop="resized", scale=(0.9, 1.0))
    assert cut.cropper.rectangle(width, height, np.random.default_rng(0)) == box


def test_random_squares_are_whole_and_everywhere():
    wide = np.zeros((8, 20, 3), np.uint8)
    wide[:] = np.arange(20)[None, :, None]
    cut = augmenter(size=8, crop="square")
    rng = np.random.default_rng(0)
    starts = {int(cut(wide, rng)[0, 0, 0]) for _ in range(500)}
    assert starts == set(range(13))


@pytest.mark.parametrize("crop", ["none", "square", "resized"])
def test_never_fails_on_odd_shapes(crop):
    every = {"flip": 0.5, "hue": 0.1, "grayscale": 0.2, "rotate_degrees": 9, "translate": 0.1}
    for resize in ("squash", "crop", "pad"):
        change = augmenter(crop=crop, resize=resize, scale=(0.01, 1.0), brightness=0.3, **every)
        for shape in ((1, 1), (1, 50), (50, 1), (2, 3), (999, 3), (32, 32)):
            for seed in range(5):
                rng = np.random.default_rng(seed)
                out = change(np.full((*shape, 3), 77, np.uint8), rng)
                assert out.shape == (32, 32, 3)
                assert out.dtype == np.uint8


def test_flip_mirrors_by_its_probability():
    assert (augmenter(flip=1.0)(PIXELS, Script(0.99)) == PIXELS[:, ::-1]).all()
    assert (augmenter(flip=0.3)(PIXELS, Script(0.31)) == PIXELS).all()
    assert (augmenter(flip=0.3)(PIXELS, Script(0.29)) == PIXELS[:, ::-1]).all()


@pytest.mark.parametrize("draw", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colour_changes_are_what_they_say(name, draw):
    options = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, name: 0.6}
    found = augmenter(**options)(PIXELS, Script(0.0, draw, draw, draw, 0.5))
    factor = 0.4 + 1.2 * draw
    grey = {
        "brightness": 0.0,
        "contrast": (PIXELS @ LUMA).mean(),
        "saturation": (PIXELS @ LUMA)[..., None],
    }[name]
    expected = np.clip(grey + factor * (PIXELS - grey), 0, 255)
    assert np.abs(found - expected).max() <= ROUNDING


def test_all_colour_changes_together_are_clipped_once():
    options = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5}
    found = augmenter(**options)(PIXELS, Script(0.0, 0.9, 0.8, 0.1, 0.5))
    grey = (PIXELS @ LUMA)[..., None]
    expected = grey + 0.6 * (PIXELS - grey)
    expected = 1.4 * (grey.mean() + 1.3 * (expected - grey.mean()))
    assert np.abs(found - np.clip(expected, 0, 255)).max() <= ROUNDING


def test_hue_turns_the_colour_circle_and_keeps_grey_and_luma():
    grey = np.full((4, 4, 3), 90, np.uint8)
    change = augmenter(size=4, hue=0.5)
    for draw in (0.0, 0.2, 0.8):
        assert np.abs(change(grey, Script(0.0, 0.5, 0.5, 0.5, draw)).astype(int) - 90).max() <= 1
    soft = np.zeros((4, 4, 3), np.uint8)
    soft[:] = 150, 110, 110
    third = change(soft, Script(0.0, 0.5, 0.5, 0.5, 0.5 + 1 / 3))[0, 0]
    assert third @ LUMA == pytest.approx(soft[0, 0] @ LUMA, abs=1)
    before = colorsys.rgb_to_hsv(*soft[0, 0] / 255)[0]
    after = colorsys.rgb_to_hsv(*third / 255)[0]
    # A third of the circle in YIQ is roughly a third in HSV.
    assert min((after - before) % 1, (before - after) % 1) == pytest.approx(1 / 3, abs=0.06)
    # Half a turn and half a turn back are the same.
    there = change(soft, Script(0.0, 0.5, 0.5, 0.5, 0.0)).astype(int)
    back = change(soft, Script(0.0, 0.5, 0.5, 0.5, 1.0)).astype(int)
    assert np.abs(there - back).max() <= 1


def test_grayscale_is_that_of_pillow():
    found = augmenter(grayscale=1.0)(PIXELS, Script(0.5))
    expected = np.asarray(PIL.Image.fromarray(PIXELS).convert("L").convert("RGB"))
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_jitter_is_the_chance_of_any_colour_change():
    change = augmenter(brightness=0.5, jitter=0.25)
    assert (change(PIXELS, Script(0.26)) == PIXELS).all()
    assert (change(PIXELS, Script(0.24, 0.0, 0.5, 0.5, 0.5)) != PIXELS).any()


def test_quarter_turn_and_shift():
    turned = augmenter(rotate_degrees=90)(PIXELS, Script(1.0, 0.5, 0.5))
    assert np.abs(turned.astype(int) - np.rot90(PIXELS)).max() <= 2  # sin(90 deg) is not quite 1
    shifted = augmenter(translate=0.25)(PIXELS, Script(0.5, 1.0, 0.0))
    assert (shifted[:-8, 8:] == PIXELS[8:, :-8]).all()


@pytest.mark.parametrize(("draw", "factor"), [(0.0, 0.5), (0.5, 1.25), (1.0, 2.0)])
def test_zoom_enlarges_about_the_middle(draw, factor):
    size = 33
    y, x = np.mgrid[:size, :size] - 16.0
    disc = np.where(np.hypot(x, y) < 5, 255, 0).astype(np.uint8)
    found = augmenter(size=size, zoom=(0.5, 2.0))(
        np.stack([disc] * 3, -1), Script(0.5, 0.5, 0.5, draw)
    )
    inner = found[..., 0] * (np.hypot(x, y) < 11)
    # The disc, not the mirrored ones around it: its area, and its middle.
    assert np.sqrt(inner.sum() / disc.sum()) == pytest.approx(factor, abs=0.06)
    assert (inner * x).sum() / inner.sum() == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(("draw", "sigma"), [(0.0, 0.5), (0.5, 1.25), (1.0, 2.0)])
def test_blur_is_a_gaussian_of_that_width(draw, sigma):
    point = np.zeros((41, 41, 3), np.uint8)
    point[18:23, 18:23] = 255
    found = augmenter(size=41, blur=0.5, blur_sigma=(0.5, 2.0))(point, Script(0.4, draw))
    offsets = np.arange(41) - 20.0
    gaussian = np.exp(-(offsets**2) / (2 * sigma**2))
    profile = np.convolve(point[20, :, 0], gaussian / gaussian.sum(), "same")
    expected = np.outer(profile, profile) / 255
    # OpenCV cuts the bell off at three sigma, and its weights to 1/256.
    assert np.abs(found[..., 0] - expected).max() <= 3
    assert (augmenter(size=41, blur=0.5)(point, Script(0.6)) == point).all()


def test_what_is_off_draws_nothing():
    class Refuses:
        def random(self):
            raise AssertionError("a random number was drawn")

    assert (augmenter()(PIXELS, Refuses()) == PIXELS).all()
    augmenter(jitter=0.5, blur_sigma=(1, 2), scale=(0.1, 0.2))(PIXELS, Refuses())


def test_takes_encoded_pictures(picture_encoder):
    change = augmenter(crop="square", flip=0.5)
    encoded = picture_encoder(PIXELS, "png")
    for seed in range(4):
        one, other = np.random.default_rng(seed), np.random.default_rng(seed)
        assert (change(encoded, one) == change(PIXELS, other)).all()
    with pytest.raises(BadImage):
        change(encoded[:50], one)


RECIPES = [  # of the class's docstring
    {"crop": "square"},
    {"crop": "resized", "scale": (0.9, 1), "interpolation": "bicubic"},
    {"crop": "resized", "scale": (0.5, 1)},
    {"crop": "resized", "scale": (0.6, 1), "flip": 0.5, "rotate_degrees": 20, "translate": 0.1,
     "zoom": (0.95, 1.05), "brightness": 0.4, "contrast": 0.4, "blur": 1},
    {"crop": "resized", "scale": (0.7, 1), "ratio": (0.8, 1.25), "flip": 0.5},
    {"crop": "resized", "scale": (0.08, 1), "interpolation": "bicubic",
     "rand_augment": {"magnitude": 3}},
]  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
def test_published_recipes_run(recipe):
    change = augmenter(**recipe)
    pixels = np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)
    found = [change(pixels, np.random.default_rng(seed)) for seed in (0, 1, 0)]
    assert found[0].shape == (32, 32, 3)
    assert found[0].dtype == np.uint8
    assert (found[0] == found[2]).all()
    assert (found[0] != found[1]).any()


def test_is_a_function_of_the_random_numbers():
    change = augmenter(crop="resized", flip=0.5, brightness=0.4, hue=0.1, rotate_degrees=5)
    first = [change(PIXELS, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    assert (first[0] == first[2]).all()
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "random"}, "data.augment.crop 'random' is none of"),
        ({"scale": (0.5, 1.5)}, "data.augment.scale"),
        ({"scale": (0.0, 1.0)}, "data.augment.scale"),
        ({"ratio": (2.0, 1.0)}, "data.augment.ratio"),
        ({"flip": 1.5}, r"data.augment.flip must lie in \[0, 1\]"),
        ({"interpolation": "cubic"}, "data.augment.interpolation 'cubic' is none of"),
        ({"scale": (0.5,)}, "data.augment.scale must be two numbers"),
        ({"zoom": (0.0, 1.0)}, "data.augment.zoom must be two numbers"),
        ({"blur": 2}, r"data.augment.blur must lie in \[0, 1\]"),
        ({"blur_sigma": (3.0, 0.1)}, "data.augment.blur_sigma must be two numbers"),
        ({"hue": 0.6}, r"data.augment.hue must lie in \[0, 0.5\]"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        augmenter(**options)
