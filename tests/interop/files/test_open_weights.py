"""What a file holds decides how it is opened; and indexes of shards."""

import json
import os

import numpy as np
import pytest
from archives import assert_holds, odd_arrays, specs_of

from bigclip.config import ConfigError
from bigclip.interop.files import open_weights, write_npz, write_safetensors, write_torch

WRITERS = {"safetensors": write_safetensors, "torch": write_torch, "npz": write_npz}


@pytest.mark.parametrize("kind", WRITERS)
def test_content_decides_not_the_suffix(tmp_path, kind):
    arrays = odd_arrays()
    path = tmp_path / "weights.dat"
    WRITERS[kind](path, specs_of(arrays), arrays.items())
    weights = open_weights(path, kind=kind)
    assert weights.path == str(path)
    assert_holds(weights, arrays)
    for other in WRITERS.keys() - {kind}:
        with pytest.raises(ConfigError, match=f"holds weights as {kind}; {other} is needed"):
            open_weights(path, kind=other)


def test_refuses_an_unknown_kind(tmp_path):
    with pytest.raises(ConfigError, match="no kind 'pickle' of files; safetensors, torch, npz"):
        open_weights(tmp_path, kind="pickle")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x80\x02}q\x00.", "never executed"),
        (b"\x93NUMPY\x01\x00", r"no names.*np\.savez"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!doctype html>", "/resolve/ in the address"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"GGUF\x03", "GGUF"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"hello", "begins with b'hello'"),
        (b"PK\x03\x04hello", "zip archive cannot be read"),
        (b'{"config": 1}', "without weight_map"),
        (b"{", "cannot be read"),
        (b" \n{}", "without weight_map"),
    ],
)
def test_says_what_the_file_is_instead(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        open_weights(tmp_path / "x")


def test_refuses_what_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        open_weights(tmp_path / "x.npz")
    with pytest.raises(ConfigError, match="cannot be read"):
        open_weights("a\0b")
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "README.md").touch()
    with pytest.raises(ConfigError, match=r"is a folder; .* In it: model\.safetensors\."):
        open_weights(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ConfigError, match="this is none"):
            open_weights(path)


def sharded(folder, kind="safetensors"):
    """Two shards and their index; returns the index's path and the arrays."""
    arrays = {"a": np.arange(3.0), "b": np.zeros((2, 2), np.float32), "c": np.array(7)}
    listed = {"a": "part-1.bin", "c": "part-1.bin", "b": "part-2.bin"}
    for shard in set(listed.values()):
        part = {name: arrays[name] for name in arrays if listed[name] == shard}
        WRITERS[kind](folder / shard, specs_of(part), part.items())
    index = folder / "model.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": listed}))
    return index, arrays


@pytest.mark.parametrize("kind", WRITERS)
def test_shards(tmp_path, kind):
    index, arrays = sharded(tmp_path, kind)
    weights = open_weights(index, kind=kind)
    assert list(weights) == ["a", "c", "b"]
    assert_holds(weights, arrays)
    with pytest.raises(ConfigError, match="is needed here"):
        open_weights(index, kind="npz" if kind == "torch" else "torch")


def test_shards_that_are_links(tmp_path):
    """As the cache of Hugging Face has them."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    index, arrays = sharded(tmp_path / "blobs")
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    assert_holds(open_weights(tmp_path / "snapshot" / index.name), arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": "../../etc/passwd"}, "'../../etc/passwd', which is no name of a file beside it"),
        ({"a": "/etc/passwd"}, "no name of a file beside it"),
        ({"a": "C:\\secrets"}, "no name of a file beside it"),
        ({"a": ".."}, "which is not beside it"),
        ({"a": ""}, "no name of a file beside it"),
        ({"a": "\x1b[2J"}, "no name of a file beside it"),
        ({"a": 3}, "lists a int, which is no name"),
        ({"a": ["part-1.bin"]}, "lists a list, which is no name"),
        ({"a": "part-3.bin"}, "'part-3.bin', which is not beside it; copy it, too"),
        ({"a": "model.index.json"}, "which is an index itself"),
        ({"a": "part-2.bin"}, "a is not in part-2.bin, where the index has it"),
        ({"d": "part-1.bin"}, "d is not in part-1.bin"),
        ({"\x07": "part-1.bin"}, "control characters"),
        ({"c": None}, "part-1.bin holds 1 tensors that the index does not have there: c"),
    ],
)
def test_refuses_indexes(tmp_path, change, message):
    index, _ = sharded(tmp_path)
    content = json.loads(index.read_text())
    content["weight_map"] |= change
    if "c" in change:
        del content["weight_map"]["c"]
    index.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        open_weights(index)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"weight_map": {}}', "holds no tensors"),
        ('{"weight_map": ["a"]}', "without weight_map"),
        ('{"weight_map": {"a": "x", "a": "y"}}', "a name stands there twice"),
        ('{"weight_map": ' + "[" * 100_000, "cannot be read"),
    ],
)
def test_refuses_broken_indexes(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        open_weights(tmp_path / "x.json")
