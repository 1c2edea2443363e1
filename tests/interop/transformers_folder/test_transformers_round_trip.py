"""Folders of transformers, out and in again, without the library.

Names and shapes are held against the goldens that transformers made; what the table makes of their
arrays, by outputs, in tests/models/test_parity.py.
"""

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from random_models import assert_equal, back, send_out, taken
from tiny_folders import CLIP, KINDS, SIGLIP, as_from, folder_of, model_of

from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.interop.files import Spec, open_weights, write_safetensors
from bigclip.interop.format import ReadOptions
from bigclip.interop.importing import import_model
from bigclip.interop.transformers_folder import FORMAT
from bigclip.models import architecture

GOLDENS = Path(__file__).parents[2] / "goldens" / "models"


@pytest.fixture(scope="module")
def models():
    return {kind: model_of(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def folders(models, tmp_path_factory):
    place = tmp_path_factory.mktemp("theirs")
    return {kind: folder_of(models[kind], place / kind) for kind in KINDS}


def weights_of(folder):
    weights = open_weights(folder / "model.safetensors")
    return {name: tensor.read() for name, tensor in weights.items()}


def read(folder, **options):
    return FORMAT.read(folder, ReadOptions(**options))


@pytest.mark.parametrize("kind", KINDS)
def test_out_and_in_and_out_again_is_bit_identical(models, folders, kind, tmp_path):
    assert FORMAT.recognises(folders[kind])
    imported = read(folders[kind])
    assert len(imported.notes) == (kind != "siglip")
    again = as_from(kind, back(imported))
    assert_equal(again.params, models[kind].params)
    for part in ("architecture", "loss", "preprocess", "tokenizer"):
        assert getattr(again, part) == getattr(models[kind], part)
    folder = folder_of(again, tmp_path / "again")
    assert_equal(weights_of(folder), weights_of(folders[kind]))
    for file in folders[kind].glob("*.json"):
        assert json.loads((folder / file.name).read_text()) == json.loads(file.read_text())


def test_pictures_that_are_resized_otherwise_there_are_told(models, tmp_path):
    model = copy.copy(models["siglip"])
    model.notes = []
    model.preprocess = dataclasses.replace(model.preprocess, interpolation="bilinear_aliased")
    folder_of(model, tmp_path / "theirs")
    assert len(model.notes) == 1
    assert "'bilinear' instead of 'bilinear_aliased'" in model.notes[0]


def test_a_checkpoint_on_the_disk(folders, tmp_path):
    origin = {"format": "transformers", "source": "clip"}
    import_model(read(folders["clip"]), tmp_path / "ours", origin=origin)
    kept = checkpoints.read_manifest(tmp_path / "ours")["origin"]
    assert kept == {**origin, "class": "CLIPModel"}
    assert "blocks" in checkpoints.params_shapes(tmp_path / "ours")["image"]
    folder = send_out(FORMAT, tmp_path / "ours", tmp_path / "theirs")
    assert_equal(weights_of(folder), weights_of(folders["clip"]))
    assert (folder / "README.md").exists()


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_names_and_shapes_are_those_of_the_library(folders, kind):
    shapes = json.loads(str(np.load(GOLDENS / f"tiny-{kind}.npz")["shapes"]))
    shapes["text_model.embeddings.token_embedding.weight"][0] = 300
    written = open_weights(folders[kind] / "model.safetensors")
    assert {name: list(tensor.shape) for name, tensor in written.items()} == shapes
    assert {tensor.dtype for tensor in written.values()} == {np.dtype(np.float32)}
    assert written.metadata == {"format": "pt"}


def test_flat_patches_are_the_convolution(folders):
    """NaFlex: patches are flattened row by row, the channels of a pixel together."""
    name = "vision_model.embeddings.patch_embedding.weight"
    kernel, flat = weights_of(folders["siglip"])[name], weights_of(folders["siglip2"])[name]
    patch = np.random.default_rng(0).standard_normal((8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(
        flat @ patch.reshape(-1), np.einsum("ochw,hwc->o", kernel, patch), rtol=1e-4, atol=1e-5
    )


def test_a_bias_of_the_patches_becomes_part_of_their_positions(tmp_path):
    model = model_of("clip", arch=architecture(CLIP, image={"patch_bias": True}))
    ours, found = model.params, taken(read(folder_of(model, tmp_path / "theirs")))
    assert ours.keys() - found.keys() == {"image/stem/bias"}
    expected = ours["image/position"].copy()
    expected[1:] += ours["image/stem/bias"]
    np.testing.assert_array_equal(found.pop("image/position"), expected)
    assert_equal(ours, found, left_out=("image/position", "image/stem/bias"))


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_biases_that_a_siglip_lacks_are_zero(kind, tmp_path):
    arch = architecture(SIGLIP, image={"patch_bias": False}, text={"projection_bias": False})
    model = model_of(kind, arch=arch, loss="softmax")
    found = taken(read(folder_of(model, tmp_path / "theirs")))
    added = {"image/stem/bias": 48, "text/projection/bias": 48, "logit_bias": 1}
    assert_equal(found, model.params, left_out=added)
    for name, size in added.items():
        np.testing.assert_array_equal(found[name].reshape(-1), np.zeros(size, np.float32))


@pytest.mark.parametrize("tower", ["image", "text"])
def test_one_tower_comes_in(models, folders, tower):
    found = taken(read(folders["siglip2"], tower=tower))
    whole = models["siglip"].params
    assert_equal(found, {n: a for n, a in whole.items() if n.startswith(f"{tower}/")})


def test_a_naflex_model_with_another_tokenizer_becomes_a_siglip(models, tmp_path):
    """transformers opens no other tokenizer than Gemma's there."""
    model = as_from("siglip2", back(read(folder_of(models["siglip"], tmp_path / "siglip"))))
    folder = folder_of(model, tmp_path / "theirs")
    assert json.loads((folder / "config.json").read_text())["model_type"] == "siglip"


def test_half_precision_is_told(folders, tmp_path):
    folder = copied(folders["clip"], tmp_path / "half")
    arrays = {name: array.astype(np.float16) for name, array in weights_of(folder).items()}
    write_weights(folder, arrays)
    assert "The weights are stored as float16; here they become float32." in read(folder).notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_model.post_layernorm.bias": None}, "lacks 1 arrays: vision_model.post_layernorm"),
        ({"text_model.adapter.weight": (3,)}, "have no place here: text_model.adapter.weight"),
        ({"vision_model.encoder.layers.3.layer_norm1.bias": (48,)}, "no place here: vision_model"),
        ({"visual_projection.weight": (31, 48)}, r"gives image/projection/kernel \[48, 31\]"),
        ({"text_model.embeddings.position_ids": (1, 11)}, None),  # of older versions
    ],
)
def test_arrays_left_over_missing_and_misshapen(folders, change, message, tmp_path):
    folder = copied(folders["clip"], tmp_path / "changed")
    arrays = weights_of(folder)
    for name, shape in change.items():
        arrays.pop(name, None)
        if shape is not None:
            arrays[name] = np.zeros(shape, np.float32)
    write_weights(folder, arrays)
    if message is None:
        taken(read(folder))
        return
    with pytest.raises(ConfigError, match=message):
        taken(read(folder))


def test_a_flat_kernel_of_another_shape(folders, tmp_path):
    folder = copied(folders["siglip2"], tmp_path / "changed")
    name = "vision_model.embeddings.patch_embedding.weight"
    write_weights(folder, weights_of(folder) | {name: np.zeros((48, 191), np.float32)})
    with pytest.raises(ConfigError, match=r"must be \[48, 192\], but is \[48, 191\]"):
        read(folder)


def copied(folder, dest):
    return Path(shutil.copytree(folder, dest))


def write_weights(folder, arrays):
    (folder / "model.safetensors").unlink()
    specs = {name: Spec(array.shape, array.dtype) for name, array in arrays.items()}
    write_safetensors(folder / "model.safetensors", specs, arrays.items())
