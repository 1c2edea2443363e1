"""ONNX files without onnxruntime: what they hold, and what is refused."""

import json
import sys

import numpy as np
import pytest
import tokenizers
from onnx_checkpoints import GEOMETRIES, TEXTS, save_checkpoint

from bigclip.config import ConfigError
from bigclip.data.text_cleaning import CLEANERS
from bigclip.data.tokenizer import Tokenizer
from bigclip.data.tokenizer.training import train_tokenizer
from bigclip.interop.files import Spec
from bigclip.interop.onnx_out import FORMAT, messages, towers
from bigclip.interop.onnx_out.descriptions import tokenizer_json
from bigclip.interop.onnx_out.export import write
from bigclip.interop.onnx_out.graph import Graph, model_message
from bigclip.interop.onnx_out.weights import Part, write_models
from bigclip.interop.outgoing import Outgoing

FLOAT32 = np.dtype(np.float32)
ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scale": np.full((), 3, np.float32),
    "a": np.full((200,), 7, np.float32),  # a size that takes two bytes to say
}
SPECS = {name: Spec(array.shape, FLOAT32) for name, array in ARRAYS.items()}


def part(*names: str) -> Part:
    graph = Graph()
    graph.input("x", np.float32, ("batch", 3))
    for index, name in enumerate(names):
        graph.add("Gather", ["x", graph.parameter(name)], f"y{index}", axis=0)
    graph.output("y0", ("batch",))
    message = model_message(graph.message("test"), version="1", metadata={"key": "value"})
    return Part(message, tuple(graph.parameters))


def parsed(path):
    return type(messages.message("Model")).FromString(path.read_bytes())


def held(model, folder) -> dict[str, np.ndarray]:
    """The parameters of a model, wherever they lie."""
    found = {}
    for tensor in model.graph.initializer:
        data = tensor.raw_data
        if tensor.data_location == messages.EXTERNAL:
            where = {entry.key: entry.value for entry in tensor.external_data}
            start = int(where["offset"])
            data = (folder / where["location"]).read_bytes()[start : start + int(where["length"])]
        if not tensor.name.startswith("constants/"):
            found[tensor.name] = np.frombuffer(data, "<f4").reshape(tuple(tensor.dims))
    return found


@pytest.mark.parametrize("max_file_bytes", [1 << 30, 16])
def test_arrays_find_their_places_in_any_order(max_file_bytes, tmp_path):
    parts = {"one.onnx": part("a", "b"), "two.onnx": part("b", "scale")}
    arrays = list(reversed(ARRAYS.items()))
    write_models(tmp_path, parts, SPECS, arrays, max_file_bytes=max_file_bytes)
    assert (tmp_path / "model.onnx_data").exists() == (max_file_bytes == 16)
    for name, one in parts.items():
        model = parsed(tmp_path / name)
        assert model.opset_import[0].version == messages.OPSET
        assert model.metadata_props[0].value == "value"
        assert model.graph.node[0].attribute[0].HasField("i")  # 0, and not left out
        found = held(model, tmp_path)
        assert found.keys() == set(one.parameters)
        for key, array in found.items():
            np.testing.assert_array_equal(array, ARRAYS[key])
            assert array.shape == ARRAYS[key].shape


def test_arrays_that_are_missing_or_doubled_are_found(tmp_path):
    parts = {"one.onnx": part("a", "b", "scale")}
    with pytest.raises(ValueError, match="did not come: scale"):
        write_models(tmp_path, parts, SPECS, [(n, ARRAYS[n]) for n in ("b", "a")])
    (tmp_path / "one.onnx").unlink()
    with pytest.raises(ValueError, match="b: comes twice"):
        write_models(tmp_path, parts, SPECS, [("b", ARRAYS["b"])] * 2)


def test_two_values_of_one_name_are_refused():
    graph = Graph()
    graph.add("Identity", ["x"], "y")
    with pytest.raises(ValueError, match="two values named 'y'"):
        graph.add("Identity", ["x"], "y")
    assert graph.integers(1, 2) == graph.integers(1, 2) != graph.integers(2, 1)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_value_is_known_before_it_is_used(name):
    arch = GEOMETRIES[name]
    graph = towers.joint_graph(arch, ("log_logit_scale", "logit_bias"))
    message = graph.message("model")
    known = {one.name for one in (*message.input, *message.initializer)} | graph.parameters.keys()
    for node in message.node:
        assert set(node.input) <= known, node.name
        known |= set(node.output)
    assert {one.name for one in message.output} <= known
    used = {value for node in message.node for value in node.input}
    assert graph.parameters.keys() <= used


def test_a_checkpoint_goes_out_under_our_names(tmp_path):
    save_checkpoint(tmp_path / "ours", GEOMETRIES["siglip"], loss="sigmoid")
    outgoing = Outgoing(tmp_path / "ours")
    folder = tmp_path / "theirs"
    folder.mkdir()
    write(folder, outgoing)
    assert FORMAT.recognises(folder)
    found = held(parsed(folder / "model.onnx"), folder)
    assert found.keys() == outgoing.shapes.keys()
    for name, array in found.items():
        ours = outgoing.read(name)
        expected = ours.transpose(3, 2, 0, 1) if name == "image/stem/kernel" else ours
        np.testing.assert_array_equal(array, expected)
    image = held(parsed(folder / "vision_model.onnx"), folder)
    text = held(parsed(folder / "text_model.onnx"), folder)
    assert {*image, *text, "log_logit_scale", "logit_bias"} == found.keys()
    assert not image.keys() & text.keys()
    content = json.loads((folder / "preprocess.json").read_text())
    assert content["images"] == outgoing.preprocess.to_dict()
    assert content["texts"]["file"] == "tokenizer.json"
    assert content["texts"]["context_length"] == 11


@pytest.mark.parametrize("clean", CLEANERS)
def test_tokenizer_json_gives_our_ids_by_itself(clean):
    tokenizer = train_tokenizer(
        ["red fox", "Blue_owl!"] * 4, vocab_size=300, context_length=11, clean=clean
    )
    cut = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
    texts = [*TEXTS, "Blue_owl!", "a, b-c [d] ^e\\ 'f'", "\tNAÏVE  Œuvre\n", "狐 🦊"]
    assert [cut.encode(text).ids for text in texts] == tokenizer(texts).tolist()


def test_special_ids_may_be_missing():
    data = train_tokenizer(["red fox"] * 4, vocab_size=300, context_length=5).to_dict()
    for changes in ({"sot": None}, {"eot": None}, {"sot": None, "eot": None}):
        tokenizer = Tokenizer.from_dict(data | changes)
        cut = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
        texts = ["fox", "red fox red fox red fox"]
        assert [cut.encode(text).ids for text in texts] == tokenizer(texts).tolist()


def test_unknown_parts_are_refused_before_anything_is_written(tmp_path):
    save_checkpoint(tmp_path / "ours", GEOMETRIES["clip"])
    outgoing = Outgoing(tmp_path / "ours")
    outgoing.architecture["image"]["activation"] = "relu6"
    with pytest.raises(ConfigError, match="no operators .* 'relu6'"):
        write(tmp_path / "absent", outgoing)
    assert not (tmp_path / "absent").exists()


def test_without_onnxruntime_the_mend_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="pip install onnxruntime"):
        FORMAT.reference(tmp_path)


def test_a_folder_without_models_is_refused(tmp_path):
    pytest.importorskip("onnxruntime", reason="not installed: pip install bigclip[peers]")
    with pytest.raises(ConfigError, match="holds neither vision_model.onnx nor"):
        FORMAT.reference(tmp_path)
