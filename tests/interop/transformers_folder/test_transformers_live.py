"""Both directions against transformers itself: logits, ids and pixels."""

import pytest
from hf_folders import library, save_peer, save_processor
from random_models import assert_equal, bring_in, figures, send_out
from tiny_folders import CLASS, KINDS, model_of

from bigclip.interop.files import open_weights
from bigclip.interop.transformers_folder import FORMAT

pytestmark = pytest.mark.peers
PROVEN = 1e-5  # of the largest value: a tenth of what `--verify` allows


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
    notes = bring_in(FORMAT, theirs, tmp_path / "ours")
    print(notes)
    found = figures(tmp_path / "ours", FORMAT.reference(theirs))
    assert_same(found)
    assert found.get("pixels", 0) <= 1.01 or kind == "clip"  # an odd crop moves by a pixel
    # Of verify's texts, SigLIP's are repaired here (curly quotes) and "_" becomes a blank.
    assert found["ids"] == (2 if kind == "siglip" else 0)
    again = send_out(FORMAT, tmp_path / "ours", tmp_path / "again")
    if kind == "siglip2":
        return
    assert_equal(arrays_of(again), arrays_of(theirs))
    config = library().AutoConfig.from_pretrained(again)
    for part in ("text_config", "vision_config"):
        known, old = (getattr(one, part).to_dict() for one in (config, model.config))
        known.pop("dtype"), old.pop("dtype")
        changed = {key for key in old if known[key] != old[key]}
        # These say nothing about the model: what pads and begins texts is the tokenizer's.
        assert changed <= {"pad_token_id", "bos_token_id", "eos_token_id", "projection_dim"}


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_model_of_ours(kind, tmp_path):
    """From unrolled layers; the test above goes over scanned ones."""
    library()
    ours = model_of(kind).save(tmp_path / "ours")
    folder = send_out(FORMAT, ours, tmp_path / "theirs")
    reference = FORMAT.reference(folder)
    assert type(reference._model).__name__ == CLASS[kind]
    found = figures(ours, reference)
    assert_same(found)
    assert found["ids"] == 0
    assert kind == "clip" or found["pixels"] <= 1.01
