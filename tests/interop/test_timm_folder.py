"""timm's folders: both ways without timm, what it cannot say, and timm itself."""

import json
import random

import numpy as np
import pytest
from random_models import (
    InMemory,
    assert_equal,
    assert_proven,
    back,
    bring_in,
    figures,
    params_of,
    send_out,
    small_tokenizer,
)

from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import save_tokenizer
from bigclip.interop.files import Spec, open_weights, write_safetensors
from bigclip.interop.format import ReadOptions
from bigclip.interop.timm_folder import FORMAT
from bigclip.interop.timm_folder.names import NAMES
from bigclip.interop.torchvision_import import import_torchvision
from bigclip.models import architecture

SIZES = {"image_size": 26, "patch_size": 8, "width": 40, "depth": 3, "num_heads": 5}
SIZES |= {"mlp_width": 72}
HALF = Preprocess(size=26, resize="squash", mean=(0.5,) * 3, std=(0.4, 0.5, 0.6))


def clip(**image):
    return architecture("clip-vit-b-32", image={**SIZES, **image}, embed_dim=24)


def siglip(**image):
    return architecture("siglip-b-16-224", image={**SIZES, **image}, embed_dim=40)


def mean(**image):
    fields = {"pool": "mean", "ln_pre": False, "patch_bias": True, "activation": "gelu"}
    return clip(**fields, **image)


# All that differs: pools, biases, normalisation in front, activations, epsilons, projections.
ARCHITECTURES = {
    "clip": clip(),
    "clip, other": clip(ln_pre=False, patch_bias=True, activation="gelu", projection_bias=True),
    "clip, 1e-6": clip(ln_eps=1e-6, activation="gelu_tanh"),
    "siglip": siglip(),
    "siglip, projection": siglip(projection=True, activation="gelu"),
    "mean": mean(),
    "mean, no bias": mean() | {"image": mean()["image"] | {"patch_bias": False}},
}
FOLDED = {
    "clip, bias": clip(patch_bias=True),
    "mean, bias": mean() | {"image": mean()["image"] | {"ln_pre": True}},
}


def alone(arch, **options):
    return InMemory(arch, towers=("image",), **{"preprocess": HALF, **options})


def written(model, folder):
    folder.mkdir()
    FORMAT.write(folder, model)
    return folder


def read(folder, **options):
    return FORMAT.read(folder, ReadOptions(**options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(alone(siglip()), tmp_path_factory.mktemp("timm") / "t")


@pytest.mark.parametrize("arch", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_out_in_and_out_again(arch, tmp_path):
    model = alone(arch)
    first = written(model, tmp_path / "a")
    assert FORMAT.recognises(first)
    again = back(read(first))
    same_start = {"init_scheme": arch["image"]["init_scheme"]}  # which no trained model tells
    assert again.architecture["image"] | same_start == arch["image"]
    assert again.preprocess == HALF
    scales = ("log_logit_scale",)
    assert_equal(model.params, again.params, left_out=scales)
    second = written(again, tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (second / name).read_bytes() == (first / name).read_bytes()


def test_of_two_towers_the_image_tower_goes_out(tmp_path):
    arch = architecture("tiny-clip")
    both, one = InMemory(arch, preprocess=HALF), alone(arch)
    written(both, tmp_path / "a")
    names = open_weights(tmp_path / "a" / "model.safetensors").keys()
    assert names == open_weights(written(one, tmp_path / "b") / "model.safetensors").keys()
    with pytest.raises(ConfigError, match="are image towers, and this checkpoint holds none"):
        written(InMemory(arch, towers=("text",)), tmp_path / "c")


@pytest.mark.parametrize(
    ("arch", "options", "told"),
    [
        (clip(ln_eps=1e-4), {}, "image.ln_eps is 0.0001"),
        (clip(stem="conv", image_size=32), {}, "a stem of convolutions"),
        (architecture("tiny-rn"), {}, "CLIP's ResNet"),
        (clip(), {"preprocess": Preprocess(size=26, interpolation="bilinear_aliased")}, "aliased"),
    ],
)
def test_what_timm_cannot_say_is_refused(tmp_path, arch, options, told):
    with pytest.raises(ConfigError, match=told):
        written(alone(arch, **options), tmp_path / "t")
    assert not list((tmp_path / "t").iterdir())


def changed(folder, dest, *, arrays=None, **config):
    """A copy of a folder, with other arrays (None: without) and other parts of its JSON."""
    dest.mkdir(exist_ok=True)
    content = json.loads((folder / "config.json").read_text())
    for key, value in config.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    (dest / "config.json").write_text(json.dumps(content))
    weights = open_weights(folder / "model.safetensors")
    new = {name: tensor.read() for name, tensor in weights.items()} | (arrays or {})
    new = {name: array for name, array in new.items() if array is not None}
    specs = {name: Spec(array.shape, array.dtype) for name, array in new.items()}
    (dest / "model.safetensors").unlink(missing_ok=True)
    write_safetensors(dest / "model.safetensors", specs, new.items())
    return dest


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_args": {"qk_norm": True}}, "model_args.qk_norm is True, and our tower has False"),
        ({"model_args": {"init_values": 1e-5}}, "model_args.init_values is 1e-05"),
        ({"model_args": {"reg_tokens": 4}}, "model_args.reg_tokens is 4"),
        ({"model_args": {"depth": 4}}, "depth is 4, but the arrays say 3"),
        ({"model_args": {"num_heads": 7}}, "does not divide into image.num_heads = 7"),
        ({"model_args": {"num_heads": 0}}, "num_heads must be a whole number"),
        ({"model_args": {"act_layer": "relu"}}, "no choice 'relu'"),
        ({"model_args": {"act_layer": []}}, r"no choice \[\]"),
        ({"model_args": {"global_pool": "avgmax"}}, "no choice 'avgmax'"),
        ({"model_args": {"global_pool": "token"}}, "a class token is missing"),
        ({"model_args": {"block_fn": "x"}}, "model_args.block_fn is unknown here"),
        ({"model_args": {"img_size": 40}}, "image_size is 40, but the arrays say 24"),
        ({"architecture": "resnet50"}, "timm's 'resnet50' is no vision transformer"),
        ({"pretrained_cfg": {"mean": "x"}}, "config.json"),
        ({"pretrained_cfg": {"interpolation": "random"}}, "interpolation: no choice 'random'"),
        ({"arrays": {"fc_norm.weight": np.zeros(40)}}, "normalises after the pooling"),
        ({"arrays": {"blocks.1.ls1.gamma": np.zeros(40)}}, "no place here: blocks.1.ls1.gamma"),
        ({"arrays": {"blocks.2.norm1.bias": None}}, "lacks 1 arrays: blocks.2.norm1.bias"),
        ({"arrays": {"attn_pool.latent": np.zeros((1, 2, 40))}}, r"attn_pool.latent \[1, 2, 40\]"),
        ({"arrays": {"pos_embed": np.zeros((1, 8, 40))}}, "8 positions of patches are no square"),
    ],
)
def test_what_is_missing_left_over_or_unknown_is_named(folder, tmp_path, change, told):
    with pytest.raises(ConfigError, match=told):
        back(read(changed(folder, tmp_path / "t", **change)))


def test_a_published_folder_tells_by_its_name(folder, tmp_path):
    """Most have no model_args; sizes are then those of the name, and these arrays are not."""
    place = changed(folder, tmp_path / "t", architecture="vit_base_patch16_siglip_224.webli")
    content = json.loads((place / "config.json").read_text())
    del content["model_args"]
    (place / "config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="patch_size is 16, but the arrays say 8; width is 768"):
        read(place)
    with pytest.raises(ConfigError, match="timm's models are image towers"):
        read(place, tower="text")


def test_what_crop_pct_does_there_is_told(folder, tmp_path):
    told = {
        "center": "timm resizes the shorter side of pictures to 26 / 0.875 pixels (crop_pct) and",
        "squash": "timm squashes pictures to 26 / 0.875 pixels (crop_pct) and cuts the middle out",
        "border": "timm resizes the longer side of pictures to 26 / 0.875 pixels (crop_pct) and",
    }
    for mode, start in told.items():
        part = {"crop_mode": mode, "crop_pct": 0.875}
        (note,) = read(changed(folder, tmp_path / mode, pretrained_cfg=part)).notes
        assert note.startswith(start)
    assert read(folder).notes == ()


def test_a_tokenizer_may_be_named_for_the_text_tower_to_come(folder, tmp_path):
    tokenizer = small_tokenizer(77)
    save_tokenizer(tokenizer, str(tmp_path / "tok.json"))
    imported = read(folder, tokenizer=str(tmp_path / "tok.json"))
    assert imported.tokenizer == tokenizer
    assert imported.architecture["text"]["vocab_size"] == tokenizer.vocab_size
    with pytest.raises(ConfigError, match="config.json tells all"):
        read(folder, architecture="clip-vit-b-32")


def test_damaged_configurations_are_told(folder, tmp_path):
    """No other error than one for people, whatever the file says."""
    rng, text = random.Random(0), (folder / "config.json").read_text()
    values = ["x", -1, 0, 1e30, [], {}, None, True, [3, 3], float("nan")]
    place = changed(folder, tmp_path / "t")
    content = json.loads(text)
    for _ in range(150):
        damaged = json.loads(text)
        part = (
            damaged if rng.random() < 0.3 else damaged[rng.choice(["model_args", "pretrained_cfg"])]
        )
        part[rng.choice(sorted(part))] = rng.choice(values)
        (place / "config.json").write_text(json.dumps(damaged))
        try:
            read(place)
        except ConfigError:
            continue
        kept = damaged["model_args"] or {}
        assert {**kept, "x": 0}.keys() <= {*content["model_args"], "x"}
    for _ in range(30):
        at = rng.randrange(len(text))
        (place / "config.json").write_text(text[:at] + rng.choice('{}[]",:\0é9') + text[at + 1 :])
        try:
            read(place)
        except ConfigError:
            continue


@pytest.mark.peers
@pytest.mark.parametrize(
    "arch",
    [*ARCHITECTURES.values(), *FOLDED.values()],
    ids=[*ARCHITECTURES.keys(), *FOLDED.keys()],
)
def test_timm_gives_the_same_features(arch, tmp_path):
    their_package()
    for resize in ("crop", "pad"):
        prepare = Preprocess(size=26, resize=resize, interpolation="bilinear")
        ours = alone(arch, preprocess=prepare).save(tmp_path / resize)
        path = send_out(FORMAT, ours, tmp_path / f"t-{resize}")
        assert_proven(figures(ours, FORMAT.reference(path)), ids=False)


@pytest.mark.peers
@pytest.mark.parametrize("pool", ["token", "map", "avg"])
def test_timms_weights_come_in(pool, tmp_path):
    timm = their_package()
    import torch

    torch.manual_seed(0)
    sizes = {"img_size": 24, "patch_size": 8, "embed_dim": 40, "depth": 3, "num_heads": 5}
    sizes |= {"mlp_ratio": 1.8, "global_pool": pool, "class_token": pool == "token"}
    theirs = timm.create_model(
        "vit_base_patch16_224", num_classes=7, fc_norm=False, act_layer="gelu_tanh", **sizes
    )
    for value in theirs.parameters():
        value.data += 0.1 * torch.randn(value.shape)
    config = theirs.pretrained_cfg | {"crop_pct": 1.0, "input_size": (3, 24, 24)}
    timm.models.save_for_hf(
        theirs,
        tmp_path / "t",
        model_config={"pretrained_cfg": config},
        model_args={**sizes, "fc_norm": False, "act_layer": "gelu_tanh"},
    )
    notes = bring_in(FORMAT, tmp_path / "t", tmp_path / "m")
    assert notes[0] == "timm's classifier of 7 classes became the projection."
    found = figures(tmp_path / "m", FORMAT.reference(tmp_path / "t"))
    assert_proven(found, ids=False)
    send_out(FORMAT, tmp_path / "m", tmp_path / "back")
    again = open_weights(tmp_path / "back" / "model.safetensors")
    first = {name: value.numpy() for name, value in theirs.state_dict().items()}
    assert_equal({name: tensor.read() for name, tensor in again.items()}, first)


@pytest.mark.peers
def test_names_stand_for_what_timm_has_registered():
    timm = their_package()
    import torch

    activations = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu"}
    pools = {"token": "class", "avg": "mean", "map": "map"}
    for name, fields in NAMES.items():
        with torch.device("meta"):
            model = timm.create_model(name)
        block = model.blocks[0]
        assert fields == {
            "image_size": model.patch_embed.img_size[0],
            "patch_size": model.patch_embed.patch_size[0],
            "width": model.embed_dim,
            "depth": len(model.blocks),
            "num_heads": block.attn.num_heads,
            "mlp_width": block.mlp.fc1.out_features,
            "patch_bias": model.patch_embed.proj.bias is not None,
            "ln_pre": not isinstance(model.norm_pre, torch.nn.Identity),
            "pool": pools[model.global_pool],
            "activation": activations[type(block.mlp.act).__name__],
            "ln_eps": block.norm1.eps,
        }, name
        assert isinstance(model.fc_norm, torch.nn.Identity)


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip-vit-b-32", "siglip-b-16-224"])
def test_real_towers(name, tmp_path):
    their_package()
    arch = architecture(name)
    ours = InMemory(arch, towers=("image",)).save(tmp_path / "m")
    path = send_out(FORMAT, ours, tmp_path / "t")
    assert_proven(figures(ours, FORMAT.reference(path)), ids=False)
    bring_in(FORMAT, path, tmp_path / "back")
    expected = {k: v for k, v in params_of(ours).items() if k.startswith("image/")}
    assert_equal(params_of(tmp_path / "back"), expected, left_out=("log_logit_scale",))


def their_package():
    pytest.importorskip("torch", reason="no torch: pip install bigclip[peers]")
    import_torchvision()  # PyPI's does not load beside a CPU torch without this
    return pytest.importorskip("timm", reason="no timm: pip install bigclip[peers]")
