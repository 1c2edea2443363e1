"""BPE-dropout (arXiv 1910.13267, section 3): the same word, cut another way each time.

A byte-pair tokenizer merges the letters of a word in a fixed order, so that a frequent word always
is one id, and what it has in common with its kin ("frown", "frowning") is lost on a tower that sees
few texts. Here every possible merge is passed over with some probability, at each step anew: now
and then a word falls into pieces, and pieces learn to mean something.

The `tokenizers` library has this, but its random numbers cannot be seeded.
"""

import json
import sys

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.tokenizer.cutters import open_json
from bigclip.data.tokenizer.tokenizer import Tokenizer

# The work grows with the square of a word's length. What is longer is no word: an address, a line
# of a script without blanks, rubbish.
_LONGEST_WORD = 64
_NO_MERGE = sys.maxsize  # the rank of a pair that is never merged


class MergeDropout:
    """Cuts texts as a tokenizer does, but for merges passed over; can be pickled."""

    def __init__(self, tokenizer: Tokenizer, dropout: float):
        """Read the merges.

        Args:
            tokenizer: byte-level byte pairs.
            dropout: probability to pass over a possible merge, in [0, 1). Words of more than 64
                bytes are cut as ever.

        Raises:
            ConfigError: for a tokenizer of another kind.
        """
        content = tokenizer.to_dict()["pieces"]
        model = content.get("model", {})
        # Bytes: so every letter is in the vocabulary.
        if not tokenizer.is_byte_level or model.get("type") != "BPE" or _has_more_rules(content):
            raise ConfigError(
                "config.data.augment_text.merge_dropout needs a byte-level byte-pair tokenizer, as "
                'config.tokenizer.kind = "trained" or "clip_bpe"; set it to 0 for this one'
            )
        self._tokenizer = tokenizer
        self._dropout = dropout
        self._library = open_json(json.dumps(content))
        self._suffix: str = model.get("end_of_word_suffix") or ""
        self._vocab: dict[str, int] = model["vocab"]
        pairs = (one.split(" ") if isinstance(one, str) else one for one in model["merges"])
        self._ranks = {(left, right): rank for rank, (left, right) in enumerate(pairs)}

    def ids(self, text: str, rng: np.random.Generator) -> list[int]:
        """Cut one text; see `Tokenizer.ids`."""
        return [self._vocab[piece] for piece in self.pieces(text, rng)]

    def pieces(self, text: str, rng: np.random.Generator) -> list[str]:
        """Cut one text, into pieces of the vocabulary."""
        text = self._tokenizer.clean_text(text)
        if self._library.normalizer is not None:
            text = self._library.normalizer.normalize_str(text)
        words = self._library.pre_tokenizer.pre_tokenize_str(text)
        return [piece for word, _ in words for piece in self._cut(word, rng)]

    def _cut(self, word: str, rng: np.random.Generator) -> list[str]:
        if len(word) > _LONGEST_WORD:
            return [token.value for token in self._library.model.tokenize(word)]
        pieces = [*word[:-1], word[-1:] + self._suffix]
        ranks = [self._rank(pair) for pair in zip(pieces, pieces[1:], strict=False)]
        # One number at a time: for the few pairs of a word, arrays take three times as long.
        draw, dropout = rng.random, self._dropout
        while ranks:
            best, place = _NO_MERGE, -1
            for at, rank in enumerate(ranks):
                if draw() >= dropout and rank < best:
                    best, place = rank, at
            if place < 0:
                break
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
            del ranks[place]
            for at in (place - 1, place):
                if 0 <= at < len(ranks):
                    ranks[at] = self._rank((pieces[at], pieces[at + 1]))
        return pieces

    def _rank(self, pair: tuple[str, str]) -> int:
        return self._ranks.get(pair, _NO_MERGE)

    def __reduce__(self):
        return MergeDropout, (self._tokenizer, self._dropout)


def _has_more_rules(content: dict) -> bool:
    """Whether more than the order of its merges decides how a word is cut."""
    names = ("continuing_subword_prefix", "ignore_merges", "byte_fallback", "dropout")
    return bool(content.get("added_tokens")) or any(map(content["model"].get, names))
