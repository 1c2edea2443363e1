"""open_clip's folders: both ways without open_clip, what it cannot say, damaged configurations."""

import json
import random

import numpy as np
import pytest
from open_clip_models import ARCHITECTURES, FOLDED, NAME, SMALL, made, name_for_timm, named_siglip
from random_models import InMemory, assert_equal, back

from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop import clip_tokenizer, transformers_folder
from bigclip.interop.files import Spec, open_weights, write_safetensors, write_torch
from bigclip.interop.format import ReadOptions
from bigclip.interop.formats import recognise
from bigclip.interop.open_clip_folder import FORMAT
from bigclip.interop.timm_folder import names
from bigclip.models import architecture

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


@pytest.fixture(autouse=True)
def small_name(monkeypatch):
    name_for_timm(monkeypatch)


def written(model, folder):
    folder.mkdir()
    FORMAT.write(folder, model)
    return folder


def read(path, **options):
    return FORMAT.read(path, ReadOptions(**options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(made("clip"), tmp_path_factory.mktemp("open_clip") / "o")


@pytest.mark.parametrize("what", ARCHITECTURES)
def test_out_in_and_out_again(what, tmp_path):
    model = made(what)
    first = written(model, tmp_path / "a")
    assert FORMAT.recognises(first)
    imported = read(first)
    assert imported.notes == ()
    again = back(imported)
    for tower in ("image", "text"):
        start = {"init_scheme": model.architecture[tower]["init_scheme"]}  # no trained model tells
        assert again.architecture[tower] | start == model.architecture[tower]
    assert again.loss == model.loss
    assert again.preprocess == model.preprocess
    assert again.tokenizer == model.tokenizer
    assert_equal(again.params, model.params)
    second = written(again, tmp_path / "b")
    assert {one.name for one in first.iterdir()} == {one.name for one in second.iterdir()}
    for one in first.iterdir():
        assert (second / one.name).read_bytes() == one.read_bytes(), one.name


@pytest.mark.parametrize("what", FOLDED)
def test_what_is_folded_comes_back_as_the_same_function(what, tmp_path):
    model = made(what)
    again = back(read(written(model, tmp_path / "a")))
    patches = model.params["image/position"].copy()
    first = 1 if model.architecture["image"]["pool"] == "class" else 0
    patches[first:] += model.params.get("image/stem/bias", 0)
    np.testing.assert_array_equal(again.params["image/position"], patches)
    if not model.architecture["image"]["projection"]:
        np.testing.assert_array_equal(again.params["image/projection/kernel"], np.eye(48))


def test_clips_vocabulary_needs_no_files(monkeypatch, tmp_path):
    """A vocabulary of 300 in the place of CLIP's 49,408."""
    monkeypatch.setattr(clip_tokenizer, "clip_bpe", lambda context_length: SMALL)
    monkeypatch.setattr(clip_tokenizer, "VOCABULARY", SMALL.vocab_size)
    for what in ("clip", "siglip"):
        model = made(what)
        place = written(model, tmp_path / what)
        assert {one.name for one in place.iterdir()} == {CONFIG, WEIGHTS}
        assert read(place).tokenizer == model.tokenizer
    # What fills a text up behind its end does not count in the first, and in the other it does.
    for what, counts in (("clip", False), ("siglip", True)):
        model = made(what)
        model.tokenizer = Tokenizer.from_dict({**model.tokenizer.to_dict(), "pad": SMALL.eot})
        place = written(model, tmp_path / f"{what}, other padding")
        assert (place / "tokenizer.json").exists() == counts
        assert ["fills short texts up" in note for note in model.notes] == [True] * (not counts)


@pytest.mark.parametrize(
    ("arch", "options", "told"),
    [
        (named_siglip(width=40, num_heads=5, embed_dim=40), {}, f"nearest, {NAME}, differs: image"),
        (
            named_siglip(activation="quick_gelu"),
            {},
            f"nearest, {NAME}, differs: image.activation is 'quick_gelu' and there 'gelu_tanh'",
        ),
        (architecture("tiny-clip", image={"activation": "gelu"}), {}, "goes for both towers"),
        (architecture("tiny-clip", image={"projection_bias": True}), {}, "images has no bias"),
        (architecture("tiny-clip", image={"stem": "conv"}), {}, "a stem of convolutions"),
        (architecture("tiny-rn", image={"bn_eps": 1e-3}), {}, "image.bn_eps is 0.001"),
        (architecture("tiny-clip"), {"towers": ("image",)}, "the image tower alone"),
        (
            architecture("tiny-clip"),
            {"preprocess": Preprocess(size=24, interpolation="bilinear_aliased")},
            "'bilinear_aliased'",
        ),
        (
            architecture("tiny-clip"),
            {"preprocess": Preprocess(size=24, resize="pad")},
            "pads with grey alone",
        ),
    ],
)
def test_what_open_clip_cannot_say_is_refused(tmp_path, arch, options, told):
    model = InMemory(architecture("tiny-clip"), tokenizer=SMALL, **options)
    model.architecture = arch
    with pytest.raises(ConfigError, match=told):
        written(model, tmp_path / "o")
    assert not list((tmp_path / "o").iterdir())


def changed(folder, dest, *, arrays=None, **parts):
    """A copy of a folder with other arrays (None: without) and other parts of its JSON."""
    dest.mkdir(exist_ok=True)
    content = json.loads((folder / CONFIG).read_text())
    for part, change in parts.items():
        where = content if part == "preprocess_cfg" else content["model_cfg"]
        if isinstance(change, dict):
            where[part] = {**where.get(part, {}), **change}
        else:
            where[part] = change
    (dest / CONFIG).write_text(json.dumps(content))
    for one in folder.glob("*token*"):
        (dest / one.name).write_bytes(one.read_bytes())
    new = arrays_of(folder / WEIGHTS) | (arrays or {})
    new = {name: array for name, array in new.items() if array is not None}
    specs = {name: Spec(array.shape, array.dtype) for name, array in new.items()}
    (dest / WEIGHTS).unlink(missing_ok=True)
    write_safetensors(dest / WEIGHTS, specs, new.items())
    return dest


def arrays_of(path):
    return {name: tensor.read() for name, tensor in open_weights(path).items()}


BLOCK = "transformer.resblocks.1"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"vision_cfg": {"ls_init_value": 0.1}}, "ls_init_value = 0.1: layer scale, which our"),
        ({"vision_cfg": {"attentional_pool": True}}, "attentional pooling"),
        ({"vision_cfg": {"pool_type": "avg"}}, "pool_type is 'avg'"),
        ({"vision_cfg": {"qk_norm": True}}, "normalised queries and keys"),
        ({"vision_cfg": {"layers": 4}}, "depth is 4, but the arrays say 3"),
        ({"vision_cfg": {"layers": 10**12}}, "layers must be a whole number"),
        ({"vision_cfg": {"layers": [1, 1, 1, 1]}}, "no layer visual.layer1.0"),
        ({"vision_cfg": {"head_width": 7}}, "48 does not divide into heads of 7"),
        ({"vision_cfg": {"width": 64}}, r"visual.class_embedding \[48\]"),
        ({"vision_cfg": {"timm_model_name": "resnet50"}}, "no image tower of timm"),
        ({"vision_cfg": {"rope": True}}, "vision_cfg.rope is unknown here"),
        ({"vision_cfg": {"norm_kwargs": {"elementwise": 0}}}, "norm_kwargs.elementwise is unknown"),
        ({"vision_cfg": {"act_kwargs": {"approximate": "tanh"}}}, "QuickGELU .* takes none"),
        ({"vision_cfg": []}, r"vision_cfg must be an object, not \[\]"),
        ({"text_cfg": {"hf_model_name": "bert"}}, "a text tower of transformers"),
        ({"text_cfg": {"embed_cls": True}}, "a class token of texts"),
        ({"text_cfg": {"pool_type": "first"}}, "no choice 'first'"),
        ({"text_cfg": {"pool_type": "eos", "eos_id": 3}}, r"pooled at id 3 \(eos_id\)"),
        ({"text_cfg": {"vocab_size": 7}}, "vocab_size is 7, but the arrays say"),
        ({"text_cfg": {"tokenizer_mode": "clips"}}, "tokenizer_mode 'clips'"),
        ({"text_cfg": {"tokenizer_kwargs": {"strip_sep_token": True}}}, "strip_sep_token"),
        ({"text_cfg": {"tokenizer_kwargs": {"clean": "x"}}}, "no choice 'x'"),
        ({"text_cfg": {"hf_tokenizer_name": None}}, "is not CLIP's of 49408"),
        ({"multimodal_cfg": {}}, r"CoCa \(multimodal_cfg\)"),
        ({"quick_gelu": 1}, "quick_gelu must be true or false"),
        ({"preprocess_cfg": {"mean": [1, 2]}}, "must be three"),
        ({"preprocess_cfg": {"resize_mode": "random"}}, "no choice 'random'"),
        ({"arrays": {f"{BLOCK}.ln_1.bias": None}}, f"lacks 1 arrays: {BLOCK}.ln_1.bias"),
        ({"arrays": {f"{BLOCK}.ls_1.gamma": np.zeros(40)}}, f"no place here: {BLOCK}.ls_1.gamma"),
        ({"arrays": {"visual.proj": np.zeros((48, 7))}}, r"visual.proj \[48, 7\]"),
    ],
)
def test_what_is_missing_left_over_or_unknown_is_named(folder, tmp_path, change, told):
    with pytest.raises(ConfigError, match=told):
        back(read(changed(folder, tmp_path / "o", **change)))


def test_options_that_change_nothing_of_the_function(folder, tmp_path):
    place = changed(
        folder,
        tmp_path / "o",
        vision_cfg={"patch_dropout": 0.25, "final_ln_after_pool": True, "image_size": [24, 24]},
        text_cfg={"pool_type": "eos", "eos_id": SMALL.vocab_size - 1, "block_type": "custom"},
        preprocess_cfg={"resize_mode": "longest", "interpolation": "random"},
    )
    imported = read(place)
    assert imported.architecture["image"]["patch_dropout"] == 0.25
    assert imported.architecture["text"]["pool"] == "eot"
    assert imported.preprocess.resize == "pad"
    assert imported.notes[0].startswith("open_clip pads pictures with 0")
    assert_equal(back(imported).params, made("clip").params)


def test_an_older_layout_and_a_training_checkpoint(folder, tmp_path):
    """The text tower below "text.", the scale as an array of one, everything below "module."."""
    root = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")
    arrays = {
        f"text.{name}" if name.startswith(root) else name: array
        for name, array in arrays_of(folder / WEIGHTS).items()
    }
    arrays["logit_scale"] = arrays["logit_scale"].reshape(1)
    arrays = {f"module.{name}": array for name, array in arrays.items()}
    specs = {name: Spec(array.shape, array.dtype) for name, array in arrays.items()}
    place = changed(folder, tmp_path / "o")
    (place / WEIGHTS).unlink()
    write_torch(place / "open_clip_pytorch_model.bin", specs, arrays.items())
    assert_equal(back(read(place)).params, made("clip").params)


def test_a_file_alone_must_be_told(folder, tmp_path):
    file = tmp_path / "w.safetensors"
    file.write_bytes((folder / WEIGHTS).read_bytes())
    assert not FORMAT.recognises(file)
    with pytest.raises(ConfigError, match="tells no heads and no activation"):
        read(file)
    with pytest.raises(ConfigError, match="is no siglip-b-16-224: its image tower is none of timm"):
        read(file, architecture="siglip-b-16-224")
    with pytest.raises(ConfigError, match="does not hold this architecture"):
        back(read(file, architecture="clip-vit-b-32"))
    config = folder / CONFIG  # a configuration beside it, or named
    by_config = read(file, architecture=str(config))
    assert_equal(back(by_config).params, made("clip").params)
    assert_equal(back(read(folder / WEIGHTS)).params, made("clip").params)


PUBLISHED = {  # name -> activation, heads of both towers
    "openclip-vit-b-32": ("gelu", 12, 8),
    "openclip-vit-h-14-quickgelu": ("quick_gelu", 16, 16),
    "clip-vit-b-32": ("quick_gelu", 12, 8),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_name_tells_the_activation_and_a_note_says_so(folder, tmp_path, name):
    """No array could contradict it."""
    gelu, image, text = PUBLISHED[name]
    notes = read(folder / WEIGHTS, architecture=name).notes
    assert f"taken from {name}: image.activation = {gelu!r}, image.num_heads = {image}" in notes[-1]
    assert f"text.activation = {gelu!r}, text.num_heads = {text}" in notes[-1]
    named = read(folder / WEIGHTS, architecture=str(folder / CONFIG))
    assert "image.activation = 'quick_gelu', image.num_heads = 3" in named.notes[-1]
    assert read(folder / WEIGHTS).notes == ()  # a configuration beside it tells


def test_a_siglip_by_name_has_the_gelu_of_its_training(monkeypatch, tmp_path):
    monkeypatch.setattr(clip_tokenizer, "VOCABULARY", 32000)
    place = written(made("siglip"), tmp_path / "o")
    imported = read(place / WEIGHTS, architecture="siglip-b-16-224")
    assert imported.architecture["image"]["activation"] == "gelu_tanh"
    assert imported.notes[-1].startswith("open_clip computes 'gelu' in this image tower (timm's")
    assert "image.activation = 'gelu_tanh'" in imported.notes[-2]


def test_a_siglip_with_the_other_gelu_goes_out_with_a_note(tmp_path):
    """As all of ours do whose name in timm is exact; open_clip runs the published ones so."""
    model = made("siglip")
    model.architecture = named_siglip(activation="gelu")
    place = written(model, tmp_path / "o")
    (note,) = model.notes
    assert note.startswith(f"open_clip computes 'gelu_tanh' in this image tower (timm's {NAME})")
    again = back(read(place))
    assert again.architecture["image"]["activation"] == "gelu_tanh"
    assert_equal(again.params, made("siglip").params)
    for name in ("siglip-b-16-224", "siglip-so400m-14-384", "siglip2-b-16-256"):
        away = names.nearest(architecture(name)["image"])[1]
        assert away == ["activation"], name


@pytest.mark.parametrize("clean", ["none", "lower"])
def test_what_is_cleaned_otherwise_there_is_told(clean, tmp_path):
    model = made("clip")
    model.tokenizer = Tokenizer.from_dict({**SMALL.to_dict(), "clean": clean})
    written(model, tmp_path / "o")
    (note,) = model.notes
    assert f"the model's rule {clean!r} does not" in note


def test_a_folder_with_files_for_two_frameworks(folder, tmp_path):
    """As LAION's have: each format reads its own."""
    place = changed(folder, tmp_path / "both")
    other = made("clip")
    other.params = {name: array + 1 for name, array in other.params.items()}
    transformers_folder.FORMAT.write(place, other)
    with pytest.raises(ConfigError, match="several formats: .* one of transformers, open_clip"):
        recognise(place)
    assert_equal(back(read(place)).params, made("clip").params)
    theirs = transformers_folder.FORMAT.read(place, ReadOptions())
    assert_equal(back(theirs).params, other.params)


def test_one_tower(folder, tmp_path):
    image = back(read(folder, tower="image"))
    expected = {k: v for k, v in made("clip").params.items() if k.startswith("image/")}
    assert_equal(image.params, expected)


def test_damaged_configurations_are_told(folder, tmp_path):
    """No other error than one for people, whatever the file says."""
    rng, text = random.Random(0), (folder / CONFIG).read_text()
    values = ["x", -1, 0, 1e30, [], {}, None, True, [3, 3], float("nan"), [1, 2, 3, 4]]
    place = changed(folder, tmp_path / "o")
    for _ in range(200):
        damaged = json.loads(text)
        model = damaged["model_cfg"]
        part = rng.choice(
            [damaged, model, model["vision_cfg"], model["text_cfg"], damaged["preprocess_cfg"]]
        )
        part[rng.choice(sorted(part))] = rng.choice(values)
        (place / CONFIG).write_text(json.dumps(damaged))
        try:
            read(place)
        except ConfigError:
            continue
    for _ in range(50):
        at = rng.randrange(len(text))
        (place / CONFIG).write_text(text[:at] + rng.choice('{}[]",:\0é9') + text[at + 1 :])
        try:
            read(place)
        except ConfigError:
            continue
