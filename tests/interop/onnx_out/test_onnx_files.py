"""ONNX files without onnxruntime: what they hold, and what is refused."""

import copy
import io
import json
import sys
import types

import numpy as np
import pytest
import sentencepiece
import tokenizers
from onnx_geometries import GEOMETRIES, TEXTS, random_model
from random_models import small_tokenizer

from bigclip.config import ConfigError
from bigclip.data.tokenizer import Tokenizer, sentencepiece_tokenizer
from bigclip.interop.files import Spec
from bigclip.interop.onnx_out import FORMAT, messages, towers
from bigclip.interop.onnx_out.descriptions import describe, write_descriptions
from bigclip.interop.onnx_out.export import write
from bigclip.interop.onnx_out.graph import Graph, model_message
from bigclip.interop.onnx_out.weights import Part, write_models

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
    outgoing, folder = random_model(GEOMETRIES["siglip"], loss="sigmoid"), tmp_path
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
    assert content["texts"]["context_length"] == 11


def small_sentencepiece(folder):
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["red fox", "blue owl", "a naïve zebra, 7 times"] * 9),
        model_writer=written,
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    path = folder / "small.model"
    path.write_bytes(written.getvalue())
    return sentencepiece_tokenizer(str(path), context_length=11, clean="canonical")


def padded_with_a_word():
    """A tokenizer that pads with "!", as OpenAI's does."""
    data = small_tokenizer(9).to_dict()
    return Tokenizer.from_dict(data | {"pad": data["pieces"]["model"]["vocab"]["!"]})


@pytest.mark.parametrize("name", ["bytes", "padded with a word", "sentencepiece"])
def test_tokenizer_json_gives_our_ids_by_itself(name, tmp_path):
    tokenizer = {
        "bytes": lambda: small_tokenizer(11, clean="canonical"),
        "padded with a word": padded_with_a_word,
        "sentencepiece": lambda: small_sentencepiece(tmp_path),
    }[name]()
    outgoing = types.SimpleNamespace(towers=("text",), tokenizer=tokenizer, architecture={})
    write_descriptions(tmp_path, describe(outgoing))
    cut = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert (tmp_path / "spiece.model").exists() == (name == "sentencepiece")
    texts = [*TEXTS, "Blue_owl!", "a, b-c [d] ^e", "\tNAÏVE  Œuvre\n", "<|endoftext|> <pad>"]
    assert [cut.encode(text).ids for text in texts] == tokenizer(texts).tolist()
    facts = json.loads((tmp_path / "preprocess.json").read_text())["texts"]
    assert facts["context_length"] == tokenizer.context_length
    assert (facts["eot"], facts["clean"]) == (tokenizer.eot, tokenizer.clean)


def test_unknown_parts_are_refused_before_anything_is_written(tmp_path):
    outgoing = random_model(copy.deepcopy(GEOMETRIES["clip"]))
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
