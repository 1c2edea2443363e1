"""Captions to token ids; whole tokenizers as plain data.

A `Tokenizer` goes into every checkpoint as it is, vocabulary and all, so that a model never has
to guess how its texts were cut. Two makers: `clip_bpe` is OpenAI's tokenizer, id for id;
`train_tokenizer` learns one from the user's captions.
"""

import gzip
import importlib.resources
import json
from collections.abc import Iterable, Sequence

import numpy as np
import tokenizers

from bigclip.config import ConfigError
from bigclip.data.text_cleaning import CLEANERS

_CLIP_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_CLIP_MERGES = 49152 - 256 - 2  # the file lists more than the released models use
# The released pattern ignores case: "ſ" is an s to it, and U+0345, a mark whose capital is a
# letter, falls through as neither letter nor other.
_CLIP_WORDS = r"'[sſ]|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\x{345}]+"
_NUM_BYTES = 256


class Tokenizer:
    """Cuts texts into ids: [sot] ids... eot pad pad ..., `context_length` of them.

    A text that is too long is cut, and its last id becomes eot. Special ids never come out of
    the text itself: a caption that spells "<|endoftext|>" is cut up like any other word.

    It can be pickled, forked and shared between threads.
    """

    def __init__(
        self,
        *,
        pieces: dict,
        context_length: int,
        sot: int | None,
        eot: int,
        pad: int,
        clean: str = "clip",
    ):
        """Assemble a tokenizer.

        Args:
            pieces: a tokenizer in the JSON form of the `tokenizers` library (the content of a
                `tokenizer.json`), which cuts clean text into ids.
            context_length: L, the number of ids of every text, special ids included.
            sot: id in front of every text, or None.
            eot: id behind every text. To be pooled at by argmax, it must be the largest id.
            pad: id that fills up to `context_length`.
            clean: what happens to the text before, a name from `CLEANERS`.
        """
        if clean not in CLEANERS:
            raise ConfigError(f"config.tokenizer.clean {clean!r} is none of {tuple(CLEANERS)}")
        if context_length < 3:
            raise ConfigError(
                f"config.tokenizer.context_length must be at least 3, not {context_length}"
            )
        self.context_length = context_length
        self.sot = sot
        self.eot = eot
        self.pad = pad
        self.clean = clean
        self._pieces = pieces
        self._cut = tokenizers.Tokenizer.from_str(json.dumps(pieces))
        self.vocab_size = 1 + max(
            self._cut.get_vocab_size() - 1, eot, pad, -1 if sot is None else sot
        )

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Cut n texts.

        Returns:
            int32 [n, L].
        """
        if isinstance(texts, (str, bytes)):
            raise TypeError("give a list of texts, not one text: tokenizer([text])")
        ids = np.full((len(texts), self.context_length), self.pad, np.int32)
        for row, text in enumerate(texts):
            found = self._ids(text)
            ids[row, : len(found)] = found
        return ids

    def _ids(self, text: str) -> list[int]:
        # One text a call: the library's own batches start threads, which forbid a later fork.
        ids = self._cut.encode(CLEANERS[self.clean](text), add_special_tokens=False).ids
        head = [] if self.sot is None else [self.sot]
        return [*head, *ids[: self.context_length - len(head) - 1], self.eot]

    def pieces(self, text: str) -> list[str]:
        """Show how a text is cut, for people: no special ids, not shortened."""
        return self._cut.encode(CLEANERS[self.clean](text), add_special_tokens=False).tokens

    def to_dict(self) -> dict:
        """Return everything as plain data for JSON."""
        return {
            "context_length": self.context_length,
            "sot": self.sot,
            "eot": self.eot,
            "pad": self.pad,
            "clean": self.clean,
            "pieces": self._pieces,
        }

    @classmethod
    def from_dict(cls, data: dict) -> "Tokenizer":
        """Make the tokenizer that `to_dict` described."""
        return cls(**data)

    def __reduce__(self):
        return Tokenizer.from_dict, (self.to_dict(),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.to_dict() == other.to_dict()

    __hash__ = None


def clip_bpe(*, context_length: int = 77) -> Tokenizer:
    """Make OpenAI's CLIP tokenizer (arXiv 2103.00020; ids of the released code).

    49,408 ids: 256 bytes, the same at the end of a word, 48,894 merges, sot 49406, eot 49407.
    Padding is 0. Unlike the released code, which stops, too long texts are cut.
    """
    path = importlib.resources.files("bigclip.data.vocabularies") / _CLIP_VOCABULARY
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 1 + _CLIP_MERGES]]
    # Printable bytes come first, in order; then those that borrow a character from U+0100 up.
    alphabet = sorted(_byte_characters(), key=lambda character: (ord(character) > 255, character))
    words = [*alphabet, *(character + "</w>" for character in alphabet), *map("".join, merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    cut = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>")
    )
    cut.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(
                tokenizers.Regex(_CLIP_WORDS), behavior="removed", invert=True
            ),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return Tokenizer(
        pieces=json.loads(cut.to_str()),
        context_length=context_length,
        sot=len(words) - 2,
        eot=len(words) - 1,
        pad=0,
    )


def train_tokenizer(
    captions: Iterable[str],
    *,
    vocab_size: int = 8192,
    context_length: int = 32,
    min_frequency: int = 2,
    clean: str = "clip",
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

    Raises:
        ConfigError: if `vocab_size` has no room for the 256 bytes and three special ids.
    """
    if vocab_size < _NUM_BYTES + 3:
        raise ConfigError(
            f"config.tokenizer.vocab_size must be at least {_NUM_BYTES + 3} (256 bytes, pad, sot, "
            f"eot), not {vocab_size}"
        )
    if clean not in CLEANERS:
        raise ConfigError(f"config.tokenizer.clean {clean!r} is none of {tuple(CLEANERS)}")
    cut = tokenizers.Tokenizer(tokenizers.models.BPE())
    # A word carries its blank in front (" fox"), so that ids can be told back into text.
    cut.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size - 3,
        min_frequency=min_frequency,
        show_progress=False,
        initial_alphabet=sorted(_byte_characters()),
    )
    cut.train_from_iterator((CLEANERS[clean](text) for text in captions), trainer)
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


def _byte_characters() -> list[str]:
    """The 256 printable characters that stand for the bytes in byte-level vocabularies."""
    return tokenizers.pre_tokenizers.ByteLevel.alphabet()
