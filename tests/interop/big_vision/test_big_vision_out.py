"""Our models as a .npz of big_vision: what is folded or refused, and its configuration."""

import importlib
import os
import sys

import bv_models
import numpy as np
import pytest
from ml_collections import ConfigDict
from random_models import InMemory, small_tokenizer

from bigclip.config import ConfigError
from bigclip.data.preprocess import CLIP_MEAN, CLIP_STD, Preprocess
from bigclip.interop.big_vision import FORMAT, config_text
from bigclip.interop.big_vision.configuring import image_steps
from bigclip.interop.big_vision.reference import BigVisionModel, import_big_vision
from bigclip.interop.files import open_weights
from bigclip.models import architecture

HALF = (0.5, 0.5, 0.5)


def model(*, loss="softmax", image=None, text=None, **kw):
    sizes = {"vocab_size": bv_models.VOCAB_SIZE, **(text or {})}
    arch = architecture("tiny-siglip", image=image or {}, text=sizes, **kw)
    prepare = Preprocess(size=24, resize="squash", mean=HALF, std=HALF)
    return InMemory(arch, loss=loss, preprocess=prepare, tokenizer=small_tokenizer(11))


@pytest.fixture(scope="module")
def folded():
    """A class token with a position of its own, and no bias where big_vision has one."""
    image = {"pool": "class", "patch_bias": False, "projection": True}
    return model(image=image, text={"projection_bias": False}, embed_dim=36)


def test_what_has_no_name_there_is_folded(folded, tmp_path):
    FORMAT.write(tmp_path / "a.npz", folded)
    theirs = {name: tensor.read() for name, tensor in open_weights(tmp_path / "a.npz").items()}
    ours = folded.params
    token = ours["image/class_token"] + ours["image/position"][:1]
    np.testing.assert_array_equal(theirs["params/img/cls"], token[None])
    np.testing.assert_array_equal(theirs["params/img/pos_embedding"][0], ours["image/position"][1:])
    for name, length in (("img/embedding", 48), ("img/head", 36), ("txt/head", 36)):
        bias = theirs[f"params/{name}/bias"]
        assert bias.shape == (length,)
        assert not bias.any()
    assert theirs["params/t"].shape == (1,)
    assert "params/b" not in theirs


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image": {"ln_pre": True}}, "image.ln_pre is True; it has False only"),
        ({"image": {"stem": "conv"}}, "image.stem is 'conv'"),
        ({"image": {"activation": "gelu"}}, "image.activation is 'gelu'"),
        ({"text": {"ln_eps": 1e-5}}, "text.ln_eps is 1e-05"),
        ({"text": {"causal": True, "pool": "eot"}}, "text.causal is True.*\n.*text.pool is 'eot'"),
    ],
)
def test_what_its_models_do_not_compute_is_refused(folded, tmp_path, change, told):
    other = model()
    other.architecture = architecture(other.architecture, **change)
    with pytest.raises(ConfigError, match=told) as error:
        FORMAT.write(tmp_path / "a.npz", other)
    assert "Choose another --format" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_resnet_is_refused(tmp_path):
    other = model()
    other.architecture = architecture("clip-rn50")
    with pytest.raises(ConfigError, match="image: a resnet; its image tower is a ViT"):
        FORMAT.write(tmp_path / "a.npz", other)


def test_a_configuration_says_what_a_file_cannot(folded):
    config = ConfigDict()
    names = {"config": config, "ConfigDict": ConfigDict}
    exec(config_text(folded, "a.npz"), names)
    assert config.model_name == "proj.image_text.two_towers"
    assert config.model_init == "./a.npz"
    expected = {
        "image": {**bv_models.IMAGE, "pool_type": "tok", "scan": False},
        "text": {**bv_models.TEXT, "pool_type": "last", "scan": False},
        "out_dim": (36, 36),
        "temperature_init": 10.0,
    }
    assert config.model.to_dict() == expected
    assert names["pp_img"] == "resize(24, method='bicubic', antialias=True)|value_range(-1, 1)"
    assert names["token_len"] == 11
    assert "bias_init" in config_text(model(loss="sigmoid"))


def test_a_configuration_of_one_tower():
    image = model()
    image.towers = ("image",)
    config = ConfigDict()
    exec(config_text(image), {"config": config, "ConfigDict": ConfigDict})
    assert config.model_name == "vit"
    assert config.model.num_classes is None
    assert config.model.pool_type == "map"


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"interpolation": "bilinear_aliased", "mean": HALF, "std": HALF}, "resize(8)|value_range"),
        (
            {"resize": "crop", "mean": CLIP_MEAN, "std": CLIP_STD},
            "resize_small(8, method='bicubic', antialias=True)|central_crop(8)|clip_value_range",
        ),
        (
            {"resize": "pad", "interpolation": "bilinear", "mean": (0, 0.2, 1), "std": (1, 1, 1)},
            "resize_long(8, method='bilinear', antialias=True)|"
            "vgg_value_range(mean=(0.0, 51.0, 255.0), std=(255.0, 255.0, 255.0))|"
            "pad_to_shape((8, 8, 3), where='both')",
        ),
    ],
)
def test_preprocessing_in_its_words(options, steps):
    assert image_steps(Preprocess(size=8, **options)).startswith(steps)


@pytest.fixture
def _no_clone(monkeypatch):
    def ours():
        return [name for name in sys.modules if name.split(".")[0] == "big_vision"]

    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != os.getenv("BIG_VISION")])
    monkeypatch.delenv("BIG_VISION", raising=False)
    for name in ours():
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in ours():
        del sys.modules[name]


@pytest.mark.usefixtures("_no_clone")
def test_without_a_clone_it_says_how_to_get_one(monkeypatch, tmp_path, folded):
    FORMAT.write(tmp_path / "a.npz", folded)
    with pytest.raises(ImportError, match="no package.*git clone https://github.com/google-res"):
        BigVisionModel(tmp_path / "a.npz")
    monkeypatch.setenv("BIG_VISION", str(tmp_path))
    with pytest.raises(ImportError, match="holds no big_vision"):
        import_big_vision("models.vit")
    # A clone whose modules need what is not there.
    (tmp_path / "big_vision").mkdir()
    (tmp_path / "big_vision" / "__init__.py").write_text("")
    (tmp_path / "big_vision" / "utils.py").write_text("import not_there_at_all")
    importlib.invalidate_caches()
    with pytest.raises(ImportError, match="not_there_at_all.*pip install einops"):
        import_big_vision("utils")


def test_its_files_are_told_by_their_suffix(tmp_path):
    (tmp_path / "a.npz").touch()
    assert FORMAT.recognises(tmp_path / "a.npz")
    assert not FORMAT.recognises(tmp_path / "b.npz")
    assert not FORMAT.recognises(tmp_path)
