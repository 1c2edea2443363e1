"""OpenAI's state dicts: both ways without their code, what they cannot say, and their own code."""

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
from bigclip.data.tokenizer import Tokenizer, clip_bpe
from bigclip.interop import clip_tokenizer
from bigclip.interop.files import Spec, open_weights, write_safetensors
from bigclip.interop.format import ReadOptions
from bigclip.interop.openai import FORMAT
from bigclip.interop.torchvision_import import import_torchvision
from bigclip.models import architecture

IMAGE = {"image_size": 24, "patch_size": 8, "width": 192, "depth": 2, "num_heads": 3}
RESNET = {"image_size": 64, "stages": [1, 2, 1, 1], "width": 8, "num_heads": 4}
TEXT = {"context_length": 11, "width": 128, "depth": 3, "num_heads": 2, "mlp_width": 512}
SMALL = small_tokenizer(11)


def vit(*, embed_dim=40, **image):
    image = {**IMAGE, "mlp_width": 768, **image}
    return architecture("clip-vit-b-32", image=image, text=TEXT, embed_dim=embed_dim)


def resnet(**image):
    return architecture("clip-rn50", image={**RESNET, **image}, text=TEXT, embed_dim=40)


@pytest.fixture
def small(monkeypatch):
    """A vocabulary of 300 in the place of CLIP's 49,408, whose embeddings are nearly all bytes."""
    monkeypatch.setattr(clip_tokenizer, "clip_bpe", lambda context_length: SMALL)
    monkeypatch.setattr(clip_tokenizer, "VOCABULARY", SMALL.vocab_size)


def made(arch, **options):
    """A model with the small vocabulary."""
    arch["text"]["vocab_size"] = SMALL.vocab_size
    return InMemory(arch, **{"tokenizer": SMALL, **options})


def written(model, path):
    FORMAT.write(path, model)
    return path


def read(path, **options):
    return FORMAT.read(path, ReadOptions(**options))


def arrays_of(path):
    return {name: tensor.read() for name, tensor in open_weights(path).items()}


def rewritten(path, arrays):
    specs = {name: Spec(array.shape, array.dtype) for name, array in arrays.items()}
    write_safetensors(path, specs, arrays.items())
    return path


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("arch", [vit(), resnet()])
def test_out_in_and_out_again(arch, small, tmp_path, suffix):
    model = made(arch)
    first = written(model, tmp_path / f"a{suffix}")
    assert FORMAT.recognises(first)
    again = back(read(first))
    assert again.architecture == model.architecture
    assert again.preprocess == model.preprocess
    assert again.tokenizer == model.tokenizer
    assert_equal(again.params, model.params)
    assert written(again, tmp_path / f"b{suffix}").read_bytes() == first.read_bytes()


@pytest.mark.parametrize("arch", [vit(), resnet()])
def test_buffers_are_passed_over_and_half_precision_is_widened(arch, small, tmp_path):
    model = made(arch)
    half = {
        name: array.astype(np.float16) if array.dtype == np.float32 else array
        for name, array in arrays_of(written(model, tmp_path / "a.pt")).items()
    }
    half |= {
        "transformer.resblocks.0.attn_mask": np.zeros((11, 11), np.float16),
        "visual.bn1.num_batches_tracked": np.asarray(7, np.int64),
    }
    rounded = {k: v.astype(np.float16).astype(np.float32) for k, v in model.params.items()}
    assert_equal(back(read(rewritten(tmp_path / "half.safetensors", half))).params, rounded)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"transformer.resblocks.1.ln_2.bias": None},
            "lacks 1 arrays: transformer.resblocks.1.ln_2",
        ),
        ({"visual.prompt": np.zeros(3, np.float32)}, "no place here: visual.prompt"),
        ({"ln_final.bias": np.zeros(7, np.float32)}, r"ln_final.bias \[7\]"),
        ({"text_projection": None}, "has no array 'text_projection'"),
        ({"visual.positional_embedding": np.zeros((9, 192))}, "8 positions of patches"),
        ({"visual.conv1.weight": np.zeros((192, 3, 8))}, "4 axes, none empty, are needed"),
        ({"visual.conv1.weight": np.zeros((65, 3, 8, 8))}, "65 does not divide into heads of 64"),
        ({"transformer.resblocks.7.ln_2.bias": np.zeros(128)}, "no layer transformer.resblocks.3"),
    ],
)
def test_what_is_missing_left_over_or_misshapen_is_named(small, tmp_path, change, told):
    theirs = arrays_of(written(made(vit()), tmp_path / "a.pt")) | change
    path = rewritten(
        tmp_path / "b.safetensors",
        {k: v for k, v in theirs.items() if v is not None},
    )
    with pytest.raises(ConfigError, match=told):
        back(read(path))


def test_one_tower_comes_in_alone(small, tmp_path):
    model = made(resnet())
    path = written(model, tmp_path / "a.pt")
    text = back(read(path, tower="text"))
    expected = {k: v for k, v in model.params.items() if k.startswith("text/")}
    assert_equal(text.params, expected)
    with pytest.raises(ConfigError, match="holds both towers"):
        written(text, tmp_path / "b.pt")


def test_a_bias_of_patches_and_a_missing_projection_are_folded(small, tmp_path):
    model = made(vit(patch_bias=True, projection=False, embed_dim=192))
    theirs = arrays_of(written(model, tmp_path / "a.pt"))
    positions, ours = theirs["visual.positional_embedding"], model.params
    np.testing.assert_array_equal(positions[0], ours["image/position"][0])
    expected = ours["image/position"][1:] + ours["image/stem/bias"]
    np.testing.assert_array_equal(positions[1:], expected)
    np.testing.assert_array_equal(theirs["visual.proj"], np.eye(192))


@pytest.mark.parametrize(
    ("arch", "options", "told"),
    [
        (vit(activation="gelu"), {}, "image.activation is 'gelu', not 'quick_gelu'"),
        (vit(num_heads=4), {}, "image.num_heads is 4, so heads are 48 wide, not 64"),
        (vit(mlp_width=300), {}, "image.mlp_width is 300, not 768"),
        (vit(ln_pre=False), {}, "image.ln_pre is False, not True"),
        (vit(pool="mean"), {}, "image.pool is 'mean', not 'class'"),
        (vit(image_size=25), {}, "image_size is 25, no multiple of image.patch_size = 8"),
        (resnet(num_heads=2), {}, "image.num_heads is 2, so heads are 128 wide, not 64"),
        (resnet(bn_eps=1e-3), {}, "image.bn_eps is 0.001, not 1e-05"),
        (vit(), {"loss": "sigmoid"}, "the loss is 'sigmoid'"),
        (vit(), {"tokenizer": small_tokenizer(11, clean="lower")}, "tokenizer is not CLIP's: the"),
        (vit(), {"tokenizer": small_tokenizer(11, vocab_size=299)}, "has 299 tokens and CLIP's"),
        (vit(), {"preprocess": Preprocess(size=24, resize="squash")}, "resize is 'squash', not"),
    ],
)
def test_what_their_code_cannot_run_is_refused(small, tmp_path, arch, options, told):
    with pytest.raises(ConfigError, match=told):
        written(made(arch, **options), tmp_path / "a.pt")
    assert not list(tmp_path.iterdir())


def test_padding_behind_the_end_of_a_text_is_no_difference(small, tmp_path):
    """As transformers has OpenAI's tokenizer: what ends a text fills it up, too."""
    data = {**SMALL.to_dict(), "pad": SMALL.eot}
    model = made(vit(), tokenizer=Tokenizer.from_dict(data))
    path = written(model, tmp_path / "a.pt")
    (note,) = model.notes
    assert f"fills short texts up with the id {SMALL.pad}, and the model's" in note
    assert_equal(back(read(path)).params, model.params)


def test_all_that_their_code_cannot_run_is_listed(small, tmp_path):
    with pytest.raises(ConfigError) as told:
        written(made(vit(activation="gelu", ln_eps=1e-6), loss="sigmoid"), tmp_path / "a.pt")
    assert str(told.value).count("\n  ") == 3


def test_what_the_file_does_not_tell_must_be_told(small, tmp_path):
    theirs = arrays_of(written(made(vit()), tmp_path / "a.pt"))
    theirs["token_embedding.weight"] = theirs["token_embedding.weight"][:290].copy()
    del theirs["input_resolution"]
    path = rewritten(tmp_path / "b.safetensors", theirs)
    assert not FORMAT.recognises(path)  # it could be open_clip's
    with pytest.raises(ConfigError, match="a vocabulary of 290 tokens is not CLIP's of 300"):
        read(path)
    with pytest.raises(ConfigError, match="is no clip-vit-b-16: its arrays say"):
        read(path, architecture="clip-vit-b-16")


@pytest.mark.peers
@pytest.mark.parametrize("arch", [vit(), resnet(), vit(patch_bias=True)])
def test_their_code_gives_the_same(arch, tmp_path):
    clip = their_package()
    ours = InMemory(arch).save(tmp_path / "m")
    path = send_out(FORMAT, ours, tmp_path / "a.pt")
    assert_proven(figures(ours, FORMAT.reference(path)))
    clip.load(str(path), device="cpu")  # its own way in


@pytest.mark.peers
def test_their_code_pools_at_the_first_end_of_a_text(tmp_path):
    their_package()
    tokenizer = clip_bpe(context_length=11)
    tokenizer = Tokenizer.from_dict({**tokenizer.to_dict(), "pad": tokenizer.eot})
    ours = InMemory(vit(), tokenizer=tokenizer).save(tmp_path / "m")
    path = send_out(FORMAT, ours, tmp_path / "a.pt")
    assert_proven(figures(ours, FORMAT.reference(path)), ids=False)


@pytest.mark.peers
@pytest.mark.parametrize("arch", [vit(), resnet()])
def test_their_weights_come_in(arch, tmp_path):
    clip = their_package()
    import torch

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
    again = arrays_of(send_out(FORMAT, tmp_path / "m", tmp_path / "back.pt"))
    told = ("input_resolution", "context_length", "vocab_size")
    assert_equal(again, {name: v.numpy() for name, v in state.items()}, left_out=told)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:Converting a tensor", "ignore:.torch.jit.(save|trace)")
@pytest.mark.parametrize("arch", [vit(), resnet()])
def test_torchscript_archives_are_read_as_they_are(arch, tmp_path, monkeypatch):
    """The releases are such archives, of float16, with masks and sizes beside the parameters."""
    clip = their_package()
    import torch

    ours = InMemory(arch).save(tmp_path / "m")
    state = torch.load(send_out(FORMAT, ours, tmp_path / "a.pt"))
    theirs = clip.model.build_model(state).float()
    expected = {name: value.numpy() for name, value in theirs.state_dict().items()}
    size = arch["image"]["image_size"]
    inputs = torch.zeros(1, 3, size, size), torch.zeros(1, 11, dtype=int)
    theirs.register_buffer("input_resolution", torch.tensor(size))
    torch.jit.save(torch.jit.trace(theirs.eval(), inputs), tmp_path / "script.pt")
    assert FORMAT.recognises(tmp_path / "script.pt")
    # Nor does --verify run the archive's program.
    monkeypatch.setattr(torch.jit, "load", None)
    monkeypatch.setattr(torch, "load", None)
    bring_in(FORMAT, tmp_path / "script.pt", tmp_path / "back")
    assert_proven(figures(tmp_path / "back", FORMAT.reference(tmp_path / "script.pt")))
    again = arrays_of(send_out(FORMAT, tmp_path / "back", tmp_path / "b.pt"))
    for name, array in expected.items():
        if "num_batches" not in name:
            np.testing.assert_array_equal(again[name], array, err_msg=name)


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip-vit-b-32", "clip-rn50"])
def test_real_sizes(name, tmp_path):
    their_package()
    ours = InMemory(architecture(name)).save(tmp_path / "m")
    path = send_out(FORMAT, ours, tmp_path / "a.pt")
    assert_proven(figures(ours, FORMAT.reference(path)))
    bring_in(FORMAT, path, tmp_path / "back")
    assert_equal(params_of(tmp_path / "back"), params_of(ours))


def their_package():
    pytest.importorskip("torch", reason="no torch: pip install bigclip[peers]")
    import_torchvision()  # PyPI's does not load beside a CPU torch without this
    return pytest.importorskip("clip", reason="no openai/CLIP: pip install bigclip[peers]")
