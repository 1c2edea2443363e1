"""Both directions against transformers itself: embeddings, logits and files."""

import shutil

import numpy as np
import pytest
from hf_folders import library, save_peer, save_processor
from random_models import InMemory, assert_equal, back, bring_in, figures, send_out, taken
from tiny_folders import CLASS, HALF, KINDS, folder_of, model_of

import bigclip
from bigclip.data import embedded, images
from bigclip.data.preprocess import Preprocess
from bigclip.data.webdataset import WebDataset
from bigclip.interop.files import open_weights
from bigclip.interop.format import ReadOptions
from bigclip.interop.transformers_folder import FORMAT
from bigclip.models import architecture

pytestmark = pytest.mark.peers
AWKWARD_IDS = {"clip": 0, "siglip": 3, "siglip2": 0}
PROVEN = 1e-5  # of the largest value: a tenth of what `--verify` allows; 8e-7 is found


def assert_same(found):
    for what in ("image embeddings", "text embeddings", "logits"):
        assert found[what] <= PROVEN, what


def arrays_of(folder):
    weights = open_weights(folder / "model.safetensors")
    return {name: tensor.read() for name, tensor in weights.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_theirs(kind, tmp_path):
    """In, with the same logits, and out again, the same to the bit."""
    theirs = tmp_path / "theirs"
    model = save_peer(theirs, kind)
    save_processor(theirs, kind)
    assert FORMAT.recognises(theirs)
    bring_in(FORMAT, theirs, tmp_path / "ours")
    found = figures(tmp_path / "ours", FORMAT.reference(theirs))
    assert_same(found)
    # Of verify's awkward texts, SigLIP's are repaired here (quotes, HTML) and "_" becomes a blank.
    assert found["ids"] == 0
    assert found["awkward ids"] == AWKWARD_IDS[kind]
    again = tmp_path / "again"
    if kind == "siglip2":  # a folder of the same class, since the manifest tells
        ours = back(FORMAT.read(theirs, ReadOptions()))
        ours.manifest["origin"] = {"class": CLASS[kind]}
        folder_of(ours, again)
    else:
        send_out(FORMAT, tmp_path / "ours", again)
    assert_equal(arrays_of(again), arrays_of(theirs))
    config = library().AutoConfig.from_pretrained(again)
    for part in ("text_config", "vision_config"):
        known, old = (getattr(one, part).to_dict() for one in (config, model.config))
        # These say nothing about the model: what pads and begins texts is the tokenizer's, and
        # parts of a CLIPConfig have a projection_dim of their own that no CLIPModel reads.
        idle = {"pad_token_id", "bos_token_id", "projection_dim", "dtype"}
        idle |= set() if kind == "clip" else {"eos_token_id"}
        assert {key for key in old if known[key] != old[key]} <= idle


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_ours(kind, tmp_path):
    """From unrolled layers; the test above goes over scanned ones."""
    library()
    model = model_of(kind)
    ours = model.save(tmp_path / "ours")
    reference = FORMAT.reference(folder_of(model, tmp_path / "theirs"))
    assert type(reference._model).__name__ == CLASS[kind]
    found = figures(ours, reference)
    assert_same(found)
    assert found["ids"] == 0


@pytest.mark.parametrize("way", ["shards", "torch"])
def test_other_files_of_weights(way, tmp_path):
    model = save_peer(tmp_path / "one", "clip")
    save_processor(tmp_path / "one", "clip")
    expected = taken(FORMAT.read(tmp_path / "one", ReadOptions()))
    other = tmp_path / way
    shutil.copytree(tmp_path / "one", other)
    (other / "model.safetensors").unlink()
    if way == "shards":
        model.save_pretrained(other, max_shard_size="100KB")
        assert len(list(other.glob("*.safetensors"))) > 2
    else:
        import torch

        torch.save(model.state_dict(), other / "pytorch_model.bin")
    assert_equal(taken(FORMAT.read(other, ReadOptions())), expected)


def pictures(sides):
    source = WebDataset(embedded.shards("heldout_titles"))
    found = [images.open_rgb(source[index].image) for index in range(len(sides))]
    return [one.resize(size) for one, size in zip(found, sides, strict=True)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_pixels_differ_by_a_grey_level(kind, resize, interpolation, tmp_path):
    """Where the surplus to cut is even; the pictures' sides are chosen so."""
    library()
    prepare = Preprocess(size=24, resize=resize, interpolation=interpolation)
    folder = folder_of(model_of(kind, preprocess=prepare), tmp_path / "theirs")
    found = FORMAT.reference(folder).pixels(real := pictures([(90, 90), (64, 128), (300, 200)]))
    ours = np.stack([prepare(one) for one in real])
    theirs = (found * prepare.std + prepare.mean) * 255
    difference = np.abs(theirs - ours)
    assert difference.max() <= 3.01
    assert (difference > 1.01).mean() < 0.01
    assert difference.mean() < 0.1


def test_naflex_is_exact_at_its_native_grid(tmp_path):
    """Its own processor, on square pictures, against our towers and preprocessing."""
    library()
    import torch

    model = model_of("siglip2")
    ours = bigclip.load(model.save(tmp_path / "ours"))
    reference = FORMAT.reference(folder_of(model, tmp_path / "theirs"))
    real = pictures([(90, 90), (64, 64), (200, 200)])
    inputs = reference._processor.image_processor(images=real, return_tensors="pt")
    assert inputs["spatial_shapes"].tolist() == [[3, 3]] * 3
    with torch.no_grad():
        emb = reference._model.get_image_features(**inputs).pooler_output.numpy()
    emb /= np.linalg.norm(emb, axis=1, keepdims=True)
    # Pixels differ by a grey level here and there.
    np.testing.assert_allclose(emb, ours.embed_images(real), atol=0.02)


def test_the_demo_s_kind_of_model_with_their_code_alone(tmp_path):
    """A CLIPModel with a trained tokenizer: pictures and texts to logits, by AutoProcessor."""
    transformers = library()
    import torch
    from random_models import small_tokenizer

    sizes = {"image_size": 48, "patch_size": 8, "patch_bias": True, "activation": "gelu_tanh"}
    text = {"vocab_size": 300, "context_length": 24, "activation": "gelu_tanh"}
    arch = architecture("tiny-clip", image=sizes, text=text)
    prepare = Preprocess(size=48, mean=HALF, std=HALF)
    model = InMemory(arch, preprocess=prepare, tokenizer=small_tokenizer(24))
    ours = bigclip.load(model.save(tmp_path / "ours"), dtype="float32")
    folder = send_out(FORMAT, tmp_path / "ours", tmp_path / "theirs")
    clip = transformers.CLIPModel.from_pretrained(folder)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    assert type(processor).__name__ == "CLIPProcessor"
    real = pictures([(90, 90), (64, 128), (300, 200)])
    texts = ["a photo of a Red Fox!", "two dogs — in the snow", "<|endoftext|> naïve café", ""]
    expected = ours.score(ours.embed_images(real), ours.embed_texts(texts))
    for padding in ("max_length", True):
        inputs = processor(
            text=texts, images=real, padding=padding, truncation=True, return_tensors="pt"
        )
        with torch.no_grad():
            found = clip(**inputs).logits_per_image.numpy()
        # Logits reach 20; grey levels differ by one here and there.
        np.testing.assert_allclose(found, expected, atol=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "loss"), [("clip-vit-b-32", "softmax"), ("siglip-b-16-224", "sigmoid")]
)
def test_a_real_geometry(name, loss, tmp_path):
    """Out of ours, into theirs, and back: 151 and 203 million parameters."""
    library()
    arch = architecture(name)
    tokenizer = None
    if loss == "sigmoid":
        tokenizer = _siglip_tokenizer(tmp_path)
    crop = "crop" if loss == "softmax" else "squash"
    prepare = Preprocess(size=224, resize=crop)
    model = InMemory(arch, loss=loss, preprocess=prepare, tokenizer=tokenizer)
    ours = model.save(tmp_path / "ours")
    theirs = send_out(FORMAT, ours, tmp_path / "theirs")
    found = figures(ours, FORMAT.reference(theirs))
    assert_same(found)
    assert found["ids"] == 0
    assert_equal(taken(FORMAT.read(theirs, ReadOptions())), model.params)


def _siglip_tokenizer(folder):
    from hf_folders import sentencepiece_model

    from bigclip.data.tokenizer import sentencepiece_tokenizer

    (folder / "spiece.model").write_bytes(sentencepiece_model("unigram"))
    return sentencepiece_tokenizer(str(folder / "spiece.model"), clean="lower")
