"""Against big_vision's own code, live: in its models, and in real size."""

import os

import bv_models
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from random_models import (
    InMemory,
    assert_proven,
    bring_in,
    figures,
    send_out,
    small_tokenizer,
)

from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import save_tokenizer
from bigclip.interop.big_vision import FORMAT, config_text
from bigclip.interop.big_vision.reference import import_big_vision
from bigclip.interop.files import open_weights
from bigclip.interop.format import ReadOptions
from bigclip.models import TextTower, architecture

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(
        "BIG_VISION" not in os.environ,
        reason="big_vision is no package: clone it, and set BIG_VISION to the clone's path",
    ),
]
HALF = (0.5, 0.5, 0.5)


def random_model(arch, **options):
    size = arch["image"]["image_size"]
    prepare = Preprocess(size=size, interpolation="bilinear_aliased", mean=HALF, std=HALF)
    tokenizer = small_tokenizer(arch["text"]["context_length"])
    return InMemory(arch, preprocess=prepare, tokenizer=tokenizer, **options)


def small(*, text=None, **image):
    embed_dim = 36 if image.get("projection") else 48
    sizes = {"vocab_size": bv_models.VOCAB_SIZE, **(text or {})}
    return architecture("tiny-siglip", image=image, text=sizes, embed_dim=embed_dim)


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        (small(), {"loss": "sigmoid"}),
        (small(pool="class", patch_bias=False), {}),
        (small(pool="mean", projection=True, image_size=30), {"loss": "sigmoid"}),
        (small(), {"towers": ("image",)}),
        (small(pool="class", projection=True, projection_bias=True), {"towers": ("image",)}),
    ],
)
def test_its_models_give_the_same(arch, options, tmp_path):
    ours = random_model(arch, **options).save(tmp_path / "m")
    path = send_out(FORMAT, ours, tmp_path / "a.npz")
    assert_proven(figures(ours, FORMAT.reference(path)), ids=False, pixels=False)


def test_a_text_tower_alone_gives_the_same(tmp_path):
    model = random_model(small(), towers=("text",))
    FORMAT.write(tmp_path / "a.npz", model)
    _, ids = bv_models.inputs()
    theirs = FORMAT.reference(tmp_path / "a.npz").embed_texts(ids)
    tower = TextTower(
        model.architecture["embed_dim"], **model.architecture["text"], dtype="float32"
    )
    params = bv_models.tree(model.params)["text"]
    ours, _ = jax.jit(tower.apply)({"params": params}, ids)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_a_configuration_loads_the_file(tmp_path, monkeypatch):
    """The lines of `config_text`, its loader, and its check that no parameter is amiss."""
    model = random_model(small(pool="class", projection=True), loss="sigmoid")
    FORMAT.write(tmp_path / "a.npz", model)
    monkeypatch.chdir(tmp_path)
    config = ConfigDict()
    exec(config_text(model, "a.npz"), {"config": config, "ConfigDict": ConfigDict})
    module = import_big_vision(f"models.{config.model_name}")
    pictures, ids = bv_models.inputs()
    pixels = bv_models.pixels(pictures)
    built = module.Model(**config.model)
    shapes = jax.eval_shape(built.init, jax.random.key(0), pixels, ids)["params"]
    start = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    params = module.load(start, config.model_init, config.model)
    found = built.apply({"params": params}, pixels, ids)
    expected = FORMAT.reference(tmp_path / "a.npz")
    np.testing.assert_allclose(found[0], expected.embed_images(pixels), atol=1e-5)
    np.testing.assert_allclose(found[1], expected.embed_texts(ids), atol=1e-5)


@pytest.mark.slow
def test_siglip_b_16_in_and_out(tmp_path):
    """Its own parameters in real size, drawn at random: in, compared, and out again."""
    module = import_big_vision("models.proj.image_text.two_towers")
    utils = import_big_vision("utils")
    sizes = {"width": 768, "depth": 12, "mlp_dim": 3072, "num_heads": 12}
    model = module.Model(
        image={**sizes, "patch_size": (16, 16), "pool_type": "map"},
        text={**sizes, "vocab_size": 32_000},
        out_dim=(None, 768),
        bias_init=-10.0,
    )
    given = np.zeros((1, 224, 224, 3), np.float32), np.zeros((1, 64), np.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *given)["params"]
    named, _ = utils.tree_flatten_with_names(shapes)
    arrays = bv_models.draw({name: leaf.shape for name, leaf in named})
    path = bv_models.write(tmp_path / "theirs.npz", arrays)
    save_tokenizer(small_tokenizer(64), str(tmp_path / "tokenizer.json"))
    options = {"tokenizer": str(tmp_path / "tokenizer.json"), "architecture": "siglip-b-16-224"}
    assert FORMAT.read(path, ReadOptions(**options)).architecture == architecture("siglip-b-16-224")
    bring_in(FORMAT, path, tmp_path / "m", **options)
    assert_proven(figures(tmp_path / "m", FORMAT.reference(path)), ids=False, pixels=False)
    out = open_weights(send_out(FORMAT, tmp_path / "m", tmp_path / "out.npz"))
    assert {name.removeprefix("params/") for name in out} == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(out[f"params/{name}"].read(), array)
