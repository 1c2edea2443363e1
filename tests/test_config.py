"""Strict reading: the message must lead the user to the mend."""

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

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


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("/data/{000..127}.tar", ["/data/{000..127}.tar"]),
        ("['a.tar', 'b c.tar']", ["a.tar", "b c.tar"]),
        ("('a.tar',)", ["a.tar"]),
        ("[]", []),
        ("3", [3]),
    ],
)
def test_lists_can_be_changed_on_the_command_line(tmp_path, monkeypatch, said, meant):
    path = tmp_path / "some.py"
    path.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n"
        "    return ConfigDict({'source': {'shards': ['embedded.tar']}})\n"
    )
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)
    words = ["train", f"--config={path}", f"--config.source.shards={said}"]
    # config_flags looks for the changed keys in the words themselves.
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=words)
    assert config.parse_config_flags(words) == ["train"]
    assert values.config.source.shards == meant
