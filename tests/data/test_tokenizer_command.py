"""python -m bigclip.data.tokenizer: train and show."""

import gzip
import subprocess
import sys

import numpy as np
import pytest

from bigclip.data.tokenizer import __main__ as command
from bigclip.data.tokenizer import clip_bpe, load_tokenizer, train_tokenizer

TEXTS = [f"{colour} fox {number}" for colour in ("red", "blue") for number in range(100)]


@pytest.fixture
def printed(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS[:100]) + "\n\n  \n")
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write("\r\n".join(TEXTS[100:]))
    files = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt.gz")]
    path = str(tmp_path / "tok.json")
    options = ["--vocab_size", "300", "--context_length", "5", "--min_frequency", "3"]
    assert command.main(["train", "--captions", *files, "--out", path, *options]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def saved(printed, tmp_path):
    return str(tmp_path / "tok.json")


def test_trains_on_text_files_and_tells_lengths(saved, printed):
    expected = train_tokenizer(TEXTS, vocab_size=300, context_length=5, min_frequency=3)
    assert load_tokenizer(saved) == expected
    num_tokens = np.array([len(expected.pieces(text)) + 2 for text in TEXTS])
    share = (num_tokens > 5).mean()
    assert 0.05 < share < 0.95
    first, second, *examples = printed
    assert first == f"{saved}: {expected.vocab_size} tokens, from 200 captions"
    assert second == (
        f"tokens per caption (with sot and eot): mean {num_tokens.mean():.1f}, 95% at most "
        f"{np.sort(num_tokens)[-10]}, max {num_tokens.max()}; {share:.2%} of the captions are cut "
        "at 5"
    )
    assert [line.split(":")[0] for line in examples] == [
        "  'red fox 0'",
        "  'blue fox 0'",
        "  'blue fox 99'",
    ]
    assert examples[0].endswith(": " + " ".join(expected.pieces("red fox 0")))


def test_of_many_captions_an_even_sample_is_counted(monkeypatch):
    monkeypatch.setattr(command, "_MAX_KEPT", 10)
    sample = command._Sample()
    assert list(sample.watch(TEXTS)) == TEXTS
    assert sample.num_texts == 200
    assert sample.kept == TEXTS[::32]


def test_trains_on_shards(write_shards, tmp_path, capsys):
    write_shards(20, 20)
    path = str(tmp_path / "tok.json")
    pattern = str(tmp_path / "part-{000..001}.tar")
    assert command.main(["train", "--shards", pattern, "--out", path, "--vocab_size", "300"]) == 0
    trained = load_tokenizer(path)
    assert trained.pieces("red fox") == ["Ġred", "Ġfox"]
    assert (trained.context_length, trained.clean) == (64, "clip")
    assert f"{trained.vocab_size} tokens, from " in capsys.readouterr().out


def test_shows_pieces_and_ids(saved, capsys):
    assert command.main(["show", "clip_bpe", "a photo of a cat", ""]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a</w> photo</w> of</w> a</w> cat</w>",
        "49406 320 1125 539 320 2368 49407 0",
        "",
        "49406 49407 0",
    ]
    assert command.main(["show", saved, "red fox"]) == 0
    pieces, ids = capsys.readouterr().out.splitlines()
    assert pieces == "Ġred Ġfox"
    assert ids.split() == [str(i) for i in load_tokenizer(saved)(["red fox"])[0]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "{}/none.json", "a"], "cannot read"),
        (["show", "{}/none.model", "a"], "cannot read"),
        (["show", "{}", "a"], "tokenizer.json: No such file"),
        (["train", "--captions", "{}/none", "--out", "{}/t"], "cannot read captions from"),
        (["train", "--captions", "{}/none", "--out", "{}/no/t"], "--out: there is no folder"),
        (["train", "--captions", "{}/blank", "--out", "{}/t"], "there is no caption"),
        (["train", "--captions", "{}/latin", "--out", "{}/t"], "cannot read captions from"),
        (["train", "--captions", "{}/cut.gz", "--out", "{}/t"], "cannot read captions from"),
        (["train", "--shards", "{}/none.tar", "--out", "{}/t"], "none.tar"),
        (["train", "--captions", "{}/a", "--out", "{}/t", "--vocab_size", "9"], "at least 259"),
    ],
)
def test_mistakes_are_one_line_and_code_2(tmp_path, capsys, words, message):
    (tmp_path / "a").write_text("red fox")
    (tmp_path / "blank").write_text(" \n\n")
    (tmp_path / "latin").write_bytes("grün".encode("latin-1"))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"red fox\n" * 1000)[:30])
    assert command.main([word.replace("{}", str(tmp_path)) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "t").exists()


def test_is_a_command():
    words = [sys.executable, "-m", "bigclip.data.tokenizer", "show", "clip_bpe", "cat"]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["cat</w>", "49406 2368 49407 0"]
    assert clip_bpe()(["cat"])[0, :4].tolist() == [49406, 2368, 49407, 0]
