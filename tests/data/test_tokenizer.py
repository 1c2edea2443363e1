"""Tokenizers: CLIP's ids, and training that always gives the same."""

import hashlib
import importlib.resources
import json
import multiprocessing
import os
import pathlib
import pickle
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.data.text_cleaning import CLEANERS, clean_cased
from bigclip.data.tokenizer import Tokenizer, clip_bpe, train_tokenizer

CAPTIONS = [
    f"a {colour} {animal} {number}, {colour} {animal}s!"
    for colour in ("red", "blue", "grün", "黒い")
    for animal in ("fox", "owl", "cat", "🦊")
    for number in range(5)
]


@pytest.fixture(scope="module")
def clip():
    return clip_bpe()


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer(CAPTIONS, vocab_size=320, context_length=12)


def test_clip_ids_are_those_of_the_released_tokenizer(clip):
    """The golden file: open_clip 3.3.0's SimpleTokenizer, on texts chosen to be awkward.

    Its special tokens are spelt differently from OpenAI's, so that a text that spells out
    OpenAI's has the ids of plain words there, as here.
    """
    golden = json.loads(pathlib.Path(__file__).with_name("clip_bpe_golden.json").read_text())
    assert len(golden) > 300
    ids = clip([text for text, _ in golden])
    for row, (text, expected) in zip(ids, golden, strict=True):
        assert row[: len(expected)].tolist() == expected, text
        assert (row[len(expected) :] == 0).all(), text


def test_clip_vocabulary_is_the_published_file():
    folder = importlib.resources.files("bigclip.data.vocabularies")
    content = (folder / "bpe_simple_vocab_16e6.txt.gz").read_bytes()
    assert hashlib.sha256(content).hexdigest() in (folder / "NOTICE").read_text()


def test_clip_shape_and_special_ids(clip):
    assert (clip.vocab_size, clip.context_length) == (49408, 77)
    ids = clip(["a photo of a cat", "cat " * 100])
    assert ids.dtype == np.int32
    assert ids.shape == (2, 77)
    # Well-known ids of the released model.
    assert ids[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 0]
    assert ids[1, 0] == 49406
    assert ids[1, -1] == 49407
    assert (ids[1, 1:-1] == 2368).all()
    assert ids.argmax(1).tolist() == [6, 76]  # where CLIP pools


def test_no_text_makes_a_special_id(clip, trained):
    for tokenizer in (clip, trained):
        special = {tokenizer.sot, tokenizer.eot, tokenizer.pad}
        text = "<|startoftext|> <|endoftext|> <start_of_text> <end_of_text> <pad> \x00"
        inner = tokenizer([text])[0, 1:11].tolist()
        assert tokenizer.eot not in inner
        assert tokenizer.sot not in inner
        assert len(special) == 3


@hypothesis.given(st.text(max_size=60))
@hypothesis.settings(max_examples=200, deadline=None)
def test_any_text_becomes_valid_ids(clip, trained, text):
    for tokenizer in (clip, trained):
        row = tokenizer([text])[0]
        end = row.argmax()
        assert row[0] == tokenizer.sot
        assert row[end] == tokenizer.eot
        assert (row >= 0).all()
        assert (row < tokenizer.vocab_size).all()
        assert tokenizer.eot not in row[:end]
        assert (row[end + 1 :] == tokenizer.pad).all()


@hypothesis.given(st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=60))
def test_shortcut_for_plain_text_changes_nothing(text):
    import html

    import ftfy

    repaired = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
    assert clean_cased(text) == repaired


@pytest.mark.parametrize(
    ("clean", "expected"),
    [
        ("clip", "it's a fox & an owl: e_f!"),
        ("cased", "It's a Fox & an OWL: e_f!"),
        ("canonical", "its a fox an owl e f"),
        ("lower", "it's a  fox &amp;amp; an\towl: e_f!"),
        ("none", "It's a  Fox &amp;amp; an\tOWL: e_f!"),
    ],
)
def test_cleaning(clean, expected):
    assert CLEANERS[clean]("It's a  Fox &amp;amp; an\tOWL: e_f!") == expected


def test_trained_vocabulary_has_whole_words_and_falls_back_to_bytes(trained):
    assert trained.pieces("A red FOX") == ["Ġa", "Ġred", "Ġfox"]
    assert len(trained.pieces("zebra 狐")) > 2
    assert trained.pad == 0
    assert trained.eot == trained.vocab_size - 1
    assert trained.vocab_size <= 320
    assert trained(["red fox"]).max() == trained.eot


def test_training_gives_the_same_in_another_process_with_other_hashes(tmp_path, trained):
    program = (
        "import json, sys\n"
        "from bigclip.data.tokenizer import train_tokenizer\n"
        "captions = json.load(open(sys.argv[1]))\n"
        "t = train_tokenizer(captions, vocab_size=320, context_length=12)\n"
        "print(json.dumps(t.to_dict()))\n"
    )
    file = tmp_path / "captions.json"
    file.write_text(json.dumps(CAPTIONS))
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, file],
            env={**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed, threads in (("1", "1"), ("2", "4"))
    }
    assert outputs == {json.dumps(trained.to_dict()) + "\n"}


def test_is_plain_data_and_back(clip, trained):
    for tokenizer in (clip, trained):
        copy = Tokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict())))
        assert copy == tokenizer
        assert (copy(CAPTIONS) == tokenizer(CAPTIONS)).all()
        assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer


def test_can_be_used_before_and_after_a_fork_without_a_warning(tmp_path):
    program = (
        "import os, sys\n"
        "from bigclip.data.tokenizer import train_tokenizer\n"
        "t = train_tokenizer(['a red fox'] * 50, vocab_size=300)\n"
        "first = t(['a red fox']).tolist()\n"
        "if not os.fork():\n"
        "    os._exit(0 if t(['a red fox']).tolist() == first else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    # Python's own warning, of forks beside the threads of the training, is not what we look for.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


def _ids_in_child(tokenizer, text, queue):
    queue.put(tokenizer([text]).tolist())


def test_travels_to_a_spawned_process(trained):
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    child = context.Process(target=_ids_in_child, args=(trained, "a red fox", queue))
    child.start()
    assert queue.get() == trained(["a red fox"]).tolist()
    child.join()


def test_without_sot_and_with_eot_as_padding(trained):
    # SigLIP's layout: the text, then its end mark up to the last place.
    data = {**trained.to_dict(), "sot": None, "pad": trained.eot, "clean": "canonical"}
    tokenizer = Tokenizer.from_dict(data)
    ids = tokenizer(["red, FOX!", "red " * 50])
    words = [tokenizer.to_dict()["pieces"]["model"]["vocab"][word] for word in ("Ġred", "Ġfox")]
    assert ids[0].tolist() == [*words, *[trained.eot] * 10]
    assert ids[1].tolist() == [words[0]] * 11 + [trained.eot]


def test_only_the_beginning_of_a_very_long_text_is_cleaned(trained, monkeypatch):
    """A caption of a megabyte costs milliseconds because most of it is never looked at."""
    seen = []
    monkeypatch.setitem(CLEANERS, "clip", lambda text: seen.append(len(text)) or text)
    ids = trained(["red " * 250_000, "red"])
    assert seen == [128 * trained.context_length, 3]
    assert (ids[0, 1:-1] == trained(["red"])[0, 1]).all()


def test_a_manifest_of_the_first_version_is_read():
    old = {
        "context_length": 5,
        "sot": 3,
        "eot": 4,
        "pad": 0,
        "clean": "clip",
        "pieces": {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": None,
            "post_processor": None,
            "decoder": None,
            "model": {"type": "BPE", "vocab": {"a": 1, "b": 2}, "merges": []},
        },
    }
    tokenizer = Tokenizer.from_dict(json.loads(json.dumps(old)))
    assert tokenizer(["BA"]).tolist() == [[3, 2, 1, 4, 0]]
    assert tokenizer.vocab_size == 5
    assert tokenizer.to_dict() == old


def test_ids_and_frame_are_the_two_halves_of_a_call(trained):
    texts = ["a red fox", "", "a red fox and a cat and a dog and an owl"]
    rows = [trained.ids(text) for text in texts]
    assert not rows[1]
    assert len(rows[2]) > trained.context_length
    assert not {trained.sot, trained.eot} & {*rows[0], *rows[2]}
    np.testing.assert_array_equal(trained.frame(rows), trained(texts))


def test_mistakes_are_named(trained):
    with pytest.raises(ConfigError, match=r"tokenizer.clean 'tidy' is none of"):
        train_tokenizer(CAPTIONS, clean="tidy")
    with pytest.raises(ConfigError, match=r"vocab_size must be at least 259"):
        train_tokenizer(CAPTIONS, vocab_size=100)
    with pytest.raises(ConfigError, match=r"context_length must be at least 3"):
        clip_bpe(context_length=2)
    with pytest.raises(TypeError, match="a list of texts"):
        trained("a red fox")
