"""Tokenizers of folders: read as their classes cut, written so that `tokenizers` cuts as ours."""

import json
import shutil

import numpy as np
import pytest
import sentencepiece
import tokenizers
from caption_texts import AWKWARD, captions
from hf_folders import clip_vocabulary, gemma_json, gemma_tokenizer, sentencepiece_model
from random_models import small_tokenizer
from small_sentencepiece import T5, library, sentencepiece_file
from tiny_folders import folder_of, model_of

from bigclip.config import ConfigError
from bigclip.data.text_cleaning import CLEANERS
from bigclip.data.tokenizer import clip_bpe, huggingface_tokenizer, sentencepiece_tokenizer
from bigclip.interop.format import ReadOptions
from bigclip.interop.transformers_folder import FORMAT
from bigclip.interop.transformers_folder.tokenizer_reading import read_tokenizer
from bigclip.interop.transformers_folder.tokenizer_writing import write_tokenizer

LENGTH = 30
TEXTS = (*AWKWARD, *captions()[::3])
BROKEN = ("&lt;p&gt; &amp;amp; &eacute;", "Ã©tÃ© â€œquotedâ€\x9d")  # only ftfy and html know
STACKED = ("a\u0301\u0323\u0300\u0327 z̷a̷l̷g̷o̷",)  # composed in another order


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    for kind in ("unigram", "bpe"):
        (place / f"{kind}.model").write_bytes(sentencepiece_model(kind))
    return place


def their_ids(folder, texts):
    """Cut as transformers' tokenizers do, without transformers."""
    cut = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    cut.encode_special_tokens = config["split_special_tokens"]
    length, pad = config["model_max_length"], config["pad_token"]
    cut.enable_truncation(length)
    cut.enable_padding(length=length, pad_token=pad, pad_id=cut.token_to_id(pad))
    return [cut.encode(text).ids for text in texts]


def assert_same_ids(ours, folder, *, but=()):
    write_tokenizer(folder, ours, masks=False)
    texts = [text for text in TEXTS if text not in but]
    expected = ours(texts)
    for text, found, ids in zip(texts, their_ids(folder, texts), expected, strict=True):
        assert found == ids.tolist(), text
    return folder


@pytest.mark.parametrize("clean", CLEANERS)
def test_a_trained_tokenizer_out_and_in(clean, tmp_path):
    ours = small_tokenizer(LENGTH, clean=clean)
    but = () if clean in ("lower", "none") else BROKEN
    folder = assert_same_ids(ours, tmp_path, but=but)
    found, notes = read_tokenizer(folder, "siglip", 64)
    assert found == ours
    assert notes[0].startswith("tokenizer_config.json: texts have 30 tokens")


def test_openai_s_out_and_in(tmp_path):
    """Padding is "!", which texts hold, too: it is not taken for padding there."""
    ours = clip_bpe(context_length=LENGTH)
    folder = assert_same_ids(ours, tmp_path, but=BROKEN)
    assert their_ids(folder, ["hey!"])[0][2:5] == [256, 49407, 0]
    assert read_tokenizer(folder, "clip", LENGTH) == (ours, ())


@pytest.mark.parametrize("clean", ["lower", "canonical"])
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_sentencepiece_out_and_in(models, kind, clean, tmp_path):
    """As JSON, and the model itself beside it, which comes in again."""
    ours = sentencepiece_tokenizer(
        str(models / f"{kind}.model"), context_length=LENGTH, pad=1, clean=clean
    )
    but = STACKED if clean == "lower" else BROKEN
    folder = assert_same_ids(ours, tmp_path, but=but)
    special = ["a <end of text> b", "<no text>", "</s><|endoftext|><pad>"]
    assert their_ids(folder, special) == ours(special).tolist()
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["model_input_names"] == ["input_ids"]
    assert read_tokenizer(folder, "siglip", LENGTH) == (ours, ())


def test_siglip_s_own_files(models, tmp_path):
    shutil.copy(models / "unigram.model", tmp_path / "spiece.model")
    found, notes = read_tokenizer(tmp_path, "siglip", LENGTH)
    assert found == sentencepiece_tokenizer(
        str(models / "unigram.model"), context_length=LENGTH, pad="</s>", clean="canonical"
    )
    assert len(notes) == 1


def test_other_models_of_the_library_out_and_in(tmp_path):
    """A word-piece model without start of text, as a user's own."""
    cut = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    cut.normalizer = tokenizers.normalizers.BertNormalizer()
    cut.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=600, special_tokens=["[PAD]", "[UNK]", "[SEP]"], show_progress=False
    )
    cut.train_from_iterator(captions(), trainer)
    cut.save(str(tmp_path / "tokenizer.json"))
    ours = huggingface_tokenizer(
        str(tmp_path), context_length=LENGTH, bos="none", eos="[SEP]", pad="[PAD]", clean="clip"
    )
    folder = tmp_path / "out"
    folder.mkdir()
    assert_same_ids(ours, folder, but=BROKEN)
    found, _ = read_tokenizer(folder, "siglip", LENGTH)
    assert (found.sot, found.eot, found.pad, found.clean) == (None, 2, 0, "clip")
    np.testing.assert_array_equal(found(TEXTS), ours(TEXTS))


def write(folder, **files):
    for name, content in files.items():
        name = name.replace("__", ".")
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")


def test_openai_s_files_of_transformers(tmp_path):
    """vocab.json and merges.txt, as on the hub: the end of text is padding, too."""
    model = clip_bpe().to_dict()["pieces"]["model"]
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"]), ""]
    tokens = {"bos_token": {"content": "<|startoftext|>"}, "eos_token": "<|endoftext|>"}
    write(tmp_path, vocab__json=model["vocab"], merges__txt="\n".join(lines))
    write(tmp_path, special_tokens_map__json=tokens | {"pad_token": "<|endoftext|>"})
    found, notes = read_tokenizer(tmp_path, "clip", 77)
    expected = clip_bpe().to_dict() | {"pad": 49407}
    assert found.to_dict() == expected
    assert len(notes) == 1
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(ConfigError, match="neither tokenizer.json nor merges.txt"):
        read_tokenizer(tmp_path, "clip", 77)


@pytest.mark.parametrize("in_one_file", [True, False])
def test_another_vocabulary_of_clip_s_class(in_one_file, tmp_path):
    known = clip_vocabulary()
    if in_one_file:
        merges = [" ".join(pair) for pair in known["merges"]]
        write(tmp_path, tokenizer__json={"model": {"vocab": known["vocab"], "merges": merges}})
    else:
        lines = ["#version: 0.2", *(" ".join(pair) for pair in known["merges"])]
        write(tmp_path, vocab__json=known["vocab"], merges__txt="\n".join(lines))
    found, notes = read_tokenizer(tmp_path, "clip", 11)
    assert (found.sot, found.eot, found.pad, found.vocab_size) == (298, 299, 299, 300)
    assert notes == ()
    row = found(["The  Red fox <|endoftext|>"])[0].tolist()
    assert row[0] == 298
    assert row.index(299) > 5  # what spells the end is cut up
    write(tmp_path, tokenizer_config__json={"pad_token": "[PAD]"})
    with pytest.raises(ConfigError, match=r"the vocabulary has no \[PAD\]"):
        read_tokenizer(tmp_path, "clip", 11)


def test_gemma_s_with_lower_case(tmp_path):
    """As the files of SigLIP 2: the flags say what is put around a text."""
    config = {
        "tokenizer_class": "GemmaTokenizerFast",
        "add_bos_token": False,
        "add_eos_token": True,
        "padding_side": "right",
        "do_lower_case": True,
        "model_max_length": 1e30,
        **{f"{role}_token": f"<{role}>" for role in ("bos", "eos", "pad", "unk")},
    }
    write(tmp_path, tokenizer__json=gemma_json(), tokenizer_config__json=config)
    found, notes = read_tokenizer(tmp_path, "siglip", 16)
    assert (found.sot, found.eot, found.pad, found.context_length) == (None, 1, 0, 16)
    assert "lower case" in notes[0]
    np.testing.assert_array_equal(found(["A Red FOX"]), found(["a red fox"]))
    assert found(["fox"])[0].tolist().count(1) == 1
    write(tmp_path, tokenizer_config__json=config | {"add_bos_token": True})
    assert read_tokenizer(tmp_path, "siglip", 16)[0].sot == 2
    for change, message in (
        ({"padding_side": "left"}, "pads at the left"),
        ({"truncation_side": "left"}, "cuts long texts at the left"),
        ({"eos_token": None}, "wants a bos or eos token, and names none"),
        ({"pad_token": "<nothing>"}, "is no special token of the file"),
        ({"tokenizer_class": 3}, "tokenizer_class is 3"),
        ({"tokenizer_class": "SiglipTokenizer"}, "spiece.model is missing. SiglipTokenizer cuts"),
        ({"eos_token": ["<eos>"]}, "eos_token is"),
    ):
        write(tmp_path, tokenizer_config__json=config | change)
        with pytest.raises(ConfigError, match=message):
            read_tokenizer(tmp_path, "siglip", 16)


def test_gemma_s_out_and_in(tmp_path):
    ours = gemma_tokenizer(LENGTH)
    folder = assert_same_ids(ours, tmp_path)
    written = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(written.values()) == list(range(len(written)))
    assert [written[name] for name in ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")] == [*range(5)]
    assert read_tokenizer(folder, "siglip2", LENGTH)[0] == ours


def test_gemma_s_model_file(models, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes((models / "bpe.model").read_bytes())
    config = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True}
    write(tmp_path, tokenizer_config__json=config)
    found, _ = read_tokenizer(tmp_path, "siglip2", LENGTH)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(models / "bpe.model"))
    for text in TEXTS:
        ids = [*theirs.encode(text.lower())[: LENGTH - 1], 1]
        assert found([text])[0].tolist() == ids + [0] * (LENGTH - len(ids)), text


@pytest.mark.parametrize("named", [False, True])
def test_siglip_i18n_has_no_embeddings_for_sentinels(named, tmp_path):
    """Its spiece.model has 250,100 pieces, its table 250,000 rows; also if the user names it."""
    folder = folder_of(model_of("siglip"), tmp_path / "theirs")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    place = tmp_path / "mc4.model" if named else folder / "spiece.model"
    count = sentencepiece_file(place, T5, sentinels=100)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["vocab_size"] = count
    write(folder, config__json=config)
    options = ReadOptions(tokenizer=str(place) if named else None)
    found = FORMAT.read(folder, options).tokenizer
    assert found.vocab_size == count
    ids = library(place).encode("blue owl")
    assert found(["Blue Owl!"]).tolist() == [ids + [1] * (found.context_length - len(ids))]
    config["text_config"]["vocab_size"] = count - 1
    write(folder, config__json=config)
    with pytest.raises(ConfigError, match=f"embeddings of {count - 1} tokens"):
        FORMAT.read(folder, options)


def test_siglip_s_with_capitals_is_refused(models, tmp_path):
    (tmp_path / "spiece.model").write_bytes((models / "unigram.model").read_bytes())
    write(tmp_path, tokenizer_config__json={"do_lower_case": False})
    with pytest.raises(ConfigError, match="keeps capitals"):
        read_tokenizer(tmp_path, "siglip", 64)


@pytest.mark.parametrize(
    "content",
    [
        "[1, 2]",
        "{",
        '{"model": 3}',
        '{"model": {"vocab": {"a": "b"}, "merges": []}}',
        '{"model": {"vocab": {"a": 1}, "merges": [["a"]]}}',
        '{"model": {"vocab": {"a": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}, '
        '"merges": ["a b"]}}',
        "[" * 100_000,
        # The library's Rust code panics over it.
        '{"model": {"type": "BPE", "vocab": {}, "merges": []}, "normalizer": '
        '{"type": "Precompiled", "precompiled_charsmap": "AAAA"}}',
    ],
)
@pytest.mark.parametrize("kind", ["CLIPTokenizer", "PreTrainedTokenizerFast"])
def test_damaged_files(kind, content, tmp_path):
    write(tmp_path, tokenizer__json=content, tokenizer_config__json={"tokenizer_class": kind})
    with pytest.raises(ConfigError):
        read_tokenizer(tmp_path, "clip", 77)
