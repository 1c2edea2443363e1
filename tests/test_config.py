"""Strict reading: the message must lead the user to the mend."""

import pytest
from ml_collections import ConfigDict

from bigclip import config


def reader(first, *, learning_rate, warmup_steps=100, given=None):
    return first, learning_rate, warmup_steps, given


def test_call_passes_block_and_given_arguments():
    block = ConfigDict({"learning_rate": 0.1})
    assert config.call(reader, block, "optimizer", 1, given=2) == (1, 0.1, 100, 2)


def test_unknown_key_names_the_nearest_and_lists_the_valid():
    with pytest.raises(config.ConfigError) as error:
        config.check(reader, {"learning_rte": 1.0}, "optimizer", given=("first", "given"))
    message = str(error.value)
    assert "config.optimizer" in message
    assert "Did you mean 'learning_rate'?" in message
    assert "Valid: learning_rate, warmup_steps." in message


def test_what_the_code_supplies_is_no_key():
    with pytest.raises(config.ConfigError, match="unknown key 'given'"):
        config.check(
            reader, {"learning_rate": 1.0, "given": 3}, "optimizer", given=("first", "given")
        )


def test_missing_key():
    with pytest.raises(config.ConfigError, match="config.optimizer.learning_rate is missing"):
        config.check(reader, {}, "optimizer", given=("first", "given"))


def test_block_that_is_no_block():
    with pytest.raises(config.ConfigError, match="must be a block"):
        config.check(reader, 3, "optimizer")


def test_resolve_fills_in_the_defaults():
    block = {"learning_rate": 0.5}
    assert config.resolve(reader, block, given=("first", "given")) == {
        "learning_rate": 0.5,
        "warmup_steps": 100,
    }


def test_choose():
    assert config.choose("a", {"a": 1}, "config.x") == 1
    with pytest.raises(config.ConfigError, match="config.x: no choice 'sofmax'.*'softmax'"):
        config.choose("sofmax", {"softmax": 1, "sigmoid": 2}, "config.x")


def test_plain_takes_data_only():
    assert config.plain(ConfigDict({"a": (1, 2), "b": {"c": None}})) == {
        "a": [1, 2],
        "b": {"c": None},
    }
    assert config.plain({"a": ConfigDict({"b": 1})}) == {"a": {"b": 1}}
    with pytest.raises(config.ConfigError, match="plain data"):
        config.plain({"a": len})
    with pytest.raises(config.ConfigError, match="plain data"):
        config.plain({"a": float("nan")})


def test_differences_are_named_by_path():
    old, new = {"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3, "d": 4}}
    assert config.differences(old, new) == ["config.a.c: 2 -> 3", "config.a.d: None -> 4"]
