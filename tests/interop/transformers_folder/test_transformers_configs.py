"""config.json and preprocessor_config.json: what is read, what is refused by name."""

import copy
import json
import math
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
from tiny_folders import CLIP, HALF, SIGLIP, folder_of, model_of

from bigclip.config import ConfigError
from bigclip.data.preprocess import CLIP_MEAN, CLIP_STD, Preprocess
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.format import ReadOptions
from bigclip.interop.transformers_folder import FORMAT
from bigclip.interop.transformers_folder.config_reading import read_config
from bigclip.interop.transformers_folder.config_writing import make_config
from bigclip.interop.transformers_folder.processors import make_processor, read_processor
from bigclip.models import ARCHITECTURES

HERE = Path("config.json")


def test_keys_that_are_left_out_have_the_library_s_defaults():
    for config, name in (
        ({"model_type": "clip"}, "clip-vit-b-32"),
        ({"model_type": "clip", "vision_config": {"patch_size": 16}}, "clip-vit-b-16"),
        ({"model_type": "siglip"}, "siglip-b-16-224"),
        (
            {"model_type": "siglip", "text_config": {"vocab_size": 256_000}},
            "siglip2-b-16-224",
        ),
        ({"model_type": "siglip2", "vision_config": None}, "siglip-b-16-256"),
    ):
        assert read_config(config, HERE).architecture == ARCHITECTURES[name]


def test_dropout_is_for_training():
    config = {"model_type": "clip", "text_config": {"attention_dropout": 0.1}}
    assert "attention_dropout = 0.1" in read_config(config, HERE).notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "blip"}, "model_type is 'blip', and only clip, siglip, siglip2"),
        ({"model_type": ["clip"]}, "model_type is"),
        ({"text_config": [1]}, r"text_config must be an object, not \[1\]"),
        ({"vision_config": {"hidden_act": "silu"}}, "vision_config.hidden_act is 'silu'"),
        ({"vision_config": {"num_channels": 4}}, "num_channels is 4"),
        ({"vision_config": {"image_size": [224, 192]}}, r"\[224, 192\] is no square"),
        ({"vision_config": {"patch_size": 0}}, "patch_size must be a whole number from 1"),
        ({"vision_config": {"patch_size": 300}}, "holds no patch"),
        ({"vision_config": {"num_attention_heads": 7}}, "does not divide"),
        ({"vision_config": {"hidden_size": 10**12}}, "from 1 to 65,536"),
        ({"vision_config": {"hidden_size": True}}, "hidden_size must be a whole number"),
        ({"text_config": {"num_hidden_layers": 1e3}}, "must be a whole number"),
        ({"text_config": {"vocab_size": "49408"}}, "not '49408'"),
        ({"text_config": {"layer_norm_eps": math.nan}}, "layer_norm_eps must be a number"),
        ({"text_config": {"eos_token_id": [1, 2]}}, r"eos_token_id must be an id, not \[1, 2\]"),
        ({"projection_dim": None}, "projection_dim must be a whole number"),
    ],
)
def test_what_cannot_be_read_is_named(change, message):
    with pytest.raises(ConfigError, match=message):
        read_config({"model_type": "clip"} | change, HERE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_config": {"vision_use_head": False}}, "without the attention pooling head"),
        ({"text_config": {"projection_size": 512}}, "512 dimensions .* and images in 768"),
        ({"text_config": {"hidden_size": 384}}, "384 dimensions"),
        (
            {"model_type": "siglip2", "vision_config": {"num_patches": 200}},
            "200 is no square number",
        ),
    ],
)
def test_what_cannot_be_read_of_a_siglip_is_named(change, message):
    with pytest.raises(ConfigError, match=message):
        read_config({"model_type": "siglip"} | change, HERE)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**20)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["clip", "siglip", "siglip2", "gelu", "quick_gelu", 224, 16, 12, 768]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=150, deadline=None)
def test_a_hostile_configuration_is_refused_or_read(data):
    kind = data.draw(st.sampled_from(["clip", "siglip", "siglip2"]))
    config = copy.deepcopy(CONFIGS[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from([config, config["text_config"], config["vision_config"]]))
        if isinstance(part, dict) and part:
            part[data.draw(st.sampled_from(sorted(part)))] = data.draw(ANYTHING)
        config = {"text_config": {}, "vision_config": {}} | config
    try:
        found = read_config(config, HERE)
    except ConfigError:
        return
    assert found.architecture["image"]["width"] <= 1 << 16


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=60, deadline=None)
def test_a_hostile_processor_is_refused_or_read(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("processor")
    content = dict(PROCESSORS[data.draw(st.sampled_from(sorted(PROCESSORS)))])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.sampled_from(sorted(content)))] = data.draw(ANYTHING)
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    try:
        prepare, _ = read_processor(folder, "clip", 24)
    except ConfigError:
        return
    assert prepare.size == 24


CONFIGS = {kind: make_config(model_of(kind), kind) for kind in ("clip", "siglip", "siglip2")}
PREPARES = {
    "crop": Preprocess(size=24, resize="crop"),
    "squash": Preprocess(size=24, mean=HALF, std=HALF, interpolation="bilinear"),
    "plain": Preprocess(size=24, mean=(0, 0, 0), std=(1, 1, 1)),
}
PROCESSORS = {name: make_processor(one, "clip", 9) for name, one in PREPARES.items()}


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@pytest.mark.parametrize("name", sorted(PREPARES))
def test_a_processor_out_and_in(name, kind, tmp_path):
    content = make_processor(PREPARES[name], kind, 9)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    assert read_processor(tmp_path, kind, 24)[0] == PREPARES[name]
    (tmp_path / "preprocessor_config.json").unlink()
    # transformers 5 writes one file with everything
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    assert read_processor(tmp_path, kind, 24)[0] == PREPARES[name]


def test_processors_of_the_hub(tmp_path):
    path = tmp_path / "preprocessor_config.json"
    old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224}
    path.write_text(json.dumps(old | {"do_center_crop": True, "resample": 3}))
    clip = Preprocess(size=224, resize="crop", mean=CLIP_MEAN, std=CLIP_STD)
    assert read_processor(tmp_path, "clip", 224)[0] == clip
    siglip = {"image_processor_type": "SiglipImageProcessorFast", "resample": 2}
    path.write_text(json.dumps(siglip | {"size": {"height": 256, "width": 256}}))
    expected = Preprocess(size=256, mean=HALF, std=HALF, interpolation="bilinear")
    assert read_processor(tmp_path, "siglip", 256)[0] == expected
    path.write_text(json.dumps({"image_processor_type": "CLIPImageProcessor", "size": 224}))
    raw = json.loads(path.read_text()) | {"do_normalize": False}
    path.write_text(json.dumps(raw))
    assert read_processor(tmp_path, "clip", 224)[0].mean == (0, 0, 0)
    path.unlink()
    prepare, notes = read_processor(tmp_path, "siglip2", 256)
    assert prepare == expected
    assert "preprocessor_config.json is missing" in notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_resize": False}, "do_resize is False"),
        ({"do_rescale": False}, "do_rescale is False"),
        ({"do_pad": True}, "do_pad is True"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor"),
        ({"resample": 0}, "resample is 0; only 2 .bilinear. and 3"),
        ({"image_processor_type": "BlipImageProcessor"}, "is 'BlipImageProcessor'; only CLIP"),
        ({"do_center_crop": False}, "do_center_crop: False"),
        ({"size": {"shortest_edge": 28}}, "only the shortest edge resized to the size of the"),
        ({"size": {"height": 24, "width": 32}}, "no square"),
        ({"size": {"height": 28, "width": 28}}, "that cannot be kept"),
        ({"size": "24"}, "size must be a number or an object"),
        ({"size": 32, "crop_size": 32}, "become 32 x 32, and the model takes 24 x 24"),
        ({"image_std": [0.5, 0.5, 0]}, "image_std must be positive"),
        ({"image_mean": [0.5, "0.5", 0.5]}, "image_mean must be three numbers"),
    ],
)
def test_processors_that_are_refused(change, message, tmp_path):
    content = json.dumps(PROCESSORS["crop"] | change)
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_processor(tmp_path, "clip", 24)


def test_what_no_class_can_say_is_listed(tmp_path):
    """All reasons in one message; nothing is written."""
    image = CLIP["image"] | {"pool": "mean", "ln_pre": False}
    arch = CLIP | {"image": image, "text": CLIP["text"] | {"causal": False}}
    with pytest.raises(ConfigError, match="no class that computes") as caught:
        folder_of(model_of("clip", arch=arch, loss="sigmoid"), tmp_path / "a")
    for reason in (
        "CLIPModel: image.pool is 'mean', not 'class'; image.ln_pre is False, not True; "
        "text.causal is False, not True; it has a logit_bias",
        "SiglipModel: image.pool is 'mean', not 'map'; image.projection is True",
        "Use --format safetensors or onnx",
    ):
        assert reason in str(caught.value)
    arch = SIGLIP | {"text": SIGLIP["text"] | {"pool": "eot"}}
    with pytest.raises(ConfigError, match="SiglipModel: text.pool is 'eot', not 'last'\n"):
        folder_of(model_of("siglip", arch=arch), tmp_path / "b")
    with pytest.raises(ConfigError, match="holds the image tower alone"):
        folder_of(model_of("clip", towers=("image",)), tmp_path / "c")
    padded = Preprocess(size=24, resize="pad")
    with pytest.raises(ConfigError, match="do not pad pictures to a square"):
        folder_of(model_of("clip", preprocess=padded), tmp_path / "d")
    assert [list((tmp_path / name).iterdir()) for name in "abcd"] == [[]] * 4


def test_where_a_clip_pools():
    """The end of text by its id; where that is not the largest, at the largest, as ours."""
    model = model_of("clip")
    assert CONFIGS["clip"]["text_config"]["eos_token_id"] == model.tokenizer.eot == 299
    data = model.tokenizer.to_dict()
    model.tokenizer = Tokenizer.from_dict(data | {"eot": 298, "sot": 299})
    assert make_config(model, "clip")["text_config"]["eos_token_id"] == 2


def test_ids_that_would_pool_elsewhere_are_refused(tmp_path):
    folder = folder_of(model_of("clip"), tmp_path / "theirs")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["eos_token_id"] = 7
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="these three must be one"):
        FORMAT.read(folder, ReadOptions())
    config["text_config"]["eos_token_id"] = 2  # of older versions: at the largest id
    path.write_text(json.dumps(config))
    FORMAT.read(folder, ReadOptions())
    with pytest.raises(ConfigError, match="--architecture clip-vit-b-32: .*another one"):
        FORMAT.read(folder, ReadOptions(architecture="clip-vit-b-32"))
    config["text_config"]["vocab_size"] = 200
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="the tokenizer gives ids up to 299, .* of 200 tokens"):
        FORMAT.read(folder, ReadOptions())
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="has no weights: none of model.safetensors"):
        FORMAT.read(folder, ReadOptions())
    path.write_text("{")
    assert not FORMAT.recognises(folder)
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        FORMAT.read(folder, ReadOptions())
    with pytest.raises(ConfigError, match="is no folder"):
        FORMAT.read(path, ReadOptions())
    assert not FORMAT.recognises(path)
