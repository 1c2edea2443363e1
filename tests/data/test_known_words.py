"""Words that the captions never had are passed over; all others are cut as ever."""

import json
import pickle
import re

import numpy as np
import pytest
import tokenizers

from bigclip.config import ConfigError
from bigclip.data import embedded
from bigclip.data.sources import open_random_access
from bigclip.data.tokenizer import MergeDropout, Tokenizer, known_words, train_tokenizer
from bigclip.data.tokenizer.__main__ import main
from bigclip.data.tokenizer.corpus import captions_of_source
from bigclip.interop.transformers_folder.tokenizer_writing import whole_json

CAPTIONS = ["a red fox", "the woman's boot, leather", "naïve 狐 (x.y) c++", "Ünder 3 owls"] * 3


def trained(unknown_words, captions=CAPTIONS):
    return train_tokenizer(captions, vocab_size=330, context_length=24, unknown_words=unknown_words)


@pytest.fixture(scope="module")
def pair():
    return trained("split"), trained("leave_out")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a red fox", "a red fox"),
        ("a grey fox", "a fox"),
        ("grey red", "red"),
        ("red grey", "red"),
        ("red grey blue fox", "red fox"),
        ("redder foxes re", ""),  # neither longer words nor parts of words are known
        ("A RED Fox", "a red fox"),
        ("狐 犬 naïve", "狐 naïve"),
        ("naive", ""),
        ("fox 7 (x.z)", "fox 7 (x.)"),  # numbers and marks are no words
        ("c++ c xay", "c++ c"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_unknown_words_are_left_out(pair, text, left):
    plain, picky = pair
    assert picky.ids(text) == plain.ids(left)


@pytest.mark.parametrize(
    ("text", "pieces"), [("boots, leather", ",Ġleather"), ("man's boot", "'sĠboot")]
)
def test_marks_behind_them_stay_without_a_blank(pair, text, pieces):
    assert "".join(pair[1].pieces(text)) == pieces


def test_training_captions_are_cut_as_without():
    source = open_random_access(kind="webdataset", shards=embedded.shards("train"))
    captions = list(captions_of_source(source, caption_sources=("name", "title"), max_records=400))
    assert len(captions) > 300
    plain, picky = trained("split", captions), trained("leave_out", captions)
    assert picky.vocab_size == plain.vocab_size
    assert [picky.ids(text) for text in captions] == [plain.ids(text) for text in captions]


def test_as_a_regular_expression_of_all_words_would(pair):
    plain, picky = pair
    words = {word for text in CAPTIONS for word in re.findall(r"[^\W\d_]+", text.lower())}
    text = "the fox boot of woman under red leather fo foxx und owl owls a an"
    left = " ".join(word for word in text.split() if word in words)
    assert left == "the fox boot woman red leather owls a"  # "ünder" is another word than "under"
    assert picky.ids(text) == plain.ids(left)


def test_an_empty_text_has_its_special_ids_alone(pair):
    picky = pair[1]
    assert picky(["zzz"])[0].tolist() == [picky.sot, picky.eot] + [picky.pad] * 22


def test_it_survives_saving_pickling_and_export(pair):
    picky = pair[1]
    text = "a grey fox, leather"
    again = Tokenizer.from_dict(json.loads(json.dumps(picky.to_dict())))
    assert again == picky
    assert again.ids(text) == pickle.loads(pickle.dumps(picky)).ids(text) == picky.ids(text)
    content, _ = whole_json(picky.to_dict()["pieces"], picky)
    alone = tokenizers.Tokenizer.from_str(json.dumps(content))
    for one in (text, "  GREY Fox &amp; owls ", "zzz"):
        ids = picky([one])[0].tolist()
        assert alone.encode(one).ids == ids[: ids.index(picky.eot) + 1]


def test_merge_dropout_leaves_them_out_too(pair):
    picky = pair[1]
    rng = np.random.default_rng(0)
    assert MergeDropout(picky, 0.0).ids("a grey fox", rng) == picky.ids("a grey fox")
    pieces = MergeDropout(picky, 0.9).pieces("a grey fox", rng)
    assert "".join(pieces) == "ĠaĠfox"


def test_mistakes_are_told(monkeypatch):
    with pytest.raises(ConfigError, match="unknown_words 'drop' is none of"):
        trained("drop")
    monkeypatch.setattr(known_words, "_MOST_WORDS", 5)
    with pytest.raises(ConfigError, match="at most 5; these captions have 1.*Take 'split'"):
        trained("leave_out")


def test_the_command_has_it(tmp_path, capsys):
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    out = tmp_path / "tok.json"
    arguments = ["--captions", str(tmp_path / "captions.txt"), "--out", str(out)]
    assert main(["train", *arguments, "--vocab_size=330", "--unknown_words=leave_out"]) == 0
    capsys.readouterr()
    assert main(["show", str(out), "a grey fox"]) == 0
    assert "".join(capsys.readouterr().out.splitlines()[0].split()) == "ĠaĠfox"
