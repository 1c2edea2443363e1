"""What we read from a .npz gives what big_vision's own code gave, and goes back bit by bit."""

import json
from pathlib import Path

import bv_models
import jax
import numpy as np
import pytest
from random_models import back

from bigclip.interop.big_vision import FORMAT
from bigclip.interop.files import open_weights
from bigclip.interop.format import ReadOptions
from bigclip.tasks import make_task

GOLDENS = Path(__file__).parents[2] / "goldens" / "interop" / "big_vision.npz"


@pytest.fixture(scope="module", params=bv_models.MODELS)
def brought_in(request, tmp_path_factory):
    """The name of a model, its file, the same as ours, and what its own code gave."""
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
    return request.param, path, back(FORMAT.read(path, ReadOptions(**options))), golden


def worst(ours, theirs):
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def test_outputs_equal_those_of_its_own_code(brought_in):
    name, _, ours, golden = brought_in
    prepare = ours.preprocess
    task = make_task(ours.manifest["task"], mean=prepare.mean, std=prepare.std)

    def outputs(params, pictures, ids):
        if name.startswith("vit"):
            found = task.image_features(params, pictures, ("projected",))
            return {"images": found["projected"]}
        found = {
            "images": task.embed_images(params, pictures),
            "texts": task.embed_texts(params, ids),
        }
        return found | {"logits": task.score(params, found["images"], found["texts"])}

    found = jax.jit(outputs)(bv_models.tree(ours.params), *bv_models.inputs())
    assert found.keys() == golden.keys()
    differences = {key: worst(value, golden[key]) for key, value in found.items()}
    print(name, differences)
    # Float32 sums in another order differ by a millionth; 1e-5 leaves room for another machine.
    assert max(differences.values()) < 1e-5


def test_goes_back_bit_by_bit(brought_in, tmp_path):
    name, path, ours, _ = brought_in
    FORMAT.write(tmp_path / "out.npz", ours)
    out = open_weights(tmp_path / "out.npz")
    theirs = {key: tensor.read() for key, tensor in open_weights(path).items()}
    if "scan" in name:  # layers go out one by one, see `vit.scan_to_pyloop`
        for key in [key for key in theirs if "encoderblock/" in key]:
            for layer, array in enumerate(theirs.pop(key)):
                theirs[key.replace("encoderblock/", f"encoderblock_{layer}/")] = array
    if "sincos" in name:  # what was computed goes out as a table
        assert out["params/img/pos_embedding"].shape == (1, 9, 48)
        theirs["params/img/pos_embedding"] = out["params/img/pos_embedding"].read()
    assert out.keys() == theirs.keys()
    for key, array in theirs.items():
        np.testing.assert_array_equal(out[key].read(), array, err_msg=key)
