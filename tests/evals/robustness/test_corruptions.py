import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy import ndimage

from bigclip.config import ConfigError
from bigclip.evals.robustness.corruptions import (
    CORRUPTIONS,
    STRENGTHS,
    blur,
    corrupt,
    digital,
    weather,
)

NAMES = list(CORRUPTIONS)
# The published strengths of these do not grow in every step: snow's third has as many flakes as
# its second, but larger; fog's fourth is as thick as its third, but rougher; elastic's first two
# tear the whole picture, the others only ripple it.
UNEVEN = {"snow": [1, 2, 4, 5], "fog": [1, 2, 3], "elastic_transform": [1, 2]}


def grey(level, size=64):
    return np.full((size, size, 3), level, np.float32)


def texture(size, seed=0):
    rng = np.random.default_rng(seed)
    octaves = [
        cv2.resize(rng.normal(size=(n, n, 3)), (size, size), interpolation=cv2.INTER_CUBIC)
        for n in (4, 8, 16)
    ]
    return np.clip(np.rint(128 + 55 * sum(octaves)), 0, 255).astype(np.uint8)


def distance(picture, name, strength):
    spoilt = corrupt(picture, name, strength, seed=0, key=str(picture[0, 0]))
    return np.abs(spoilt.astype(float) - picture).mean()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 20).flatmap(lambda n: st_numpy.arrays(np.uint8, (n, n, 3))),
    st.sampled_from(NAMES),
    st.sampled_from(STRENGTHS),
)
def test_any_picture_stays_a_picture_and_the_noise_hangs_on_seed_and_key(picture, name, strength):
    before = picture.copy()
    found = corrupt(picture, name, strength, seed=1, key="a")
    assert found.dtype == np.uint8
    assert found.shape == picture.shape
    np.testing.assert_array_equal(picture, before)
    again = corrupt(picture, name, strength, seed=1, key="a")
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("name", NAMES)
def test_other_keys_and_seeds_have_other_noise(name):
    picture = texture(32)
    found = [
        corrupt(picture, name, 5, seed=seed, key=key)
        for seed, key in ((0, "a"), (0, "b"), (1, "a"))
    ]
    same = [np.array_equal(found[0], other) for other in found[1:]]
    fixed = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
    assert same == [name in fixed] * 2


@pytest.mark.parametrize("size", [48, 224])
def test_pictures_are_farther_from_the_clean_one_the_greater_the_strength(size):
    pictures = [texture(size, seed) for seed in range(4 if size == 48 else 2)]
    for name in NAMES:
        strengths = UNEVEN.get(name, STRENGTHS)
        found = [np.mean([distance(p, name, s) for p in pictures]) for s in strengths]
        assert (np.diff(found) > 0).all(), (name, found)
        assert found[0] > 1


def test_noise_is_that_of_its_formula():
    rng = np.random.default_rng(0)
    found = CORRUPTIONS["gaussian_noise"].spoil(grey(0.5), 0.18, rng)
    assert found.mean() == pytest.approx(0.5, abs=0.01)
    assert found.std() == pytest.approx(0.18, rel=0.03)
    found = CORRUPTIONS["shot_noise"].spoil(grey(0.25), 12, rng)
    assert found.mean() == pytest.approx(0.25, rel=0.03)
    assert found.var() == pytest.approx(0.25 / 12, rel=0.05)
    found = CORRUPTIONS["impulse_noise"].spoil(grey(0.5), 0.27, rng)
    assert (found == 0).mean() == pytest.approx(0.135, abs=0.01)
    assert (found == 1).mean() == pytest.approx(0.135, abs=0.01)
    assert np.isin(found, [0, 0.5, 1]).all()


def point(size):
    picture = np.zeros((size, size, 3), np.float32)
    picture[size // 2, size // 2] = 1
    return picture


def moments(spread):
    """Total, centre and second moments of what became of a point."""
    spread = spread[..., 0].astype(float)
    y, x = np.indices(spread.shape) - len(spread) // 2
    total = spread.sum()
    centre = (x * spread).sum() / total, (y * spread).sum() / total
    return total, centre, (x**2 * spread).sum() / total, (y**2 * spread).sum() / total


@pytest.mark.parametrize(("size", "radius"), [(225, 10), (225, 3), (113, 10), (57, 10)])
def test_defocus_is_a_disc_that_scales_with_the_picture(size, radius):
    total, centre, xx, yy = moments(blur.defocus(point(size), radius, None))
    scaled = radius * size / 224
    assert total == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(centre, 0, atol=1e-5)
    # A disc has a quarter of its squared radius; a pixel of its own adds 1/12.
    assert xx == pytest.approx(scaled**2 / 4 + 1 / 12, rel=0.06)
    assert yy == pytest.approx(xx)


@pytest.mark.parametrize("size", [224, 112])
@pytest.mark.parametrize("degrees", [0, 30, -90])
def test_motion_smears_along_its_direction_by_half_a_bell(size, degrees):
    radius, width = 20, 8
    total, (x, y), _, _ = moments(blur.smear(point(size), radius, width, degrees))
    assert total == pytest.approx(1, abs=1e-5)
    # Correlation looks along the ray: the point itself appears on the other side.
    far = np.hypot(x, y)
    assert far == pytest.approx(width * size / 224 * np.sqrt(2 / np.pi), rel=0.06)
    turned = np.degrees(np.arctan2(-y, -x))
    assert turned == pytest.approx(degrees, abs=1)


def test_zoom_blur_moves_nothing_in_the_middle_and_averages_its_zooms():
    spread = blur.zoom(point(65), (1.1, 0.01), None)
    total, centre, _, _ = moments(spread)
    np.testing.assert_allclose(centre, 0, atol=1e-4)
    picture = texture(64).astype(np.float32) / 255
    np.testing.assert_allclose(blur.zoomed(picture, 1.0), picture, atol=1e-6)
    # A zoom by 2 shows the middle half: compare with indices computed one by one.
    found = blur.zoomed(picture, 2.0)
    where = 31.5 + (np.arange(64) - 31.5) / 2
    grid = np.meshgrid(where, where, indexing="ij")
    expected = ndimage.map_coordinates(picture[..., 0], grid, order=1)
    np.testing.assert_allclose(found[..., 0], expected, atol=0.02)  # OpenCV's 1/32 of a pixel


@pytest.mark.parametrize("size", [224, 112])
def test_glass_moves_points_as_far_as_so_many_swaps_would(size):
    width, farthest, rounds = 1, 2, 3
    picture = np.zeros((size, size, 3), np.float32)
    picture[::16, ::16] = 1
    rng = np.random.default_rng(0)
    found = blur.glass(picture, (width, farthest, rounds), rng)[..., 0].astype(float)
    y, x = np.indices(found.shape)
    off = (x + 8) % 16 - 8
    inside = (slice(16, -16),) * 2
    spread = (off**2 * found)[inside].sum() / found[inside].sum()
    swap = np.mean([d**2 for d in range(-farthest, farthest)])
    scale = (size / 224) ** 2
    assert spread == pytest.approx(scale * (2 * rounds * swap + 2 * width**2), rel=0.2)
    assert (off * found)[inside].sum() / found[inside].sum() == pytest.approx(0, abs=0.25)


def test_contrast_and_brightness_are_their_formulas():
    picture = texture(20).astype(np.float32) / 255
    found = digital.contrast(picture, 0.3, None)
    mean = picture.reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(found, 0.3 * picture + 0.7 * mean, atol=1e-5)
    found = weather.brightness(picture, 0.2, None)
    value = picture.max(axis=2)
    np.testing.assert_allclose(found.max(axis=2), np.minimum(value + 0.2, 1), atol=1e-4)
    # Saturation stays: the channels keep their ratios.
    some = value > 0.1
    np.testing.assert_allclose(
        (found / found.max(axis=2, keepdims=True))[some],
        (picture / picture.max(axis=2, keepdims=True))[some],
        atol=1e-3,
    )


def test_pixelate_averages_blocks():
    picture = texture(40)
    found = corrupt(picture, "pixelate", 5, seed=0, key="")
    blocks = picture.reshape(10, 4, 10, 4, 3).mean(axis=(1, 3)).repeat(4, axis=0).repeat(4, axis=1)
    assert np.abs(found - blocks).max() <= 1


def test_jpeg_has_the_quality_of_its_strength():
    picture = texture(64)
    for quality, strength in ((25, 1), (7, 5)):
        coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        expected = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
        found = corrupt(picture, "jpeg_compression", strength, seed=0, key="")
        assert np.abs(found - expected).mean() < 3 < np.abs(found.astype(int) - picture).mean()


def test_smooth_noise_is_a_gaussian_filter_that_mirrors_at_the_edges():
    for deviation in (2.44, 20.0):
        noise = np.random.default_rng(0).uniform(-1, 1, (224, 224)).astype(np.float32)
        found = digital._smooth_noise(deviation, np.random.default_rng(0))
        expected = ndimage.gaussian_filter(noise, deviation, mode="reflect", truncate=6)
        np.testing.assert_allclose(found, expected, atol=2e-4)


def test_fog_is_a_rough_cloud_between_nothing_and_its_density():
    rng = np.random.default_rng(0)
    smooth, rough = (weather.plasma(64, decay, rng) for decay in (2.0, 1.4))
    for cloud in (smooth, rough):
        assert (cloud.min(), cloud.max()) == (0, 1)
        # On a torus: the last row continues in the first.
        steps = np.abs(np.diff(cloud, axis=0)).mean()
        assert np.abs(cloud[0] - cloud[-1]).mean() < 3 * steps
    assert np.abs(np.diff(rough)).mean() > 2 * np.abs(np.diff(smooth)).mean()
    found = weather.fog(grey(0.5), (1.5, 2), rng)
    # (x + density * cloud) * brightest / (brightest + density)
    assert found.min() >= 0.5 * 0.25 - 1e-6
    assert found.max() <= 0.5 + 1e-6
    assert np.ptp(found) > 0.2
    assert not weather.fog(grey(0.0), (1.5, 2), rng).any()


def test_snow_only_brightens():
    picture = texture(64).astype(np.float32) / 255
    for level in CORRUPTIONS["snow"].levels:
        found = weather.snow(picture, level, np.random.default_rng(0))
        assert (found >= picture - 1e-6).all()


def test_small_pictures_lose_as_much_as_large_ones():
    # What is in pixels is scaled: a picture made smaller before or after is spoilt alike.
    large = texture(224)
    small = cv2.resize(large, (112, 112), interpolation=cv2.INTER_AREA)
    for name in ("defocus_blur", "zoom_blur", "snow", "fog", "contrast"):
        after = corrupt(large, name, 4, seed=0, key="a")
        after = cv2.resize(after, (112, 112), interpolation=cv2.INTER_AREA).astype(float)
        before = corrupt(small, name, 4, seed=0, key="a").astype(float)
        changed = np.abs(before - small).mean()
        assert np.abs(before - after).mean() < 0.15 * changed, name


@pytest.mark.parametrize(
    ("name", "strength", "message"),
    [
        ("gausian_noise", 1, "Did you mean 'gaussian_noise'"),
        ("frost", 1, "no corruption 'frost'"),
        ("fog", 0, "integers from 1 to 5, not 0"),
        ("fog", 6, "integers from 1 to 5, not 6"),
    ],
)
def test_mistakes(name, strength, message):
    with pytest.raises(ConfigError, match=message):
        corrupt(texture(8), name, strength, seed=0, key="a")
