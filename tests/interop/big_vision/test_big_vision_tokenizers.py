"""The tokenizer of a .npz comes from a file of the user's: each kind, used as it was published."""

import io
import json

import pytest
import sentencepiece
from random_models import WORDS, small_tokenizer
from sentencepiece import sentencepiece_model_pb2

from bigclip.config import ConfigError
from bigclip.data.tokenizer import save_tokenizer
from bigclip.interop.big_vision import vocabulary
from bigclip.interop.big_vision.vocabulary import read_tokenizer

TEXT = "Blue Owl, drawn!"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A SentencePiece model with the special pieces of T5's."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*WORDS, TEXT] * 4),
        model_writer=written,
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("model") / "c4.model"
    path.write_bytes(written.getvalue())
    return path


def read(path, *, vocab_size=400, context_length=16):
    path = None if path is None else str(path)
    return read_tokenizer(path, vocab_size=vocab_size, context_length=context_length, where="f.npz")


def library(path):
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def test_siglip_fills_up_with_the_end(model):
    tokenizer, note = read(model)
    ids = library(model).encode("blue owl drawn")
    assert tokenizer([TEXT]).tolist() == [ids + [1] * (16 - len(ids))]
    assert "as SigLIP's: lower case without punctuation" in note


def test_siglip_2_has_lower_case_and_its_own_padding(model, monkeypatch):
    monkeypatch.setattr(vocabulary, "_GEMMA", 20)
    tokenizer, note = read(model)
    ids = library(model).encode(TEXT.lower())
    assert tokenizer([TEXT]).tolist() == [[*ids, 1, *[0] * (15 - len(ids))]]
    assert "as SigLIP 2's" in note


def test_sentinels_without_embeddings_are_cut_off(model, tmp_path):
    """mT5's file has 250,100 pieces, SigLIP i18n 250,000 embeddings."""
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.read_bytes())
    count = len(proto.pieces)
    for number in range(3):
        piece = proto.pieces.add()
        piece.piece, piece.score, piece.type = f"▁<extra_id_{number}>", 0.0, 4
    (tmp_path / "mc4.model").write_bytes(proto.SerializeToString())
    tokenizer, _ = read(tmp_path / "mc4.model", vocab_size=count)
    assert tokenizer.vocab_size == count
    assert tokenizer([TEXT]).tolist() == read(model)[0]([TEXT]).tolist()
    # Pieces of words are another matter.
    with pytest.raises(ConfigError, match=f"has {count} ids, .* only {count - 1}"):
        read(model, vocab_size=count - 1)


def test_a_tokenizer_that_bigclip_saved(tmp_path):
    ours = small_tokenizer(11)
    save_tokenizer(ours, str(tmp_path / "ours.json"))
    tokenizer, _ = read(tmp_path / "ours.json", context_length=9)
    assert tokenizer.to_dict() == {**ours.to_dict(), "context_length": 9}


def test_a_tokenizer_json(tmp_path):
    content = {**small_tokenizer(11).to_dict()["pieces"]}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    content["added_tokens"] = [{"id": 299, "content": "<pad>", "special": True, **special}]
    content["padding"] = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 299,
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    for place in (tmp_path / "tokenizer.json", tmp_path):
        tokenizer, note = read(place)
        assert (tokenizer.pad, tokenizer.context_length) == (299, 16)
        assert "nothing is cleaned" in note


@pytest.mark.parametrize(
    ("vocab_size", "told"),
    [(32_000, "cc_en.32000"), (250_000, "mc4"), (256_000, "Gemma"), (999, "the one with 999 ids")],
)
def test_which_file_to_give(vocab_size, told):
    with pytest.raises(ConfigError, match=f"--tokenizer FILE.*{told}.*--tower image"):
        read(None, vocab_size=vocab_size)


def test_what_is_no_tokenizer(tmp_path):
    for content in (b"", b"{", b"[1]", b"{}", b'{"model": 3}', b"\x00\xff"):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(ConfigError):
            read(tmp_path / "a")
    with pytest.raises(ConfigError, match="cannot read"):
        read(tmp_path / "absent.model")
