"""Training captions: what is left out, and how often; BPE-dropout beside the library's own."""

import json
import pickle

import numpy as np
import pytest
import scipy.stats
import tokenizers

from bigclip.config import ConfigError
from bigclip.data.augment_text import TextAugmenter, text_rng
from bigclip.data.tokenizer import MergeDropout, Tokenizer, clip_bpe, train_tokenizer

TEXTS = [
    "frowning face, annoyed",
    "woman firefighter: medium-light skin tone",
    "Café crème  &amp; croissants!",
    "火事 🦊 fox’s 2,000 tails",
    "",
]
# Of the texts of `test_the_draws_are_these`, without the first id.
DRAWN = {
    "merges": [
        [626, 1186, 519, 1710, 267, 9901, 3301, 49407, 0, 0, 0],
        [320, 515, 323, 898, 343, 49407, 0, 0, 0, 0, 0],
    ],
    "tokens": [
        [86, 762, 1710, 267, 49407, 0, 0, 0, 0, 0, 0],
        [320, 736, 49407, 0, 0, 0, 0, 0, 0, 0, 0],
    ],
    "both": [
        [626, 1710, 267, 3301, 49407, 0, 0, 0, 0, 0, 0],
        [320, 323, 3240, 49407, 0, 0, 0, 0, 0, 0, 0],
    ],
    "replaced": [
        [86, 15594, 34205, 49263, 49407, 0, 0, 0, 0, 0, 0],
        [27466, 736, 44266, 49407, 0, 0, 0, 0, 0, 0, 0],
    ],
}
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
    # The library's numbers have no seed: five standard deviations of the difference of two means
    # are exceeded once in a million times.
    error = np.hypot(np.std(ours), np.std(theirs)) / np.sqrt(3000)
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=5 * error)
    assert np.std(ours) == pytest.approx(np.std(theirs), rel=0.1)  # 7 standard deviations


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


def test_tokens_are_replaced_by_any_of_the_vocabulary(tokenizer):
    text = "a red fox and a cat"
    ids = np.array(tokenizer.ids(text))
    num, rate = 4000, 0.25
    rows = augmented(tokenizer, [text] * num, token_replacement=rate)
    assert (rows[:, 0] == tokenizer.sot).all()
    assert (rows[:, len(ids) + 1 :] == tokenizer([text])[0, len(ids) + 1 :]).all()
    content = rows[:, 1 : len(ids) + 1]
    # Trained: 0 is pad. CLIP's pad is a piece, too ("!"), which is not drawn either.
    choice = set(range(1, tokenizer.sot))
    others = content[content != ids]
    assert set(others) <= choice
    if len(choice) < len(others) / 10:
        assert len(set(others)) == len(choice), "every one is drawn"
    # One in |choice| is replaced by itself; five standard deviations of a share of n draws.
    share = rate * (1 - 1 / len(choice))
    assert len(others) / content.size == pytest.approx(
        share, abs=5 * np.sqrt(share * (1 - share) / content.size)
    )


def test_tokens_are_replaced_after_some_are_left_out(tokenizer):
    """The same tokens are left out with replacement and without."""
    options = {"token_dropout": 0.4}
    alone = augmented(tokenizer, ["a red fox and a cat"], **options)
    both = augmented(tokenizer, ["a red fox and a cat"], token_replacement=0.999, **options)
    np.testing.assert_array_equal(lengths(tokenizer, both), lengths(tokenizer, alone))
    assert (both != alone).sum() >= lengths(tokenizer, alone)[0] - 1


def test_pieces_show_what_stands_in_the_place_of_others(tokenizer):
    text = "a red fox and a cat"
    augmenter = TextAugmenter(
        tokenizer, merge_dropout=0.3, token_dropout=0.3, token_replacement=0.3
    )
    for position in range(20):
        row = augmenter([text], seed=3, positions=[position])[0]
        pieces, kept, others = augmenter.pieces(text, text_rng(3, position))
        found = [
            piece if other is None else tokenizer.piece(other)
            for piece, stays, other in zip(pieces, kept, others, strict=True)
            if stays
        ]
        ids = row[1 : 1 + np.flatnonzero(row == tokenizer.eot)[0] - 1].tolist()
        assert [tokenizer.piece(one) for one in ids] == found[: tokenizer.context_length - 2]


def test_a_tokenizer_of_marks_alone_has_nothing_to_replace_by():
    words = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    own = Tokenizer(pieces=json.loads(words.to_str()), context_length=4, sot=None, eot=None, pad=1)
    with pytest.raises(ConfigError, match="augment_text.token_replacement: .* special ids alone"):
        TextAugmenter(own, token_replacement=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"merge_dropout": 0.3},
        {"token_dropout": 0.3, "merge_dropout": 0.2},
        {"token_replacement": 0.3},
    ],
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


def test_the_draws_are_these():
    """What stands here has been trained with; a change breaks the exact resumption of runs."""
    texts, clip = ["frowning face, annoyed", "a red fox"], clip_bpe(context_length=12)
    drawn = {
        name: augmented(clip, texts, positions=[7, 7], **options)[:, 1:].tolist()
        for name, options in {
            "merges": {"merge_dropout": 0.3},
            "tokens": {"token_dropout": 0.3},
            "both": {"merge_dropout": 0.3, "token_dropout": 0.3},
            "replaced": {"token_dropout": 0.3, "token_replacement": 0.3},
        }.items()
    }
    assert drawn == DRAWN


def test_very_long_words_are_cut_as_ever(tokenizer):
    merges, rng = MergeDropout(tokenizer, 0.5), np.random.default_rng(0)
    for text in ("a" * 3000, "火" * 1000, "https://" + "x-y/" * 400):
        whole = "".join(tokenizer.pieces(text))
        assert "".join(merges.pieces(text, rng)) == whole
    long = "f" * 100
    assert merges.ids(long, rng) == tokenizer.ids(long)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"byte_fallback": True}},
        {"model": {"dropout": 0.1}},
        {"model": {"ignore_merges": True}},
        {"model": {"continuing_subword_prefix": "##", "merges": []}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": None},
        {"model": {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 0}},
    ],
)
def test_other_kinds_of_tokenizers_have_no_merges_to_pass_over(change):
    own = clip_bpe().to_dict()
    pieces = own["pieces"]
    model = change.get("model", {})
    pieces["model"] = model if "type" in model else {**pieces["model"], **model}
    if "pre_tokenizer" in change:
        pieces["pre_tokenizer"] = change["pre_tokenizer"]
    with pytest.raises(ConfigError, match=r'needs a byte-level .*kind = "trained" or "clip_bpe"'):
        MergeDropout(Tokenizer.from_dict(own), 0.1)


def test_mistakes_are_named():
    clip = clip_bpe()
    for name in ("merge_dropout", "token_dropout", "token_replacement"):
        for value in (1.0, -0.1, True, "much"):
            with pytest.raises(
                ConfigError, match=rf"augment_text.{name} must be a number in \[0, 1\)"
            ):
                TextAugmenter(clip, **{name: value})
