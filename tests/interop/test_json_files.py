"""JSON files of anyone's: an object, with every name once and every number finite."""

import json

import pytest

from bigclip.config import ConfigError
from bigclip.interop.json_files import parse_json, read_json, write_json


def test_out_and_in(tmp_path):
    content = {"a": [1, -2.5e-6, None, True], "ü": {"": "\u2581"}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert parse_json(b" {} \n", "x") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"std": NaN}', "NaN is no finite number"),
        (b'{"a": [{"eps": -Infinity}]}', "-Infinity is no finite number"),
        (b'{"a": 1e999}', "1e999 is no finite number"),
        (b'{"a": {"b": 1, "b": 1}}', "a name stands there twice"),
        (b"[1]", "holds no JSON object, but a list"),
        (b"{", "cannot be read as JSON"),
        (b'{"a": "\xff"}', "cannot be read as JSON"),
        (b'{"a": ' + b"[" * 100_000, "cannot be read as JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "cannot be read as JSON"),
    ],
)
def test_refuses(content, message, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ConfigError, match=f"a.json {message}|a.json .*: {message}"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="^the header"):
        parse_json(content, "the header")


def test_refuses_what_is_no_small_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot read .*absent.json: No such file"):
        read_json(tmp_path / "absent.json")
    with open(tmp_path / "large.json", "wb") as file:
        file.write(json.dumps({}).encode())
        file.truncate((1 << 28) + 1)
    with pytest.raises(ConfigError, match="has more than 268,435,456 bytes"):
        read_json(tmp_path / "large.json")
