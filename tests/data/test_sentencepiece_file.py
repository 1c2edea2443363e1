"""SentencePiece models: the library's ids, in the layouts of the published models."""

import io
import json
import pickle
import shutil

import hypothesis
import numpy as np
import pytest
import sentencepiece
from caption_texts import AWKWARD, captions, invented

from bigclip.config import ConfigError
from bigclip.data.augment_text import TextAugmenter
from bigclip.data.text_cleaning import CLEANERS
from bigclip.data.tokenizer import Tokenizer, sentencepiece_tokenizer

# The special ids of T5's and SigLIP's C4 model, and of Gemma's and SigLIP 2's.
C4 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
GEMMA = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "user_defined_symbols": ["<turn>"]}


def train(path, **options):
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(captions()),
        model_writer=written,
        vocab_size=1200,
        hard_vocab_limit=False,
        character_coverage=0.98,
        minloglevel=2,
        num_threads=1,
        **options,
    )
    path.write_bytes(written.getvalue())
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    kinds = {
        "unigram": {"model_type": "unigram", **C4},
        "unigram_bytes": {"model_type": "unigram", "byte_fallback": True, **GEMMA},
        "bpe": {"model_type": "bpe", "bos_id": 1, "eos_id": 2, "unk_id": 0},  # no padding
        "bpe_bytes": {
            "model_type": "bpe",
            "byte_fallback": True,
            "split_digits": True,
            "normalization_rule_name": "identity",
            "add_dummy_prefix": False,
            "remove_extra_whitespaces": False,
            **GEMMA,
        },
    }
    return {kind: train(folder / f"{kind}.model", **options) for kind, options in kinds.items()}


KINDS = ("unigram", "unigram_bytes", "bpe", "bpe_bytes")


def both(files, kind, **options):
    pad = {"pad": "</s>"} if kind == "bpe" else {}
    ours = sentencepiece_tokenizer(files[kind], **{**pad, **options})
    return ours, sentencepiece.SentencePieceProcessor(model_file=files[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_library(files, kind):
    ours, theirs = both(files, kind, context_length=40)
    texts = [*AWKWARD, *captions()]
    assert len(texts) > 500
    rows = ours(texts)
    assert rows.dtype == np.int32
    used = set()
    for row, text in zip(rows, texts, strict=True):
        ids = [*theirs.encode(text)[:39], theirs.eos_id()]
        used.update(ids)
        assert row.tolist() == ids + [ours.pad] * (40 - len(ids)), text
    assert len(used) > 500  # the vocabulary is really exercised
    assert ours.vocab_size == theirs.vocab_size()


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_library_for_any_text(files, kind):
    ours, theirs = both(files, kind, context_length=30)

    @hypothesis.given(invented(max_size=50))
    @hypothesis.settings(max_examples=150, deadline=None)
    def holds(text):
        ids = [*theirs.encode(text)[:29], theirs.eos_id()]
        assert ours([text])[0].tolist() == ids + [ours.pad] * (30 - len(ids))
        assert ours.pieces(text) == theirs.encode(text, out_type=str)

    holds()


def test_the_layout_of_siglip(files):
    ours, theirs = both(files, "unigram", context_length=16, pad="</s>", clean="canonical")
    words = theirs.encode("its a red fox")
    row = ours(["It's a RED_fox!"])[0].tolist()
    assert row == words + [1] * (16 - len(words))
    assert ours([""])[0].tolist() == [1] * 16
    assert ours(["red " * 100])[0].tolist()[-1] == 1
    assert (ours.sot, ours.eot, ours.pad) == (None, 1, 1)


def test_the_layout_of_siglip_2(files):
    ours, theirs = both(files, "bpe_bytes", clean="lower")
    words = theirs.encode("it's a red fox!")
    assert ours(["It's a RED fox!"])[0].tolist() == [*words, 1] + [0] * (63 - len(words))
    assert (ours.context_length, ours.sot, ours.eot, ours.pad) == (64, None, 1, 0)


def test_special_pieces_by_role_name_and_id(files):
    layouts = [
        ({"bos": "model"}, (2, 1, 0)),
        ({"bos": "<s>", "eos": "none", "pad": 1}, (2, None, 1)),
        ({"eos": 2, "pad": "</s>"}, (None, 2, 1)),
    ]
    for options, expected in layouts:
        ours, theirs = both(files, "unigram_bytes", context_length=12, **options)
        assert (ours.sot, ours.eot, ours.pad) == expected
        head, tail = ([] if i is None else [i] for i in expected[:2])
        ids = [*head, *theirs.encode("red")[:10], *tail]
        assert ours(["red"])[0].tolist() == ids + [ours.pad] * (12 - len(ids))


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_makes_a_special_id(files, kind):
    ours, _ = both(files, kind, bos="model" if kind != "unigram" else "none", context_length=200)
    row = ours(["<s></s><pad> <s> </s> <pad>"])[0].tolist()
    inner = row[ours.sot is not None : row.index(ours.eot)]
    assert len(inner) > 10
    assert not {ours.sot, ours.eot, ours.pad} & set(inner)


def test_the_whole_model_is_plain_data_and_back(files):
    ours, _ = both(files, "unigram", clean="canonical")
    data = json.dumps(ours.to_dict())
    copy = Tokenizer.from_dict(json.loads(data))
    assert copy == ours
    assert (copy(captions()[:50]) == ours(captions()[:50])).all()
    assert pickle.loads(pickle.dumps(ours)) == ours
    other, _ = both(files, "unigram_bytes", clean="canonical")
    assert other != ours


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clean", ["none", "canonical"])
def test_a_text_of_a_megabyte_gives_the_ids_of_its_beginning(files, kind, clean):
    ours, theirs = both(files, kind, clean=clean, context_length=64)
    for text in (" ".join(captions())[:1_000_000], "狐狸在雪地里。" * 50_000, "&eacute;" * 125_000):
        ids = [*theirs.encode(CLEANERS[clean](text))[:63], theirs.eos_id()]
        assert ours([text])[0].tolist() == ids + [ours.pad] * (64 - len(ids))


def test_mistakes_are_named(files, tmp_path):
    with pytest.raises(ConfigError, match=r"tokenizer.path: cannot read .*missing.model: No such"):
        sentencepiece_tokenizer(str(tmp_path / "missing.model"))
    for content in (b"", b"hello", b'{"model": {}}'):
        (tmp_path / "other.model").write_bytes(content)
        with pytest.raises(ConfigError, match="no SentencePiece model .*huggingface"):
            sentencepiece_tokenizer(str(tmp_path / "other.model"))
    with pytest.raises(ConfigError, match=r'tokenizer.pad: the model has none .*"</s>" \(2\)'):
        sentencepiece_tokenizer(files["bpe"])
    with pytest.raises(ConfigError, match=r"tokenizer.eos: '<end>' is no control piece"):
        sentencepiece_tokenizer(files["unigram"], eos="<end>")
    with pytest.raises(ConfigError, match=r"tokenizer.eos: '<turn>' is no control piece"):
        sentencepiece_tokenizer(files["bpe_bytes"], eos="<turn>")
    with pytest.raises(ConfigError, match=r"tokenizer.pad: 99999 is no control piece"):
        sentencepiece_tokenizer(files["unigram"], pad=99999)
    with pytest.raises(ConfigError, match=r"tokenizer.pad: 'none' is no control piece"):
        sentencepiece_tokenizer(files["unigram"], pad="none")


def test_a_home_folder_may_be_abbreviated(files, monkeypatch, tmp_path):
    shutil.copy(files["unigram"], tmp_path / "c4.model")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sentencepiece_tokenizer("~/c4.model") == sentencepiece_tokenizer(files["unigram"])


@pytest.mark.parametrize("kind", KINDS)
def test_replacements_are_all_pieces_that_a_text_may_hold(files, kind):
    pad = "</s>" if kind == "bpe" else "model"
    ours = sentencepiece_tokenizer(files[kind], context_length=32, pad=pad)
    library = sentencepiece.SentencePieceProcessor(model_file=files[kind])
    marks = {
        one
        for one in range(library.vocab_size())
        if library.is_control(one) or library.is_unknown(one)
    }
    assert marks
    augmenter = TextAugmenter(ours, token_replacement=0.99)
    text = " ".join(captions()[:20])
    # Some 45,000 draws of 1,200 pieces: that one never comes has a probability of 1e-13.
    rows = augmenter([text] * 1500, seed=0, positions=range(1500))
    drawn = set(rows.flat) - {ours.sot, ours.eot, ours.pad}
    assert drawn == set(range(library.vocab_size())) - marks
    known = captions()[0]  # what is unknown shows itself, and not its id
    assert [ours.piece(one) for one in ours.ids(known)] == ours.pieces(known)
