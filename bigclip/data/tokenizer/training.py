"""A tokenizer learnt from the user's captions."""

import json
from collections.abc import Iterable, Iterator

import tokenizers

from bigclip.config import ConfigError
from bigclip.data.text_cleaning import CLEANERS
from bigclip.data.tokenizer.known_words import leave_out_other_words, words_of
from bigclip.data.tokenizer.tokenizer import Tokenizer

UNKNOWN_WORDS = ("split", "leave_out")

_NUM_BYTES = 256


def train_tokenizer(
    captions: Iterable[str],
    *,
    vocab_size: int = 8192,
    context_length: int = 32,
    min_frequency: int = 2,
    clean: str = "clip",
    unknown_words: str = "split",
) -> Tokenizer:
    """Learn a byte-pair tokenizer from captions.

    The same captions give the same tokenizer, on any machine. (That is why there is only this
    kind: the `tokenizers` library trains its unigram and word-piece models differently each
    time.) Frequent words become one id; anything else, in any script, falls apart into pieces
    and at worst into bytes, so there is no unknown id.

    Args:
        captions: the texts to learn from, as often as they should count.
        vocab_size: V, the most ids that there may be. There are fewer if the captions run out of
            pairs to merge; `Tokenizer.vocab_size` tells.
        context_length: L, ids of a text, two of them special.
        min_frequency: how often a pair must occur to be merged.
        clean: a name from `CLEANERS`.
        unknown_words: one of `UNKNOWN_WORDS`, what becomes of words that none of the captions has:
            "split" into pieces, or "leave_out", for collections of few words (see `known_words`).
            A text without any known word is then empty.

    Raises:
        ConfigError: if `vocab_size` has no room for the 256 bytes and three special ids, for
            another `clean` or `unknown_words`, or for more words than can be told apart.
    """
    if vocab_size < _NUM_BYTES + 3:
        raise ConfigError(
            f"config.tokenizer.vocab_size must be at least {_NUM_BYTES + 3} (256 bytes, pad, sot, "
            f"eot), not {vocab_size}"
        )
    if clean not in CLEANERS:
        raise ConfigError(f"config.tokenizer.clean {clean!r} is none of {tuple(CLEANERS)}")
    if unknown_words not in UNKNOWN_WORDS:
        raise ConfigError(
            f"config.tokenizer.unknown_words {unknown_words!r} is none of {UNKNOWN_WORDS}"
        )
    cut = tokenizers.Tokenizer(tokenizers.models.BPE())
    # A word carries its blank in front (" fox"), so that ids can be told back into text.
    cut.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size - 3,
        min_frequency=min_frequency,
        show_progress=False,
        initial_alphabet=sorted(byte_characters()),
    )
    words: set[str] = set()

    def cleaned() -> Iterator[str]:
        for text in map(CLEANERS[clean], captions):
            if unknown_words == "leave_out":
                words.update(words_of(text))
            yield text

    cut.train_from_iterator(cleaned(), trainer)
    if unknown_words == "leave_out":
        leave_out_other_words(cut, words)
    pieces = json.loads(cut.to_str())
    # Id 0 is for padding, the largest for eot; neither is known to the model that cuts.
    vocabulary = pieces["model"]["vocab"]
    pieces["model"]["vocab"] = {word: i + 1 for word, i in vocabulary.items()}
    return Tokenizer(
        pieces=pieces,
        context_length=context_length,
        sot=len(vocabulary) + 1,
        eot=len(vocabulary) + 2,
        pad=0,
        clean=clean,
    )


def byte_characters() -> list[str]:
    """Return the 256 printable characters that stand for the bytes in byte-level vocabularies."""
    return tokenizers.pre_tokenizers.ByteLevel.alphabet()
