import math

import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.training.durations import in_steps
from bigclip.training.schedules import make_schedule

RUN = {"total_steps": 100, "batch_size": 10, "epoch_examples": 200}


def values(**options):
    schedule = make_schedule(**RUN, **options)
    return np.array([float(schedule(step)) for step in range(100)])


def test_warmup_is_linear_and_moves_at_once():
    got = values(name="constant", warmup_steps=10)
    np.testing.assert_allclose(got[:10], np.arange(1, 11) / 10, rtol=1e-6)
    np.testing.assert_array_equal(got[10:], 1)


def test_cosine_against_its_formula():
    got = values(name="cosine", warmup_steps=20, final_fraction=0.1)
    expected = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (s - 20) / 80)) for s in range(20, 100)]
    np.testing.assert_allclose(got[20:], expected, rtol=1e-5)


def test_linear():
    np.testing.assert_allclose(values(name="linear"), 1 - np.arange(100) / 100, rtol=1e-5)


def test_rsqrt_with_cooldown():
    got = values(name="rsqrt", warmup_steps=10, timescale_steps=20, cooldown_steps=40)
    np.testing.assert_allclose(got[30], 1 / math.sqrt(1 + 20 / 20), rtol=1e-5)
    # Half way through the cool-down, half of the value without it.
    np.testing.assert_allclose(got[80], 0.5 / math.sqrt(1 + 70 / 20), rtol=1e-5)


@pytest.mark.parametrize(
    "unit", [{"warmup_steps": 40}, {"warmup_examples": 400}, {"warmup_epochs": 2}]
)
def test_units_mean_the_same(unit):
    np.testing.assert_array_equal(values(**unit), values(warmup_steps=40))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "cosin"}, "Did you mean 'cosine'"),
        ({"warmup_steps": 1, "warmup_epochs": 1}, "give warmup in one unit"),
        ({"warmup_steps": 80, "cooldown_steps": 30}, "longer together than the run"),
        ({"name": "cosine", "timescale_steps": 5}, "timescale is for rsqrt"),
        ({"name": "rsqrt", "final_fraction": 0.1}, "final_fraction is for cosine and linear"),
        ({"warmup_steps": -1}, "at least 0"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ConfigError, match=message):
        make_schedule(**RUN, **options)


def test_in_steps_rounds_and_tells_none():
    unit = {"batch_size": 32, "epoch_examples": 1000}
    assert in_steps("total", steps=None, examples=None, epochs=3, **unit) == 94
    assert in_steps("total", steps=None, examples=None, epochs=None, **unit) is None
