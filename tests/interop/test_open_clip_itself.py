"""open_clip's own code on what we write, and its weights here."""

import io
import json

import numpy as np
import PIL.Image
import pytest
import sentencepiece
from open_clip_models import (
    ARCHITECTURES,
    FOLDED,
    SMALL,
    made,
    name_for_timm,
    name_in_timm,
    named_siglip,
)
from random_models import (
    WORDS,
    InMemory,
    assert_equal,
    assert_proven,
    bring_in,
    figures,
    params_of,
    send_out,
)

import bigclip
from bigclip.data.tokenizer import Tokenizer, sentencepiece_tokenizer
from bigclip.interop.files import open_weights
from bigclip.interop.open_clip_folder import FORMAT
from bigclip.interop.torchvision_import import import_torchvision
from bigclip.models import architecture

pytestmark = pytest.mark.peers


@pytest.fixture
def open_clip(monkeypatch):
    """Their package, and a name for the small SigLIP in timm's registry and in our table."""
    for name in ("torch", "timm", "transformers"):
        pytest.importorskip(name, reason=f"no {name}: pip install bigclip[peers]")
        import_torchvision()  # PyPI's does not load beside a CPU torch without this
    package = pytest.importorskip("open_clip", reason="no open_clip: pip install bigclip[peers]")
    import timm

    name_for_timm(monkeypatch)
    name_in_timm(timm)
    return package


@pytest.mark.parametrize("what", [*ARCHITECTURES, *FOLDED])
def test_open_clip_gives_the_same(what, open_clip, tmp_path):
    ours = made(what).save(tmp_path / "m")
    path = send_out(FORMAT, ours, tmp_path / "o")
    assert_proven(figures(ours, FORMAT.reference(path)))


def test_a_siglip_with_the_other_gelu_differs_by_that_alone(open_clip, tmp_path):
    arch = named_siglip(activation="gelu")
    ours = InMemory(arch, tokenizer=made("siglip").tokenizer, loss="sigmoid").save(tmp_path / "m")
    found = figures(ours, FORMAT.reference(send_out(FORMAT, ours, tmp_path / "o")))
    assert 1e-5 < found["image embeddings"] < 2e-3
    assert_proven({**found, "image embeddings": 0, "logits": 0})


CONFIGS = {
    "native": {"quick_gelu": True},
    "gelus": {"text_cfg": {"act_kwargs": {"approximate": "tanh"}}},
    "custom text": {"custom_text": True, "init_logit_bias": -10.0, "init_logit_scale": 2.0},
    "bare": {"vision_cfg": {"no_ln_pre": True}, "text_cfg": {"proj_type": "none", "width": 24}},
    "array of one": {"nonscalar_logit_scale": True, "text_cfg": {"no_causal_mask": True}},
    "resnet": {"vision_cfg": {"layers": [1, 2, 1, 1], "width": 8, "image_size": 64}},
    "trunk": {
        "custom_text": True,
        "init_logit_bias": -10.0,
        "vision_cfg": {
            "timm_model_name": "vit_odd_patch8_siglip_24",
            "timm_pool": "map",
            "timm_proj": "linear",
            "timm_proj_bias": True,
        },
        "text_cfg": {"pool_type": "last", "proj_bias": True, "norm_kwargs": {"eps": 1e-6}},
    },
}


@pytest.mark.parametrize("what", CONFIGS)
def test_their_weights_come_in(what, open_clip, tmp_path):
    import torch
    from safetensors.torch import save_file

    change = CONFIGS[what]
    vision = {"image_size": 24, "patch_size": 8, "width": 48, "layers": 3, "head_width": 16}
    vision |= {"mlp_ratio": 1.7}
    text = {"context_length": 11, "vocab_size": 49408, "width": 40, "heads": 4, "layers": 2}
    parts = {"vision_cfg": vision | change.get("vision_cfg", {})}
    parts["text_cfg"] = text | change.get("text_cfg", {})
    config = {"embed_dim": 24, **change, **parts}
    place = tmp_path / "theirs"
    place.mkdir()
    content = {"model_cfg": config, "preprocess_cfg": {"resize_mode": "squash"}}
    (place / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{place}")
    state = {
        name: value + 0.02 * torch.randn(value.shape)
        for name, value in model.state_dict().items()
        if value.is_floating_point()
    }
    state |= {name: value.abs() + 0.5 for name, value in state.items() if "running_var" in name}
    save_file(state, place / "open_clip_model.safetensors")
    assert bring_in(FORMAT, place, tmp_path / "m") == ()
    assert_proven(figures(tmp_path / "m", FORMAT.reference(place)))
    if what in ("custom text", "array of one"):  # ours goes out in the usual layout
        return
    path = send_out(FORMAT, tmp_path / "m", tmp_path / "back")
    again = open_weights(path / "open_clip_model.safetensors")
    found = {name: tensor.read() for name, tensor in again.items()}
    assert_equal(found, {name: value.numpy() for name, value in state.items()})


def test_its_zero_shot_classifier_ranks_as_ours(open_clip, tmp_path):
    import torch

    ours = made("demo").save(tmp_path / "m")
    path = send_out(FORMAT, ours, tmp_path / "o")
    names, templates = ["red fox", "blue owl", "café"], ["a photo of a {}", "{}, drawn by hand"]
    theirs, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{path}")
    weights = open_clip.build_zero_shot_classifier(
        theirs.eval(), open_clip.get_tokenizer(f"local-dir:{path}"), names, templates
    )
    rng = np.random.default_rng(0)
    pictures = [
        PIL.Image.fromarray(rng.integers(0, 256, (40, 30 + 9 * i, 3), np.uint8)) for i in range(4)
    ]
    with torch.inference_mode():
        images = torch.stack([prepare(one) for one in pictures])
        expected = (theirs.encode_image(images, normalize=True) @ weights).numpy()
    model = bigclip.load(ours, dtype="float32")
    texts = [[template.format(name) for template in templates] for name in names]
    mean = np.stack([model.embed_texts(two).mean(axis=0) for two in texts])
    mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
    np.testing.assert_allclose(model.embed_images(pictures) @ mean.T, expected, atol=2e-6)


@pytest.mark.parametrize("clean", ["none", "lower"])
def test_rules_of_cleaning_that_it_lacks_give_the_ids_of_clean_texts(clean, open_clip, tmp_path):
    data = SMALL.to_dict() | {"clean": clean}
    arch = architecture("tiny-clip", text={"vocab_size": SMALL.vocab_size})
    tokenizer = Tokenizer.from_dict(data)
    ours = InMemory(arch, tokenizer=tokenizer).save(tmp_path / "m")
    path = send_out(FORMAT, ours, tmp_path / "o")
    texts = ["A Red Fox!", "don't <|endoftext|> & 3.14", "日本語 🦊", "", "owl " * 30]
    found = open_clip.get_tokenizer(f"local-dir:{path}")(texts).numpy()
    expected = tokenizer([text.strip() for text in texts])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("clean", ["canonical", "clip"])
def test_sentencepiece_models_keep_their_ids(clean, open_clip, tmp_path):
    """SigLIP's rule goes out as the model itself, any other laid out as a tokenizer.json."""
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([word.lower() for word in WORDS] * 20),
        model_writer=trained,
        vocab_size=100,
        character_coverage=1.0,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (tmp_path / "s.model").write_bytes(trained.getvalue())
    tokenizer = sentencepiece_tokenizer(
        str(tmp_path / "s.model"), context_length=11, pad="</s>", clean=clean
    )
    arch = architecture("tiny-siglip", text={"vocab_size": 100})
    siglip = InMemory(arch, tokenizer=tokenizer, loss="sigmoid").save(tmp_path / "m")
    path = send_out(FORMAT, siglip, tmp_path / "o")
    assert_proven(figures(siglip, FORMAT.reference(path)))
    bring_in(FORMAT, path, tmp_path / "back")
    texts = [*WORDS, "a_photo, OF: (two) dogs & a café", "", "owl " * 30]
    again = bigclip.load(tmp_path / "back").tokenizer
    np.testing.assert_array_equal(again(texts), tokenizer(texts))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16-SigLIP", "RN50"])
def test_real_sizes(name, open_clip, tmp_path):
    """As its own configurations have them, random weights, both ways."""
    from safetensors.torch import save_file

    place = tmp_path / "theirs"
    place.mkdir()
    config = open_clip.get_model_config(name)
    if "hf_tokenizer_name" in config["text_cfg"]:  # whose files are on the net
        config["text_cfg"] |= {"hf_tokenizer_name": None, "vocab_size": 49408}
    (place / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    model = open_clip.create_model(f"local-dir:{place}")
    state = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
    save_file({k: v.contiguous() for k, v in state.items()}, place / "open_clip_model.safetensors")
    (note,) = bring_in(FORMAT, place, tmp_path / "m")
    assert "does not tell how pictures are prepared" in note
    assert_proven(figures(tmp_path / "m", FORMAT.reference(place)))
    path = send_out(FORMAT, tmp_path / "m", tmp_path / "back")
    bring_in(FORMAT, path, tmp_path / "again")
    assert_equal(params_of(tmp_path / "again"), params_of(tmp_path / "m"))
    assert_proven(figures(tmp_path / "m", FORMAT.reference(path)))
