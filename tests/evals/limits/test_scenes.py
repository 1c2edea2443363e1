import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigclip.evals.limits import shapes, sprites
from bigclip.evals.limits.casts import CASTS
from bigclip.evals.limits.scenes import (
    BACKGROUNDS,
    Background,
    Entity,
    Scene,
    Thing,
    draw,
    paint_shape,
)

BLACK = Background("plain", 0, 0, 0)


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_outlines_have_area_one_around_the_origin(shape):
    outline = shapes.outline(shape).astype(np.float32)
    assert cv2.contourArea(outline) == pytest.approx(1, rel=1e-4)
    moments = cv2.moments(outline)
    assert abs(moments["m10"]) < 1e-4
    assert abs(moments["m01"]) < 1e-4
    assert shapes.radius(shape) == pytest.approx(np.hypot(*outline.T).max())


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(list(shapes.SHAPES)),
    st.floats(0.01, 0.1),
    st.tuples(st.floats(0.32, 0.68), st.floats(0.32, 0.68)),
    st.sampled_from([40, 64, 97]),
)
def test_drawn_area_and_place_are_those_of_the_thing(shape, area, centre, size):
    scene = Scene(BLACK, (Thing(Entity(shape, "red"), centre, area),))
    cover = draw(scene, size, paint_shape)[..., 0] / shapes.COLOURS["red"][0]
    # Every pixel that an outline touches may be a little too dark or too light.
    outline = cv2.arcLength(shapes.outline(shape).astype(np.float32), closed=True) * np.sqrt(area)
    assert cover.mean() == pytest.approx(area, abs=0.12 * outline / size)
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    found = np.array([(cover * axis).sum() / cover.sum() for axis in (x, y)])
    np.testing.assert_allclose(found, centre, atol=0.25 / size)


def test_shapes_cut_by_the_edge_or_outside_of_the_picture():
    for centre in ((0.0, 0.5), (1.0, 1.0), (-2.0, 0.5), (0.5, 3.0)):
        scene = Scene(BLACK, (Thing(Entity("square", "red"), centre, 0.04),))
        cover = draw(scene, 50, paint_shape)[..., 0].mean() / shapes.COLOURS["red"][0]
        inside = [min(max(c + 0.1, 0), 1) - min(max(c - 0.1, 0), 1) for c in centre]
        assert cover == pytest.approx(np.prod(inside), abs=2e-3)


def test_backgrounds_are_grey_and_far_from_every_colour():
    for cast in CASTS.values():
        for kind in BACKGROUNDS:
            for low, high in cast.shades:
                for grey in (low, high - 1):
                    picture = draw(Scene(Background(kind, grey, 14, 3), ()), 32, paint_shape)
                    assert (picture == picture[..., :1]).all()
                    assert abs(picture.mean() - grey) < 3
                    assert picture.min() >= grey - 14
                    assert picture.max() <= grey + 14
                    assert (kind == "plain") == (np.ptp(picture) == 0)
                    for colour in shapes.COLOURS.values():
                        gap = np.linalg.norm(picture.astype(float) - colour, axis=2)
                        assert gap.min() > 70 or cast.says_looks is False
    gaps = [
        np.linalg.norm(np.subtract(a, b))
        for a in shapes.COLOURS.values()
        for b in shapes.COLOURS.values()
        if a != b
    ]
    assert min(gaps) > 75


def test_the_same_scene_at_another_size_is_the_same_picture():
    things = (
        Thing(Entity("star", "red"), (0.3, 0.4), 0.08),
        Thing(Entity("heart", "blue"), (0.7, 0.6), 0.08),
    )
    for kind in BACKGROUNDS:
        scene = Scene(Background(kind, 210, 14, 5), things)
        large = cv2.resize(draw(scene, 192, paint_shape), (48, 48), interpolation=cv2.INTER_AREA)
        small = draw(scene, 48, paint_shape)
        assert np.abs(large.astype(int) - small).mean() < 1.0
        np.testing.assert_array_equal(small, draw(scene, 48, paint_shape))


def test_later_things_cover_earlier_ones():
    things = [Thing(Entity("square", c), (0.5, 0.5), 0.2) for c in ("red", "blue")]
    for order, colour in ((things, "blue"), (things[::-1], "red")):
        picture = draw(Scene(BLACK, tuple(order)), 40, paint_shape)
        np.testing.assert_array_equal(picture[20, 20], shapes.COLOURS[colour])


@pytest.fixture(scope="module")
def painter():
    return CASTS["emoji"].make_painter()


def test_every_emoji_can_be_drawn_and_is_about_as_heavy_as_any_other(painter):
    white = Background("plain", 255, 0, 0)
    covers = {}
    for noun in sprites.NOUNS:
        for style in sprites.STYLES:
            thing = Thing(Entity(noun, style), (0.5, 0.5), 0.1)
            dark = draw(Scene(BLACK, (thing,)), 64, painter).astype(int)
            light = draw(Scene(white, (thing,)), 64, painter).astype(int)
            # What lets the ground through is not of the emoji.
            covers[noun, style] = 1 - (light - dark).mean() / 255
    values = np.array(list(covers.values()))
    assert len(values) == 72
    assert values.min() > 0.05
    assert values.max() < 0.12
    assert np.median(values) == pytest.approx(0.1, rel=0.1)


def test_emoji_cut_by_the_edge(painter):
    thing = Thing(Entity("fox", "noto"), (0.0, 1.0), 0.2)
    picture = draw(Scene(BLACK, (thing,)), 40, painter)
    assert picture[:, 20:].max() == 0
    assert picture[20:, :10].max() > 0
    with_none = draw(Scene(BLACK, (thing._replace(centre=(2.0, 0.5)),)), 40, painter)
    assert with_none.max() == 0


def test_paper_is_cut_away_and_enclosed_white_is_kept():
    picture = np.full((20, 20, 3), 250, np.uint8)
    cv2.circle(picture, (9, 9), 6, (200, 0, 0), 1)
    found = sprites.cut_out(picture)
    assert found.shape == (13, 13, 4)
    assert found[0, 0, 3] == 0
    assert found[6, 6, 3] == 255
    assert (found[6, 6, :3] == 250).all()
