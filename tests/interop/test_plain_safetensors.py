"""Plain safetensors: there and back bit by bit, readable without bigclip, damaged files refused."""

import json
import pathlib

import numpy as np
import pytest
from random_models import (
    InMemory,
    assert_equal,
    bring_in,
    params_of,
    send_out,
    small_tokenizer,
    taken,
)

from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.interop import plain
from bigclip.interop.files import Spec, open_weights, write_safetensors
from bigclip.interop.format import ReadOptions
from bigclip.interop.outgoing import Outgoing
from bigclip.models import architecture

SIZES = {"depth": 2, "vocab_size": 300}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    arch = architecture("tiny-siglip", text=SIZES)
    model = InMemory(
        arch,
        loss="sigmoid",
        preprocess=Preprocess(size=24, resize="pad", mean=(0.1, 0.2, 0.3)),
        tokenizer=small_tokenizer(11),
    )
    return model.save(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def sent(ours, tmp_path_factory):
    return send_out(plain.FORMAT, ours, tmp_path_factory.mktemp("out") / "m.safetensors")


def test_comes_back_bit_by_bit(ours, sent, tmp_path):
    assert plain.recognises(sent)
    assert bring_in(plain.FORMAT, sent, tmp_path / "back") == ()
    before, after = Outgoing(ours), Outgoing(tmp_path / "back")
    assert_equal(params_of(tmp_path / "back"), params_of(ours))
    told = {**after.manifest}
    assert told.pop("origin") == {"format": "safetensors", "source": "m.safetensors"}
    told["task"] = {**told["task"], "scan": before.manifest["task"]["scan"]}
    assert told == {**before.manifest, "has_ema": False, "towers": ["image", "text"]}


def read_by_hand(path):
    """What https://github.com/huggingface/safetensors#format says, in JSON and numpy alone."""
    content = pathlib.Path(path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__")
    types = {"F32": "<f4", "U8": "u1"}
    arrays = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        array = np.frombuffer(content[begin:end], types[entry["dtype"]])
        arrays[name] = array.reshape(entry["shape"])
    return arrays, metadata


def check_contents(arrays, metadata, ours):
    manifest = json.loads(arrays.pop("manifest").tobytes())
    model = Outgoing(ours)
    assert manifest == {**model.manifest, "has_ema": False}
    assert json.loads(metadata["architecture"]) == model.architecture
    assert json.loads(metadata["preprocess"]) == model.preprocess.to_dict()
    assert_equal(arrays, params_of(ours))


def test_is_read_with_numpy_alone(ours, sent):
    check_contents(*read_by_hand(sent), ours)


@pytest.mark.peers
def test_is_read_by_the_library_of_safetensors(ours, sent):
    reason = "pip install bigclip[peers]"
    safetensors = pytest.importorskip("safetensors", reason=reason)
    numpy_side = pytest.importorskip("safetensors.numpy", reason=reason)
    with safetensors.safe_open(sent, framework="numpy") as file:
        metadata = file.metadata()
    check_contents(numpy_side.load_file(sent), metadata, ours)


def test_one_tower(ours, sent, tmp_path):
    image = plain.read(sent, ReadOptions(tower="image"))
    assert_equal(
        taken(image),
        {k: v for k, v in params_of(ours).items() if k.startswith("image/")},
        left_out=("log_logit_scale", "logit_bias"),
    )
    model, alone = Outgoing(ours), tmp_path / "image.safetensors"
    model.towers = ("image",)
    model.shapes = {k: v for k, v in model.shapes.items() if not k.startswith("text/")}
    plain.write(alone, model)
    assert plain.read(alone, ReadOptions()).towers == ("image",)
    with pytest.raises(ConfigError, match="holds the image tower alone"):
        plain.read(alone, ReadOptions(tower="text"))


def test_no_option_changes_what_the_file_tells(sent):
    with pytest.raises(ConfigError, match="tells its architecture itself"):
        plain.read(sent, ReadOptions(architecture="tiny-clip"))


def rewritten(sent, path, *, metadata=None, **change):
    """Copy the file with other arrays or metadata; a change to None leaves out."""
    weights = open_weights(sent)
    arrays = {name: tensor.read() for name, tensor in weights.items()} | change
    arrays = {name: array for name, array in arrays.items() if array is not None}
    specs = {name: Spec(array.shape, array.dtype) for name, array in arrays.items()}
    metadata = weights.metadata if metadata is None else metadata
    write_safetensors(path, specs, arrays.items(), metadata=metadata)
    return path


def as_bytes(text):
    return np.frombuffer(text.encode(), np.uint8)


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (None, "lacks 'bigclip_weights' or the array 'manifest'"),
        (np.zeros(3, np.float32), "cannot be used: float32"),
        (as_bytes("{"), "cannot be used"),
        (as_bytes("[" * 100_000), "cannot be used"),
        (as_bytes('{"format": 99}'), "not of format 1"),
        (as_bytes('{"format": 1}'), "'run_id' is missing, or of a wrong type"),
        (as_bytes('{"format": 1, "step": NaN}'), "NaN is no number of JSON"),
    ],
)
def test_damaged_manifests_are_refused(sent, tmp_path, manifest, told):
    path = rewritten(sent, tmp_path / "a.safetensors", manifest=manifest)
    with pytest.raises(ConfigError, match=told):
        plain.read(path, ReadOptions())


def test_what_is_missing_or_left_over_is_named(sent, tmp_path):
    path = rewritten(
        sent,
        tmp_path / "a.safetensors",
        **{"image/ln_post/bias": None, "image/ln_extra/bias": np.zeros(3, np.float32)},
    )
    with pytest.raises(ConfigError, match="image/ln_post/bias") as error:
        taken(plain.read(path, ReadOptions()))
    assert "no place here: image/ln_extra/bias" in str(error.value)


def test_quantised_numbers_are_refused(sent, tmp_path):
    """Without their scales they would be other numbers."""
    shape = open_weights(sent)["text/position"].shape
    change = {"text/position": np.ones(shape, np.int8)}
    path = rewritten(sent, tmp_path / "a.safetensors", **change)
    with pytest.raises(ConfigError, match=r"text/position is of type int8.* not quantised"):
        bring_in(plain.FORMAT, path, tmp_path / "m")


@pytest.mark.parametrize("name", ["x{}", "image/x{}", "text/block_{}/mlp", "{"])
def test_names_with_braces_are_refused(sent, tmp_path, name):
    """They stand for numbers of layers in the tables of formats."""
    path = rewritten(sent, tmp_path / "a.safetensors", **{name: np.ones(1, np.float32)})
    with pytest.raises(ConfigError, match="is no name of a parameter of bigclip"):
        plain.read(path, ReadOptions())


def test_files_of_others_and_of_later_versions(sent, tmp_path):
    other = rewritten(sent, tmp_path / "pt.safetensors", metadata={"format": "pt"})
    assert not plain.recognises(other)
    (tmp_path / "no.safetensors").write_bytes(b"no")
    assert not plain.recognises(tmp_path / "no.safetensors")
    later = rewritten(sent, tmp_path / "later.safetensors", metadata={"bigclip_weights": "2"})
    with pytest.raises(ConfigError, match="Use a newer bigclip"):
        plain.read(later, ReadOptions())


def test_a_large_vocabulary_fits(ours, tmp_path):
    """More than the header of the file may hold: readers stop at 1 to 100 MB."""
    model = Outgoing(ours)
    model.manifest["tokenizer"]["pieces"]["filling"] = "é" * 2_000_000
    plain.write(tmp_path / "large.safetensors", model)
    weights = open_weights(tmp_path / "large.safetensors")
    assert weights["manifest"].nbytes > 4_000_000
    assert plain.read_manifest(weights)["tokenizer"] == model.manifest["tokenizer"]
