"""What we read from a .npz gives what big_vision's own code gave, and goes back bit by bit."""

import json
from pathlib import Path

import bv_models
import jax
import numpy as np
import pytest
from random_models import bring_in, send_out

import bigclip
from bigclip.interop.big_vision import FORMAT
from bigclip.interop.files import open_weights

GOLDENS = Path(__file__).parents[2] / "goldens" / "interop" / "big_vision.npz"


@pytest.fixture(scope="module", params=bv_models.MODELS)
def brought_in(request, tmp_path_factory):
    """The name of a model, its file and our checkpoint of it."""
    folder = tmp_path_factory.mktemp(request.param)
    with np.load(GOLDENS) as goldens:
        golden = {
            name.split("/")[1]: goldens[name]
            for name in goldens
            if name.startswith(f"{request.param}/")
        }
    arrays = bv_models.draw(json.loads(str(golden.pop("shapes"))))
    path = bv_models.write(folder / "theirs.npz", arrays)
    options = {} if "texts" not in golden else {"tokenizer": bv_models.tokenizer_file(folder)}
    if "sincos" in request.param:  # whose file does not tell the size of its pictures
        options["architecture"] = "tiny-siglip"
    bring_in(FORMAT, path, folder / "ours", **options)
    return request.param, path, folder / "ours", golden


def worst(ours, theirs):
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def test_outputs_equal_those_of_its_own_code(brought_in):
    name, _, ours, golden = brought_in
    model = bigclip.load(ours)
    pictures, ids = bv_models.inputs()
    if name.startswith("vit"):
        found = {"images": model.image_features(pictures, "projected")["projected"]}
    else:
        found = {"images": model.embed_images(pictures)}
        found["texts"] = np.asarray(jax.jit(model.task.embed_texts)(model.params, ids))
        found["logits"] = model.score(found["images"], found["texts"])
    assert found.keys() == golden.keys()
    differences = {key: worst(value, golden[key]) for key, value in found.items()}
    print(name, differences)
    # Float32 sums in another order differ by a millionth; 1e-5 leaves room for another machine.
    assert max(differences.values()) < 1e-5


def test_goes_back_bit_by_bit(brought_in, tmp_path):
    name, path, ours, _ = brought_in
    back = open_weights(send_out(FORMAT, ours, tmp_path / "back.npz"))
    theirs = {key: tensor.read() for key, tensor in open_weights(path).items()}
    if "scan" in name:  # layers go out one by one, see `vit.scan_to_pyloop`
        for key in [key for key in theirs if "encoderblock/" in key]:
            for layer, array in enumerate(theirs.pop(key)):
                theirs[key.replace("encoderblock/", f"encoderblock_{layer}/")] = array
    if "sincos" in name:  # what was computed goes out as a table
        assert back["params/img/pos_embedding"].shape == (1, 9, 48)
        theirs["params/img/pos_embedding"] = back["params/img/pos_embedding"].read()
    assert back.keys() == theirs.keys()
    for key, array in theirs.items():
        np.testing.assert_array_equal(back[key].read(), array, err_msg=key)
