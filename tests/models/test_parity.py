"""Towers against transformers' CLIPModel and SiglipModel with the same random weights."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from hf_weights import draw, to_bigclip
from model_inputs import inputs, logits

from bigclip.models import ImageTower, TextTower, architecture

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"


def embed(arch, params, images, tokens):
    dim = {"embed_dim": arch["embed_dim"], "dtype": "float32"}
    image_tower, text_tower = ImageTower(**arch["image"], **dim), TextTower(**arch["text"], **dim)
    image_emb, _ = jax.jit(image_tower.apply)({"params": params["image"]}, images)
    text_emb, _ = jax.jit(text_tower.apply)({"params": params["text"]}, tokens)
    return np.asarray(image_emb), np.asarray(text_emb)


def compare(arch, weights, images, tokens, expected):
    """Float32 sums in another order differ by about 1e-6 of the embedding's size; allow 1e-5.

    Logits are cosines times up to 14.3, so their absolute bound is 1e-4.
    """
    image_emb, text_emb = embed(arch, to_bigclip(weights), images, tokens)
    for ours, theirs in ((image_emb, expected["image_emb"]), (text_emb, expected["text_emb"])):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
    np.testing.assert_allclose(
        logits(image_emb, text_emb, weights), expected["logits"], rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("name", ["tiny-clip", "tiny-siglip"])
def test_outputs_equal_the_goldens_of_transformers(name):
    golden = np.load(GOLDENS / f"{name}.npz")
    shapes = json.loads(str(golden["shapes"]))
    weights = {key: draw(key, tuple(shape)) for key, shape in shapes.items()}
    arch = architecture(name)
    compare(arch, weights, *inputs(arch, num=4), golden)


@pytest.mark.peers
@pytest.mark.parametrize(
    "name",
    [
        "tiny-clip",
        "tiny-siglip",
        pytest.param("clip-vit-b-32", marks=pytest.mark.slow),
        pytest.param("siglip-b-16-224", marks=pytest.mark.slow),
    ],
)
def test_outputs_equal_transformers_live(name):
    pytest.importorskip("torch", reason="compares with transformers: pip install bigclip[peers]")
    pytest.importorskip("transformers", reason="pip install bigclip[peers]")
    import hf_models

    arch = architecture(name)
    model = hf_models.build(arch)
    weights = hf_models.fill(model)
    images, tokens = inputs(arch, num=2)
    compare(arch, weights, images, tokens, hf_models.outputs(model, images, tokens))


@pytest.mark.peers
@pytest.mark.parametrize(
    "change",
    [
        # open_clip's H/14 and bigG/14: exact GELU.
        {"image": {"activation": "gelu"}, "text": {"activation": "gelu"}},
        # So400m/14 at 384: the patches do not fill the image; MLP is no multiple of the width.
        {"image": {"image_size": 27, "mlp_width": 83}},
    ],
)
@pytest.mark.parametrize("name", ["tiny-clip", "tiny-siglip"])
def test_odd_geometries_equal_transformers_live(name, change):
    pytest.importorskip("torch", reason="compares with transformers: pip install bigclip[peers]")
    pytest.importorskip("transformers", reason="pip install bigclip[peers]")
    import hf_models

    arch = architecture(name, **change)
    model = hf_models.build(arch)
    weights = hf_models.fill(model)
    images, tokens = inputs(arch, num=2)
    compare(arch, weights, images, tokens, hf_models.outputs(model, images, tokens))
