"""A tokenizer that the user names: told by its content, used as its family uses it."""

import json

import pytest
import tokenizers
from random_models import WORDS, small_tokenizer
from small_sentencepiece import GEMMA, T5, library, sentencepiece_file

from bigclip.config import ConfigError
from bigclip.data.tokenizer import save_tokenizer
from bigclip.interop.given_tokenizer import fit_tokenizer, locate_tokenizer, open_tokenizer
from bigclip.interop.transformers_folder.tokenizer_reading import read_tokenizer

LENGTH = 24
TEXT = "Blue Owl, drawn!"


def opened(path, family, **options):
    return open_tokenizer(str(path), context_length=LENGTH, family=family, **options)


def filled(ids, pad):
    return [ids + [pad] * (LENGTH - len(ids))]


def test_siglip_s_model_fills_up_with_the_end(tmp_path):
    """By the rule of the family, and id for id as its folder of transformers is read."""
    sentencepiece_file(tmp_path / "spiece.model", T5)
    found = opened(tmp_path / "spiece.model", "siglip")
    ids = library(tmp_path / "spiece.model").encode("blue owl drawn")
    assert found([TEXT]).tolist() == filled([*ids, 1], 1)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "SiglipTokenizer"}')
    assert found == read_tokenizer(tmp_path, "siglip", LENGTH)[0]
    assert opened(tmp_path, "siglip") == found
    # As it stands, the model has a padding of its own.
    plain = opened(tmp_path / "spiece.model", "none")
    ids = library(tmp_path / "spiece.model").encode(TEXT)
    assert plain([TEXT]).tolist() == filled([*ids, 1], 0)


def test_gemma_s_model_has_lower_case_and_no_bos(tmp_path):
    sentencepiece_file(tmp_path / "any.name", GEMMA)
    found = opened(tmp_path / "any.name", "siglip")
    ids = library(tmp_path / "any.name").encode(TEXT.lower())
    assert found([TEXT]).tolist() == filled([*ids, 1], 0)
    assert opened(tmp_path / "any.name", "siglip", clean="none").clean == "none"


def tokenizer_json(path, *, special, around=None, words=WORDS):
    """Write a Unigram model of the `tokenizers` library."""
    cut = tokenizers.Tokenizer(tokenizers.models.Unigram())
    cut.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    cut.train_from_iterator([*words, *(word.lower() for word in words)] * 4, trainer)
    if around is not None:
        cut.post_processor = tokenizers.processors.TemplateProcessing(
            single=around, special_tokens=[(name, cut.token_to_id(name)) for name in special]
        )
    cut.save(str(path))
    return cut


@pytest.mark.parametrize(
    ("special", "around", "clean", "pad"),
    [
        (["<pad>", "</s>", "<unk>"], "$A </s>", "canonical", 1),
        # Gemma's own puts bos in front; SigLIP 2 was trained without.
        (["<pad>", "<eos>", "<bos>", "<unk>"], "<bos> $A", "lower", 0),
    ],
)
def test_a_tokenizer_json_of_any_name_by_its_family(special, around, clean, pad, tmp_path):
    cut = tokenizer_json(tmp_path / "mine.json", special=special, around=around)
    found = opened(tmp_path / "mine.json", "siglip")
    assert (found.sot, found.eot, found.pad, found.clean) == (None, 1, pad, clean)
    text = "blue owl drawn" if clean == "canonical" else TEXT.lower()
    ids = cut.encode(text, add_special_tokens=False).ids
    assert found([TEXT]).tolist() == filled([*ids, 1], pad)


def test_clip_s_file_tells_no_padding(tmp_path):
    """Its configuration does; without that, the end of text fills up, as in transformers."""
    special = ["<|startoftext|>", "<|endoftext|>", "<unk>"]
    around = "<|startoftext|> $A <|endoftext|>"
    cut = tokenizer_json(tmp_path / "clip.json", special=special, around=around)
    found = opened(tmp_path / "clip.json", "clip")
    assert found([TEXT]).tolist() == filled(cut.encode(TEXT.lower()).ids, 1)
    assert found.clean == "clip"
    with pytest.raises(ConfigError, match="config.tokenizer.pad: neither the file nor"):
        opened(tmp_path / "clip.json", "none")


def test_what_bigclip_saved_knows_by_itself(tmp_path):
    ours = small_tokenizer(11, clean="cased")
    save_tokenizer(ours, str(tmp_path / "tokenizer.json"))  # a name that does not tell
    for family in ("clip", "siglip", "none"):
        found = opened(tmp_path / "tokenizer.json", family, clean="lower")
        assert found.to_dict() == {**ours.to_dict(), "context_length": LENGTH}


def test_where_which_kind_lies(tmp_path):
    assert locate_tokenizer("gs://runs/mine") == ("saved", "gs://runs/mine")
    assert locate_tokenizer(str(tmp_path)) == ("saved", str(tmp_path))
    for name, kind in (
        ("tokenizer.model", "sentencepiece"),
        ("tokenizer.json", "huggingface"),
        ("spiece.model", "sentencepiece"),
    ):
        (tmp_path / name).write_text('{"model": {}}' if kind == "huggingface" else "")
        assert locate_tokenizer(str(tmp_path)) == (kind, str(tmp_path / name))
        assert locate_tokenizer(str(tmp_path / name)) == (kind, str(tmp_path / name))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"{}", b'{"model": 3}', b'{"model": {}}', b"\x00\xff"]
)
def test_what_is_no_tokenizer(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ConfigError, match=str(tmp_path)):
        opened(tmp_path / "a", "siglip")
    with pytest.raises(ConfigError, match="cannot read"):
        opened(tmp_path / "absent.model", "siglip")


def test_sentinels_without_embeddings_are_cut_off(tmp_path):
    """mC4's file has 250,100 pieces, SigLIP i18n 250,000 embeddings."""
    count = sentencepiece_file(tmp_path / "mc4.model", T5, sentinels=3)
    whole = opened(tmp_path / "mc4.model", "siglip")
    assert whole.vocab_size == count + 3
    found = fit_tokenizer(whole, count, "m")
    assert found.vocab_size == count
    assert found([TEXT]).tolist() == whole([TEXT]).tolist()
    assert found(["a <extra_id_1> b"]).max() < count
    assert fit_tokenizer(whole, count + 3, "m") is whole
    # Pieces of words are another matter.
    with pytest.raises(ConfigError, match=rf"m: the tokenizer gives ids up to {count + 2}, .* of"):
        fit_tokenizer(whole, count - 1, "m")


@pytest.mark.parametrize("listed", [True, False])
def test_sentinels_of_a_tokenizer_json(listed, tmp_path):
    """As T5's has them: special tokens, in the vocabulary or only added to it."""
    special = ["<pad>", "</s>", "<unk>"]
    cut = tokenizer_json(tmp_path / "t.json", special=special, around="$A </s>")
    count = cut.get_vocab_size()
    names = [f"<extra_id_{i}>" for i in range(4)]
    content = json.loads(cut.to_str())
    if listed:
        content["model"]["vocab"] += [[name, 0.0] for name in names]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    for number, name in enumerate(names, count):
        content["added_tokens"].append({"id": number, "content": name, "special": False, **flags})
    (tmp_path / "t.json").write_text(json.dumps(content))
    whole = opened(tmp_path / "t.json", "siglip")
    assert whole.vocab_size == count + 4
    found = fit_tokenizer(whole, count, "m")
    assert found.vocab_size == count
    assert found([TEXT]).tolist() == whole([TEXT]).tolist()
    content["added_tokens"][-1]["content"] = "<|user|>"
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="another model's"):
        fit_tokenizer(opened(tmp_path / "t.json", "siglip"), count, "m")
