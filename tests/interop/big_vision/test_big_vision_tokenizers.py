"""The tokenizer of a .npz comes from a file of the user's, and cuts as big_vision does."""

import pytest
from random_models import WORDS, small_tokenizer
from small_sentencepiece import GEMMA, T5, library, sentencepiece_file

from bigclip.config import ConfigError
from bigclip.data.tokenizer import save_tokenizer
from bigclip.interop.big_vision.vocabulary import read_tokenizer

LENGTH = 16
TEXTS = (
    *WORDS,
    "Two Dogs, playing!",
    "it's  a_photo (1889) of &amp; snow\twith\nblanks ",
    "naïve café by hand, drawn by hand, drawn by hand, drawn by hand!!!",
    "",
)


def read(path, *, vocab_size=400, context_length=LENGTH):
    path = None if path is None else str(path)
    return read_tokenizer(path, vocab_size=vocab_size, context_length=context_length, where="f.npz")


def big_vision_ids(processor, text, *, pad):
    """tokenize(max_len=LENGTH, lower=True, eos="sticky", pad_value=pad) of its ops_text.

    tf.strings.lower makes ASCII letters small and knows no others.
    """
    ids = [*processor.encode(text.encode().lower().decode()), processor.eos_id()]
    if len(ids) >= LENGTH:
        return [*ids[: LENGTH - 1], ids[-1]]
    return ids + [pad] * (LENGTH - len(ids))


@pytest.mark.parametrize(("special", "pad"), [(T5, 1), (GEMMA, 0)])
def test_ids_are_those_of_big_vision_s_op(special, pad, tmp_path):
    """With pad_value=1 as SigLIP's notebook has it, and Gemma's padding for SigLIP 2."""
    sentencepiece_file(tmp_path / "a.model", special)
    tokenizer, note = read(tmp_path / "a.model")
    processor = library(tmp_path / "a.model")
    for text in TEXTS:
        expected = big_vision_ids(processor, text, pad=pad)
        assert tokenizer([text]).tolist() == [expected], text
    assert f"'lower', padding {pad}. Texts become lower case and keep their punctuation" in note
    # Where ours is known to differ: capitals beyond ASCII.
    assert tokenizer(["naÏve"]).tolist() == tokenizer(["naïve"]).tolist()
    assert big_vision_ids(processor, "naÏve", pad=pad) != tokenizer(["naÏve"])[0].tolist()


def test_sentinels_without_embeddings_are_cut_off(tmp_path):
    """mC4's file has 250,100 pieces, SigLIP i18n 250,000 embeddings."""
    count = sentencepiece_file(tmp_path / "mc4.model", T5, sentinels=3)
    tokenizer, _ = read(tmp_path / "mc4.model", vocab_size=count)
    assert tokenizer.vocab_size == count
    assert tokenizer(TEXTS).tolist() == read(tmp_path / "mc4.model")[0](TEXTS).tolist()
    told = f"f.npz with --tokenizer .*mc4.model: .* up to {count + 2}, .* {count - 1} tokens"
    with pytest.raises(ConfigError, match=f"{told}.* It is the one with {count - 1} ids"):
        read(tmp_path / "mc4.model", vocab_size=count - 1)


def test_a_tokenizer_that_bigclip_saved(tmp_path):
    ours = small_tokenizer(11)
    save_tokenizer(ours, str(tmp_path / "ours.json"))
    tokenizer, note = read(tmp_path / "ours.json", context_length=9)
    assert tokenizer.to_dict() == {**ours.to_dict(), "context_length": 9}
    assert "big_vision" not in note


@pytest.mark.parametrize(
    ("vocab_size", "told"),
    [(32_000, "cc_en.32000"), (250_000, "mc4"), (256_000, "Gemma"), (999, "the one with 999 ids")],
)
def test_which_file_to_give(vocab_size, told):
    with pytest.raises(ConfigError, match=f"--tokenizer FILE.*{told}.*--tower image"):
        read(None, vocab_size=vocab_size)
