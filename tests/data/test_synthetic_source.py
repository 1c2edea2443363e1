"""Made-up records: the same each time, of the size of photographs, and worth learning from."""

import io
import pickle
import time

import numpy as np
import PIL.Image
import pytest

from bigclip.config import ConfigError
from bigclip.data.sources import open_source
from bigclip.data.synthetic_source import COLOURS, SHAPES


def open_synthetic(**options):
    return open_source(kind="synthetic", **{"num_records": 100, "num_pictures": 48, **options})


def small(**options):
    return open_synthetic(width=64, height=48, **options)


def test_a_record_is_a_function_of_seed_and_number():
    source = small()
    backwards = {n: source[n] for n in reversed(range(100))}
    again = pickle.loads(pickle.dumps(source))
    assert all(again[n] == backwards[n] for n in range(100))
    assert source.__getitems__([7, 99, 7]) == [source[7], source[99], source[7]]
    other = small(seed=1)
    assert other[3].image != source[3].image
    assert small(num_records=1000)[99] == source[99]
    with pytest.raises(IndexError):
        source[100]


def test_pictures_of_the_pool_come_again_with_other_captions():
    source = small(words=12)
    assert source[3].image == source[51].image
    assert source[3].captions != source[51].captions
    assert all(len(source[n].captions["caption"][0].split()) == 12 for n in range(100))


def test_captions_tell_what_is_drawn():
    """The middle of the shape has the colour that is told, nearer than to any other."""
    source = open_synthetic(width=160, height=120, words=5)
    shapes, right = set(), 0
    for number in range(48):
        record = source[number]
        size, colour, shape, on, background = record.captions["caption"][0].split()
        assert (record.metadata, on) == ({"colour": colour, "shape": shape}, "on")
        assert colour != background
        shapes.add((colour, shape))
        pixels = np.asarray(PIL.Image.open(io.BytesIO(record.image)), np.float32)
        flat = pixels.reshape(-1, 3)
        share = (np.abs(flat - COLOURS[colour]).max(-1) < 40).mean()
        right += share > 0.01
    assert shapes == {(colour, shape) for colour in COLOURS for shape in SHAPES}
    assert right >= 46  # a thin small ring may drown in grain


def test_sizes_and_formats():
    source = small(sizes=[(40, 30), (30, 50)], format="png")
    sizes = [PIL.Image.open(io.BytesIO(source[n].image)).size for n in range(4)]
    assert sizes == [(40, 30), (30, 50), (40, 30), (30, 50)]
    for name, kind in (("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")):
        assert PIL.Image.open(io.BytesIO(small(format=name)[0].image)).format == kind
    assert len(small(quality=30)[0].image) < 0.6 * len(small(quality=90)[0].image)


def test_costs_to_decode_what_photographs_cost_and_nothing_to_read():
    source = open_synthetic(num_records=100_000, num_pictures=12)
    mean = np.mean([len(source[n].image) for n in range(12)])
    assert 60_000 < mean < 76_000
    started = time.perf_counter()
    for number in range(1000):
        source[number]
    assert time.perf_counter() - started < 0.5  # drawing 1000 takes over 15 s


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_records": 0}, "num_records must be at least 1, not 0"),
        ({"words": 3}, "words must be at least 5 and at most 64, not 3"),
        ({"quality": 101}, "quality must be at least 1 and at most 100"),
        ({"format": "jpg"}, "format: no choice 'jpg'.*'jpeg'"),
        ({"sizes": [(4, 30)]}, "sizes must be .width, height. pairs"),
        ({"hight": 3}, "unknown key 'hight'.*'height'"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        open_synthetic(**options)
