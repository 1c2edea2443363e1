"""Training captions: what is left out, and how often; BPE-dropout beside the library's own."""

import json
import pickle

import numpy as np
import pytest
import scipy.stats
import tokenizers

from bigclip.config import ConfigError
from bigclip.data.augment_text import TextAugmenter
from bigclip.data.merge_dropout import MergeDropout
from bigclip.data.tokenizer import Tokenizer, clip_bpe, train_tokenizer

TEXTS = [
    "frowning face, annoyed",
    "woman firefighter: medium-light skin tone",
    "Café crème  &amp; croissants!",
    "火事 🦊 fox’s 2,000 tails",
    "",
]
CAPTIONS = [f"{a} {b} frowned, frowning firefighters {a}" for a in "abcd" for b in TEXTS]


@pytest.fixture(scope="module", params=["trained", "clip_bpe"])
def tokenizer(request):
    if request.param == "clip_bpe":
        return clip_bpe(context_length=24)
    return train_tokenizer(CAPTIONS, vocab_size=340, context_length=24)


def augmented(tokenizer, texts, *, seed=3, positions=None, **options):
    positions = range(len(texts)) if positions is None else positions
    return TextAugmenter(tokenizer, **options)(texts, seed=seed, positions=positions)


def lengths(tokenizer, ids):
    return (ids != tokenizer.pad).sum(axis=1) - 2


def test_off_it_is_the_tokenizer(tokenizer):
    np.testing.assert_array_equal(augmented(tokenizer, TEXTS), tokenizer(TEXTS))


def test_a_merge_that_is_never_passed_over_gives_the_ids_of_the_library(tokenizer):
    merges, rng = MergeDropout(tokenizer, 0.0), np.random.default_rng(0)
    for text in [*TEXTS, *CAPTIONS]:
        assert merges.ids(text, rng) == tokenizer.ids(text)
        assert merges.pieces(text, rng) == tokenizer.pieces(text)


def test_pieces_still_spell_the_text(tokenizer):
    merges, rng = MergeDropout(tokenizer, 0.4), np.random.default_rng(0)
    for text in TEXTS:
        whole = "".join(tokenizer.pieces(text))
        cuts = {tuple(merges.pieces(text, rng)) for _ in range(20)}
        assert {"".join(pieces) for pieces in cuts} == {whole}
        assert len(cuts) > 5 or not text


def test_merges_are_passed_over_as_often_as_by_the_library():
    tokenizer = train_tokenizer(CAPTIONS, vocab_size=340, context_length=24)
    content = json.loads(json.dumps(tokenizer.to_dict()["pieces"]))
    content["model"]["dropout"] = 0.2
    library = tokenizers.Tokenizer.from_str(json.dumps(content))
    text = tokenizer.clean_text(TEXTS[1])
    theirs = [len(library.encode(text, add_special_tokens=False).ids) for _ in range(3000)]
    merges, rng = MergeDropout(tokenizer, 0.2), np.random.default_rng(0)
    ours = [len(merges.ids(TEXTS[1], rng)) for _ in range(3000)]
    assert np.std(ours) > 1, "there is something to compare"
    # Two samples of one distribution exceed this distance once in a million times.
    limit = scipy.stats.kstwobign.isf(1e-6) * np.sqrt(2 / 3000)
    assert scipy.stats.ks_2samp(ours, theirs).statistic < limit


def test_tokens_are_left_out_before_the_text_is_cut(tokenizer):
    text = "a red fox and a cat and a dog and an owl and a frowning firefighter of the zoo"
    ids = tokenizer.ids(text)
    room = tokenizer.context_length - 2
    rows = augmented(tokenizer, [text] * 2000, token_dropout=0.5)
    assert (rows[:, 0] == tokenizer.sot).all()
    found = lengths(tokenizer, rows)
    assert (rows[np.arange(2000), found + 1] == tokenizer.eot).all()
    drawn = scipy.stats.binom(len(ids), 0.5).rvs(100_000, random_state=0)
    # The mean of 2,000 lengths, whose standard deviation is below 4.
    assert found.mean() == pytest.approx(np.minimum(drawn, room).mean(), abs=0.5)
    for row, length in zip(rows[:50], found, strict=False):
        rest = iter(ids)
        assert all(one in rest for one in row[1 : 1 + length]), "in the order of the text"


def test_one_token_stays_and_nothing_comes_of_nothing(tokenizer):
    rows = augmented(tokenizer, ["red fox", ""] * 50, token_dropout=0.99)
    found = lengths(tokenizer, rows)
    assert (found[::2] >= 1).all()
    assert found[::2].mean() < 1.3
    assert (found[1::2] == 0).all()


@pytest.mark.parametrize(
    "options", [{"merge_dropout": 0.3}, {"token_dropout": 0.3, "merge_dropout": 0.2}]
)
def test_is_a_function_of_seed_and_position(tokenizer, options):
    texts = TEXTS[:3] * 2
    positions = [5, 5, 5, 10**12, 10**12, 10**12]
    rows = augmented(tokenizer, texts, positions=positions, **options)
    again = pickle.loads(pickle.dumps(TextAugmenter(tokenizer, **options)))
    later = again(texts[3:], seed=3, positions=positions[3:])
    np.testing.assert_array_equal(rows[3:], later)
    assert (rows[:3] != rows[3:]).any()
    assert (rows != augmented(tokenizer, texts, positions=positions, seed=4, **options)).any()


def test_mistakes_are_named():
    clip = clip_bpe()
    for name in ("merge_dropout", "token_dropout"):
        for value in (1.0, -0.1, True, "much"):
            with pytest.raises(ConfigError, match=rf"augment_text.{name} must lie in \[0, 1\)"):
                TextAugmenter(clip, **{name: value})
    words = {"type": "WordLevel", "vocab": {"a": 1}, "unk_token": "a"}
    other = Tokenizer(
        pieces={"version": "1.0", "model": words}, context_length=8, sot=2, eot=3, pad=0
    )
    with pytest.raises(ConfigError, match=r'needs a byte-level .*kind = "trained" or "clip_bpe"'):
        TextAugmenter(other, merge_dropout=0.1)
    TextAugmenter(other, token_dropout=0.1)
