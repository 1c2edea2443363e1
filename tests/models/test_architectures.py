"""The table: geometry, names, overrides, messages."""

import copy
import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from bigclip.config import ConfigError
from bigclip.models import (
    ARCHITECTURES,
    STATISTICS,
    ImageTower,
    ModifiedResNet,
    TextTower,
    architecture,
    image_tower,
    is_resnet,
)
from bigclip.models.architectures import LARGEST

# Parameters of the published models, as transformers (the ResNets: openai/CLIP) builds them on
# torch's meta device from the published configs; with logit scale (CLIP) or logit scale and bias
# (SigLIP).
PUBLISHED = {
    "clip-vit-b-32": 151_277_313,
    "clip-vit-b-16": 149_620_737,
    "clip-vit-l-14": 427_616_513,
    "clip-vit-l-14-336": 427_944_193,
    "clip-rn50": 102_007_137,
    "clip-rn101": 119_688_033,
    "clip-rn50x4": 178_300_601,
    "clip-rn50x16": 290_979_217,
    "clip-rn50x64": 623_258_305,
    "openclip-vit-b-32": 151_277_313,
    "openclip-vit-b-32-256": 151_288_833,
    "openclip-vit-b-16": 149_620_737,
    "openclip-vit-l-14": 427_616_513,
    "openclip-vit-l-14-336": 427_944_193,
    "openclip-vit-h-14": 986_109_441,
    "openclip-vit-h-14-quickgelu": 986_109_441,
    "openclip-vit-h-14-378": 986_714_881,
    "openclip-vit-h-14-378-quickgelu": 986_714_881,
    "openclip-vit-g-14": 1_366_678_273,
    "openclip-vit-bigg-14": 2_539_567_105,
    "openclip-vit-bigg-14-quickgelu": 2_539_567_105,
    "siglip-b-16-224": 203_155_970,
    "siglip-b-16-256": 203_202_050,
    "siglip-b-16-384": 203_447_810,
    "siglip-b-16-512": 203_791_874,
    "siglip-b-16-256-i18n": 370_626_050,
    "siglip-l-16-256": 652_150_786,
    "siglip-l-16-384": 652_478_466,
    "siglip-so400m-14-224": 877_360_306,
    "siglip-so400m-14-384": 877_960_498,
    "siglip2-b-32-256": 376_856_066,
    "siglip2-b-16-224": 375_187_970,
    "siglip2-b-16-256": 375_234_050,
    "siglip2-b-16-384": 375_479_810,
    "siglip2-b-16-512": 375_823_874,
    "siglip2-l-16-256": 881_526_786,
    "siglip2-l-16-384": 881_854_466,
    "siglip2-l-16-512": 882_313_218,
    "siglip2-so400m-14-224": 1_135_463_602,
    "siglip2-so400m-14-384": 1_136_008_498,
    "siglip2-so400m-16-256": 1_135_670_962,
    "siglip2-so400m-16-384": 1_136_039_602,
    "siglip2-so400m-16-512": 1_136_555_698,
    "siglip2-g-opt-16-256": 1_871_393_906,
    "siglip2-g-opt-16-384": 1_871_885_426,
}


def shapes(arch):
    pictures = image_tower(arch, scan=True)
    text_tower = TextTower(**arch["text"], embed_dim=arch["embed_dim"], scan=True)
    size = arch["image"]["image_size"]
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    tokens = jax.ShapeDtypeStruct((1, arch["text"]["context_length"]), jnp.int32)
    key = jax.random.key(0)
    return {
        "image": jax.eval_shape(pictures.init, key, images)["params"],
        "text": jax.eval_shape(text_tower.init, key, tokens)["params"],
    }


# Their blocks are laid out one by one, which takes seconds; RN50 stands for them.
LONG = ("clip-rn101", "clip-rn50x4", "clip-rn50x16", "clip-rn50x64")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in sorted(PUBLISHED)],
)
def test_parameter_count_is_the_published_one(name):
    tree = shapes(architecture(name))
    assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype("float32")}
    num_scalars = 1 if "clip-" in name else 2  # of the task: logit scale, and SigLIP's bias
    learnt = [
        leaf.size
        for path, leaf in jax.tree.leaves_with_path(tree)
        if path[-1].key not in STATISTICS  # which PyTorch does not count as parameters
    ]
    assert sum(learnt) + num_scalars == PUBLISHED[name]


def test_every_architecture_is_covered():
    assert set(ARCHITECTURES) - set(PUBLISHED) == {n for n in ARCHITECTURES if n.startswith("tiny")}


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_table_is_complete_plain_data(name):
    arch = architecture(name)
    assert json.loads(json.dumps(arch)) == arch
    runtime = {"embed_dim", "dtype", "scan", "remat", "attention", "parent", "name"}
    image = ModifiedResNet if is_resnet(arch["image"]) else ImageTower
    for tower, fields in ((image, arch["image"]), (TextTower, arch["text"])):
        fields = fields.keys() - {"tower"}
        assert fields == {field.name for field in dataclasses.fields(tower)} - runtime


@pytest.mark.parametrize("name", [n for n in sorted(ARCHITECTURES) if n.startswith("tiny")])
def test_tiny_architectures_stay_tiny(name):
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes(architecture(name)))) < 4e6


def test_overrides_change_a_copy():
    arch = architecture("tiny-clip", image={"depth": 1}, text={"vocab_size": 50}, embed_dim=8)
    assert (arch["image"]["depth"], arch["text"]["vocab_size"], arch["embed_dim"]) == (1, 50, 8)
    assert architecture("tiny-clip")["image"]["depth"] == 3


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("clip-vit-b32", {}, "Did you mean 'clip-vit-b-32'.*siglip-l-16-384"),
        ("tiny-clip", {"imagee": {}}, "Did you mean 'image'"),
        ("tiny-clip", {"image": {"dept": 2}}, "Did you mean 'depth'.*num_heads"),
        ("tiny-clip", {"text": {"num_heads": 7}}, "text.width = 40.*7 heads"),
        ("tiny-clip", {"image": 3}, "image must be a dict"),
        ("tiny-clip", {"image": {"pool": "cls"}}, "image.pool.*'cls'.*class, map, mean"),
        ("tiny-clip", {"text": {"pool": "eos"}}, "text.pool.*eot, last"),
        ("tiny-clip", {"image": {"stem": "convs"}}, "Did you mean 'conv'"),
        ("tiny-clip", {"text": {"activation": "gelu_tan"}}, "Did you mean 'gelu_tanh'"),
        ("tiny-clip", {"image": {"init_scheme": "sigclip"}}, "Did you mean 'siglip'"),
        ("tiny-siglip", {"embed_dim": 16}, "embed_dim = 16 must equal image.width = 48"),
        ("tiny-clip", {"image": {"patch_dropout": 1.0}}, r"must be in \[0, 1\)"),
        ("tiny-clip", {"image": {"image_size": 4}}, "no patch"),
        ("tiny-clip", {"image": {"stem": "conv", "patch_size": 6}}, "power of two"),
        (
            "tiny-clip",
            {"image": {"stem": "conv", "patch_size": 128, "image_size": 128}},
            "image.width = 48.*needs a width of 64",
        ),
        ({"image": {}, "text": {}, "embed_dim": 8}, {}, "image.*lacks image_size, patch_size"),
        ({"images": {}}, {}, "Did you mean 'image'"),
        ("clip-rn5", {}, "Did you mean 'clip-rn50'"),
        ("tiny-clip", {"image": {"tower": "resnet"}}, "has no image.tower"),
        ("tiny-rn", {"image": {"tower": "resnext"}}, "image.tower.*Did you mean 'resnet'"),
        ("tiny-rn", {"image": {"patch_size": 8}}, "has no image.patch_size.*batch_norm, bn_eps"),
        ("tiny-rn", {"image": {"batch_norm": "run"}}, "Did you mean 'running'"),
        ("tiny-rn", {"image": {"init_scheme": "clap"}}, "Did you mean 'clip'"),
        ("tiny-rn", {"image": {"stages": [1, 2, 1]}}, r"stages = \[1, 2, 1\] must be a list of 4"),
        ("tiny-rn", {"image": {"stages": [1, 2, 0, 1]}}, "numbers of blocks"),
        ("tiny-rn", {"image": {"width": 7}}, "width = 7 must be even"),
        ("tiny-rn", {"image": {"num_heads": 5}}, "256 channels.*num_heads = 5"),
        ("tiny-rn", {"image": {"image_size": 75}}, "multiple of 32.*nearest is 64"),
        ("tiny-rn", {"image": {"bn_eps": 0.0}}, "bn_eps"),
        (
            {"image": {"tower": "resnet"}, "text": {}, "embed_dim": 8},
            {},
            "lacks image_size, stages",
        ),
        ({"image": {"tower": "rn"}, "text": {}, "embed_dim": 8}, {}, "image.tower.*'rn'"),
        ({"image": 3, "text": {}, "embed_dim": 8}, {}, "image must be a dict of fields, but is 3"),
        ({"image": {}, "text": ["x"], "embed_dim": 8}, {}, "text must be a dict of fields"),
        ("tiny-clip", {"image": {"depth": "3"}}, "image.depth = '3'.*number from 1 to 1,000"),
        ("tiny-clip", {"text": {"vocab_size": 10**15}}, r"text.vocab_size.*1 to 100,000,000"),
        ("tiny-clip", {"text": {"causal": 1}}, "text.causal = 1 must be True or False"),
        ("tiny-clip", {"image": {"ln_eps": 2}}, "image.ln_eps = 2 must be a positive number below"),
        ("tiny-rn", {"image": {"stages": [1, 1, 1, 300]}}, "each from 1 to 200"),
        ("tiny-rn", {"image": {"stages": [True, 1, 1, 1]}}, "numbers of blocks"),
    ],
)
def test_mistakes_are_told_with_the_mend(name, overrides, message):
    with pytest.raises(ConfigError, match=message):
        architecture(name, **overrides)


@pytest.mark.parametrize(
    ("name", "image"), [("tiny-siglip", {"depth": 1}), ("tiny-rn", {"stages": [1, 1, 1, 1]})]
)
def test_an_architecture_given_as_data_comes_back_as_a_copy(name, image):
    data = architecture(name)
    again = architecture(data, image=image)
    assert again != data
    assert architecture(data) == data


HOSTILE = (
    None,
    "3",
    -1,
    -1e-9,
    1e30,
    10**30,
    float("nan"),
    float("inf"),
    2.5,
    [],
    [3],
    {},
    {"a": 1},
)


@pytest.mark.parametrize("name", ["tiny-siglip", "tiny-rn"])
def test_every_field_has_a_type_and_bounds(name):
    """Given as data, as a file of weights gives it, and as an override."""
    good = architecture(name)
    fields = [(tower, field) for tower in ("image", "text") for field in good[tower]]
    for tower, field in [*fields, (None, "embed_dim")]:
        for value in HOSTILE:
            data = copy.deepcopy(good)
            (data[tower] if tower else data)[field] = value
            with pytest.raises(ConfigError, match=field) as error:
                architecture(data)
            assert len(str(error.value)) < 500
            change = {tower: {field: value}} if tower else {field: value}
            with pytest.raises(ConfigError, match=field):
                architecture(name, **change)


@pytest.mark.parametrize("value", [True, False])
def test_numbers_are_no_flags(value):
    good = architecture("tiny-siglip")
    for tower in ("image", "text"):
        numbers = [key for key, known in good[tower].items() if type(known) in (int, float)]
        assert len(numbers) > 5
        for field in numbers:
            with pytest.raises(ConfigError, match=f"{tower}.{field} = {value}"):
                architecture(good, **{tower: {field: value}})


def test_published_architectures_are_far_from_the_bounds():
    for arch in ARCHITECTURES.values():
        for fields in (arch, arch["image"], arch["text"]):
            assert all(4 * fields[key] <= most for key, most in LARGEST.items() if key in fields)
