"""Checks of options: what passes comes back as it is, what does not is told with its name."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigclip.config import ConfigError
from bigclip.evals import options

NO_NUMBERS = [None, "3", True, False, [3], math.nan, {}]


@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(-5, 5))
def test_whole_numbers_have_bounds(value, least, most):
    if least <= value <= most:
        assert options.whole(value, "n", least=least, most=most) == value
    else:
        with pytest.raises(ConfigError, match=f"n = {value}: needs a whole number from {least} to"):
            options.whole(value, "n", least=least, most=most)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1, 2.0])
def test_a_whole_number_is_an_integer_above_zero(value):
    with pytest.raises(ConfigError, match="tile = .*: needs a whole number of at least 1"):
        options.whole(value, "tile")


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -0.5, math.inf])
def test_positive_numbers(value):
    assert options.positive(0.07, "temperature") == 0.07
    assert options.positive(3, "temperature") == 3
    with pytest.raises(ConfigError, match="temperature = .*: needs a positive number"):
        options.positive(value, "temperature")


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 1, 1.5, -0.1])
def test_shares(value):
    assert options.share(0.2, "held_out") == 0.2
    with pytest.raises(ConfigError, match="held_out = .*: needs a number between 0 and 1"):
        options.share(value, "held_out")


def test_seeds_flags_and_names():
    assert options.seed(0) == 0
    assert options.flag(False, "spread") is False
    assert options.text("style", "group_by") == "style"
    for check, value, message in (
        (lambda v: options.seed(v), -1, "seed = -1"),
        (lambda v: options.flag(v, "spread"), 1, "spread = 1: needs True or False"),
        (lambda v: options.text(v, "group_by"), "", "group_by = '': needs a name"),
    ):
        with pytest.raises(ConfigError, match=message):
            check(value)


def test_several_values_are_checked_one_by_one():
    assert options.several(3, "ks", options.whole) == [3]
    assert options.several((20, 5), "ks", options.whole) == [20, 5]
    for values, message in (
        ([], "ks = .*: needs at least 1"),
        ([5, 5], "ks = .*: needs each once"),
        ([5, 0], "ks = 0: needs a whole number"),
        ([[5]], "needs a whole number"),
    ):
        with pytest.raises(ConfigError, match=message):
            options.several(values, "ks", options.whole)
    with pytest.raises(ConfigError, match="needs at least 2"):
        options.several([1], "counts", options.whole, least_count=2)


def test_choices_name_the_nearest():
    assert options.choices(("fog", "snow"), {"snow": 1, "fog": 2}, "corruptions") == ["fog", "snow"]
    for values, message in (
        (["fogg"], "corruptions: no choice 'fogg'. Did you mean 'fog'"),
        ("fog", "corruptions = 'fog': needs a list of choices"),
        ([], "needs a list"),
        (["fog", "fog"], "needs each once"),
        ([["fog"]], "no choice"),
    ):
        with pytest.raises(ConfigError, match=message):
            options.choices(values, ["fog", "snow"], "corruptions")
    with pytest.raises(ConfigError, match="no choice True"):
        options.choices([True], [1, 2], "strengths")
