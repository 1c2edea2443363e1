"""OpenAI's state dicts: both ways without their code, what they cannot say, and their own code."""

import numpy as np
import pytest
from random_models import (
    assert_equal,
    bring_in,
    figures,
    params_of,
    save_model,
    send_out,
    small_tokenizer,
)

from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.interop import openai
from bigclip.interop.files import Spec, open_weights, write_safetensors
from bigclip.interop.format import ReadOptions
from bigclip.interop.openai import FORMAT
from bigclip.interop.outgoing import Outgoing
from bigclip.models import architecture

IMAGE = {
    "image_size": 24,
    "patch_size": 8,
    "width": 192,
    "depth": 3,
    "num_heads": 3,
    "mlp_width": 768,
}
TEXT = {"context_length": 11, "width": 128, "depth": 2, "num_heads": 2, "mlp_width": 512}
SMALL = small_tokenizer(11)


def vit(*, embed_dim=40, **image):
    return architecture("clip-vit-b-32", image={**IMAGE, **image}, text=TEXT, embed_dim=embed_dim)


def resnet(**image):
    sizes = {"image_size": 64, "stages": [1, 2, 1, 3], "width": 8, "num_heads": 4}
    return architecture("clip-rn50", image={**sizes, **image}, text=TEXT, embed_dim=40)


@pytest.fixture
def small(monkeypatch):
    """A vocabulary of 300 in the place of CLIP's 49,408, whose embeddings are all of a file."""
    monkeypatch.setattr(openai, "clip_bpe", lambda context_length: SMALL)
    monkeypatch.setattr(openai, "_CLIP_VOCABULARY", SMALL.vocab_size)


def saved(folder, arch, **options):
    """A checkpoint with the small vocabulary."""
    arch["text"]["vocab_size"] = SMALL.vocab_size
    return save_model(folder, arch, **{"tokenizer": SMALL, **options})


@pytest.fixture(scope="module", params=[vit, resnet])
def model(request, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model") / "m", request.param())


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_out_in_and_out_again(model, small, tmp_path, suffix):
    first = send_out(FORMAT, model, tmp_path / f"a{suffix}")
    assert FORMAT.recognises(first)
    assert bring_in(FORMAT, first, tmp_path / "m") == ()
    back = Outgoing(tmp_path / "m")
    assert back.architecture == Outgoing(model).architecture
    assert back.preprocess == Outgoing(model).preprocess
    assert back.tokenizer == Outgoing(model).tokenizer
    assert_equal(params_of(tmp_path / "m"), params_of(model))
    second = send_out(FORMAT, tmp_path / "m", tmp_path / f"b{suffix}")
    assert second.read_bytes() == first.read_bytes()


def arrays_of(path):
    return {name: tensor.read() for name, tensor in open_weights(path).items()}


def rewrite(path, arrays):
    specs = {name: Spec(array.shape, array.dtype) for name, array in arrays.items()}
    write_safetensors(path, specs, arrays.items())
    return path


def test_buffers_are_passed_over_and_half_precision_is_widened(model, small, tmp_path):
    theirs = arrays_of(send_out(FORMAT, model, tmp_path / "a.pt"))
    half = {
        name: array.astype(np.float16) if array.dtype == np.float32 else array
        for name, array in theirs.items()
    }
    half |= {
        "transformer.resblocks.0.attn_mask": np.zeros((11, 11), np.float16),
        "visual.bn1.num_batches_tracked": np.asarray(7, np.int64),
    }
    bring_in(FORMAT, rewrite(tmp_path / "half.safetensors", half), tmp_path / "m")
    rounded = {
        name: array.astype(np.float16).astype(np.float32)
        for name, array in params_of(model).items()
    }
    assert_equal(params_of(tmp_path / "m"), rounded)


def test_what_is_missing_left_over_or_misshapen_is_named(model, small, tmp_path):
    theirs = arrays_of(send_out(FORMAT, model, tmp_path / "a.pt"))
    norm = "transformer.resblocks.1.ln_2.bias"
    for change, told in (
        ({norm: None}, f"lacks 1 arrays: {norm}"),
        ({"visual.prompt": np.zeros(3, np.float32)}, "no place here: visual.prompt"),
        ({"ln_final.bias": np.zeros(7, np.float32)}, r"ln_final.bias \[7\]"),
        ({"text_projection": None}, "text_projection"),
        ({"transformer.resblocks.0.ln_1.bias": None}, "transformer.resblocks.0.ln_1.bias"),
    ):
        arrays = {k: v for k, v in (theirs | change).items() if v is not None}
        path = rewrite(tmp_path / f"{len(told)}.safetensors", arrays)
        with pytest.raises(ConfigError, match=told):
            bring_in(FORMAT, path, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_one_tower_comes_in_alone(model, small, tmp_path):
    path = send_out(FORMAT, model, tmp_path / "a.pt")
    bring_in(FORMAT, path, tmp_path / "m", tower="text")
    expected = {k: v for k, v in params_of(model).items() if not k.startswith("image/")}
    assert_equal(params_of(tmp_path / "m"), expected)
    with pytest.raises(ConfigError, match="holds both towers"):
        send_out(FORMAT, tmp_path / "m", tmp_path / "b.pt")


def test_a_bias_of_patches_and_a_missing_projection_are_folded(small, tmp_path):
    arch = vit(patch_bias=True, projection=False, embed_dim=192)
    ours = params_of(saved(tmp_path / "m", arch))
    theirs = arrays_of(send_out(FORMAT, tmp_path / "m", tmp_path / "a.pt"))
    positions = theirs["visual.positional_embedding"]
    np.testing.assert_array_equal(positions[0], ours["image/position"][0])
    np.testing.assert_array_equal(
        positions[1:], ours["image/position"][1:] + ours["image/stem/bias"]
    )
    np.testing.assert_array_equal(theirs["visual.proj"], np.eye(192))


@pytest.mark.parametrize(
    ("arch", "options", "told"),
    [
        (vit(activation="gelu"), {}, "its image tower has QuickGELU"),
        (vit(num_heads=4), {}, "heads of its image tower are 64 wide"),
        (vit(mlp_width=300), {}, "the MLP of its image tower is 4 x 192 wide"),
        (vit(ln_pre=False), {}, "it normalises before the blocks"),
        (vit(pool="mean"), {}, "pooled by a class token"),
        (vit(image_size=25), {}, "its images are whole patches"),
        (resnet(num_heads=2), {}, "heads of its attention pool are 64 wide"),
        (vit(), {"loss": "sigmoid"}, "a sigmoid loss has a bias"),
        (vit(), {"tokenizer": small_tokenizer(11, clean="lower")}, "its tokenizer is CLIP's"),
        (vit(), {"preprocess": Preprocess(size=24, resize="squash")}, "its pictures are cropped"),
    ],
)
def test_what_their_code_cannot_run_is_refused(small, tmp_path, arch, options, told):
    saved(tmp_path / "m", arch, **options)
    with pytest.raises(ConfigError, match=told):
        send_out(FORMAT, tmp_path / "m", tmp_path / "a.pt")
    assert [one.name for one in tmp_path.iterdir()] == ["m"]


def test_another_vocabulary_needs_its_tokenizer(model, small, tmp_path):
    theirs = arrays_of(send_out(FORMAT, model, tmp_path / "a.pt"))
    theirs["token_embedding.weight"] = theirs["token_embedding.weight"][:290].copy()
    path = rewrite(tmp_path / "b.safetensors", theirs)
    with pytest.raises(ConfigError, match="vocabulary has 290 tokens"):
        FORMAT.read(path, ReadOptions())
    with pytest.raises(ConfigError, match="is no clip-vit-b-16: its arrays say"):
        FORMAT.read(path, ReadOptions(architecture="clip-vit-b-16"))


@pytest.mark.peers
@pytest.mark.parametrize("arch", [vit(), resnet(), vit(patch_bias=True)])
def test_their_code_gives_the_same(arch, tmp_path):
    clip = their_package()
    ours = save_model(tmp_path / "m", arch)
    path = send_out(FORMAT, ours, tmp_path / "a.pt")
    assert_proven(figures(ours, FORMAT.reference(path)))
    clip.load(str(path), device="cpu")  # its own way in


@pytest.mark.peers
@pytest.mark.parametrize("arch", [vit(), resnet()])
def test_their_weights_come_in(arch, tmp_path):
    import torch

    clip = their_package()
    image, text = arch["image"], arch["text"]
    sizes = (40, image["image_size"], tuple(image.get("stages", ())) or image["depth"])
    sizes += (image["width"], image.get("patch_size"), 11, 49408, text["width"], 2, text["depth"])
    torch.manual_seed(0)
    state = clip.model.CLIP(*sizes).state_dict()
    state = {
        name: v + 0.02 * torch.randn(v.shape)
        for name, v in state.items()
        if v.ndim or "scale" in name
    }
    state |= {name: v.abs() + 0.5 for name, v in state.items() if "running_var" in name}
    torch.save(state, tmp_path / "theirs.pt")
    bring_in(FORMAT, tmp_path / "theirs.pt", tmp_path / "m")
    assert_proven(figures(tmp_path / "m", FORMAT.reference(tmp_path / "theirs.pt")))
    back = arrays_of(send_out(FORMAT, tmp_path / "m", tmp_path / "back.pt"))
    told = ("input_resolution", "context_length", "vocab_size")
    assert_equal(back, {name: v.numpy() for name, v in state.items()}, left_out=told)


@pytest.mark.peers
@pytest.mark.parametrize("arch", [vit(), resnet()])
def test_torchscript_archives_are_read_as_they_are(arch, tmp_path):
    """The releases are such archives, of float16, with masks and sizes beside the parameters."""
    import torch

    clip = their_package()
    ours = save_model(tmp_path / "m", arch)
    state = torch.load(send_out(FORMAT, ours, tmp_path / "a.pt"))
    theirs = clip.model.build_model(state).float()
    expected = {name: value.numpy() for name, value in theirs.state_dict().items()}
    size = arch["image"]["image_size"]
    inputs = torch.zeros(1, 3, size, size), torch.zeros(1, 11, dtype=int)
    theirs.register_buffer("input_resolution", torch.tensor(size))
    torch.jit.save(torch.jit.trace(theirs.eval(), inputs), tmp_path / "script.pt")
    assert FORMAT.recognises(tmp_path / "script.pt")
    bring_in(FORMAT, tmp_path / "script.pt", tmp_path / "back")
    back = arrays_of(send_out(FORMAT, tmp_path / "back", tmp_path / "b.pt"))
    for name, array in expected.items():
        if "num_batches" not in name:
            np.testing.assert_array_equal(back[name], array, err_msg=name)


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip-vit-b-32", "clip-rn50"])
def test_real_sizes(name, tmp_path):
    their_package()
    ours = save_model(tmp_path / "m", architecture(name))
    path = send_out(FORMAT, ours, tmp_path / "a.pt")
    assert_proven(figures(ours, FORMAT.reference(path)))
    bring_in(FORMAT, path, tmp_path / "back")
    assert_equal(params_of(tmp_path / "back"), params_of(ours))


def their_package():
    pytest.importorskip("torch", reason="no torch: pip install bigclip[peers]")
    # torchvision from PyPI does not load beside a CPU torch without this.
    from benchmarks.torch_side import load_torchvision

    load_torchvision()
    return pytest.importorskip("clip", reason="no openai/CLIP: pip install bigclip[peers]")


def assert_proven(found):
    assert found["ids"] == 0
    assert found["pixels"] <= 1.01
    for what in ("image embeddings", "text embeddings", "logits"):
        assert found[what] <= 1e-4, what
