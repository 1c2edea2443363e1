"""Two tokenizers side by side: what an id means, and which pieces both have."""

import json

import numpy as np
import pytest
import tokenizers

from bigclip.data.tokenizer import Tokenizer, clip_bpe, train_tokenizer
from bigclip.data.tokenizer.shared_pieces import Piece, difference, pieces_by_id, shared_rows

FOXES = ["red fox and blue owl"] * 4
CATS = ["a photo of a cat and a fox"] * 4


@pytest.fixture(scope="module")
def clip():
    return clip_bpe()


@pytest.fixture(scope="module")
def foxes():
    return train_tokenizer(FOXES, vocab_size=290, context_length=11)


@pytest.fixture(scope="module")
def cats():
    return train_tokenizer(CATS, vocab_size=290, context_length=8)


def changed(tokenizer, **fields):
    return Tokenizer.from_dict({**tokenizer.to_dict(), **fields})


def unigram(words, **fields):
    """A model of pieces that write a blank as SentencePiece does."""
    model = tokenizers.models.Unigram([("<unk>", 0.0), *((word, -1.0) for word in words)], 0)
    cut = tokenizers.Tokenizer(model)
    cut.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    pieces = json.loads(cut.to_str())
    count = len(words) + 1
    given = {"context_length": 8, "sot": None, "eot": count, "pad": count, "clean": "none"}
    return Tokenizer(pieces=pieces, **{**given, **fields})


def test_pieces_of_several_kinds(clip, foxes):
    found = pieces_by_id(clip)
    assert len(found) == 49408
    assert found[clip(["fox"])[0, 1]] == Piece(b"fox", "word")
    assert found[0] == Piece(b"!", "start")  # also the padding
    assert (found[49406].place, found[49407].place) == ("sot", "eot")
    found = pieces_by_id(foxes)
    assert found[foxes(["fox"])[0, 1]] == Piece(b"fox", "word")
    assert found[0].place == "pad"
    # All bytes are there, also those that borrow a character.
    assert {piece.text for piece in found.values()} >= {bytes([byte]) for byte in range(256)}
    found = pieces_by_id(unigram(["\u2581fox", "es", "\u2581\u00e9"]))
    assert found[0].place == "unknown"
    assert found[1] == Piece(b"fox", "word")
    assert found[2] == Piece(b"es", "rest")
    assert found[3] == Piece("\u00e9".encode(), "word")


def test_rows_of_what_both_have(foxes, cats):
    rows = shared_rows(foxes, cats, num_rows=300)
    before, after = pieces_by_id(foxes), pieces_by_id(cats)
    for number, row in enumerate(rows):
        if row >= 0:
            assert before[row] == after[number]
        else:
            assert number not in after or after[number] not in before.values()
    words = cats(["fox and photo"])[0]
    assert (rows[words[[0, 1, 2]]] == foxes(["fox and"])[0, :3]).all()
    assert rows[words[3]] == -1
    assert (rows[299], rows[0], rows[cats.eot]) == (-1, 0, foxes.eot)


def test_words_meet_across_kinds_of_vocabularies(clip, foxes):
    rows = shared_rows(clip, foxes, num_rows=foxes.vocab_size)
    ours, theirs = (one(["red fox and blue owl"])[0, :7] for one in (foxes, clip))
    np.testing.assert_array_equal(rows[ours], theirs)
    rows = shared_rows(clip, unigram(["\u2581fox", "es"]), num_rows=4)
    # "es" inside of a word is nothing that CLIP's vocabulary tells from the beginning of one.
    assert rows.tolist() == [-1, theirs[2], -1, clip.eot]


def test_the_same_but_for_its_length(clip, foxes):
    assert difference(clip, clip_bpe(context_length=20)) == ("", False)
    # The same ids, as data another: white space in a pattern, the name of a normalizer.
    data = foxes.to_dict()
    data["pieces"]["decoder"] = {"type": "ByteLevel", "add_prefix_space": True}
    data["pieces"]["decoder"] |= {"trim_offsets": True, "use_regex": True}
    assert Tokenizer.from_dict(data).to_dict() != foxes.to_dict()
    assert difference(foxes, Tokenizer.from_dict(data)) == ("", False)


def test_other_pieces_are_told(foxes, cats):
    told, is_other = difference(foxes, cats)
    assert is_other
    assert "ids stand for other pieces: id 25" in told


def test_other_special_ids_are_told(foxes):
    assert difference(foxes, changed(foxes, pad=5)) == ("pad was 0 and is 5", True)
    assert difference(foxes, changed(foxes, pad=5), padding_counts=False) == ("", False)
    assert difference(foxes, changed(foxes, sot=None)) == (f"sot was {foxes.sot} and is None", True)
    assert difference(foxes, changed(foxes, eot=foxes.eot + 1))[1]


def test_another_cleaning_is_told_by_a_text(foxes):
    told, is_other = difference(foxes, changed(foxes, clean="none"))
    assert not is_other
    assert told.startswith("the text 'A Photo of")


def test_an_end_that_fills_up_differs_in_padding_alone():
    """OpenAI's vocabulary pads with 0 here, and with the end of the text in transformers."""
    old = train_tokenizer(["red fox"] * 8, vocab_size=300, context_length=7)
    new = Tokenizer.from_dict({**old.to_dict(), "pad": old.eot})
    assert difference(old, new, padding_counts=False) == ("", False)
    assert difference(old, new)[0] == f"pad was {old.pad} and is {old.eot}"
