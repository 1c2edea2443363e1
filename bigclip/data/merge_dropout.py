"""BPE-dropout (arXiv 1910.13267): the same word, cut another way each time.

A byte-pair tokenizer merges the letters of a word in a fixed order, so that a frequent word always
is one id, and what it has in common with its kin ("frown", "frowning") is lost on a tower that sees
few texts. Here every possible merge is passed over with some probability, at each step anew: now
and then a word falls into pieces, and pieces learn to mean something.

The `tokenizers` library has this, but its random numbers cannot be seeded.
"""

import json

import numpy as np
import tokenizers

from bigclip.config import ConfigError
from bigclip.data.tokenizer import Tokenizer
from bigclip.data.tokenizer.cutters import open_json


class MergeDropout:
    """Cuts texts as a tokenizer does, but for merges passed over; can be pickled."""

    def __init__(self, tokenizer: Tokenizer, dropout: float):
        """Read the merges.

        Args:
            tokenizer: byte-level byte pairs.
            dropout: probability to pass over a possible merge, in [0, 1).

        Raises:
            ConfigError: for a tokenizer of another kind.
        """
        content = tokenizer.to_dict()["pieces"]
        model = content.get("model", {})
        self._suffix: str = model.get("end_of_word_suffix") or ""
        self._vocab: dict[str, int] = model.get("vocab", {})
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        if (
            model.get("type") != "BPE"
            or model.get("continuing_subword_prefix")
            or model.get("ignore_merges")
            or content.get("added_tokens")
            or not {*alphabet, *(one + self._suffix for one in alphabet)} <= self._vocab.keys()
        ):
            raise ConfigError(
                "config.data.augment_text.merge_dropout needs a byte-level byte-pair tokenizer, as "
                'config.tokenizer.kind = "trained" or "clip_bpe"; set it to 0 for this one'
            )
        pairs = (one.split(" ") if isinstance(one, str) else one for one in model["merges"])
        self._ranks = {(left, right): rank for rank, (left, right) in enumerate(pairs)}
        self._tokenizer = tokenizer
        self._library = open_json(json.dumps(content))
        self._dropout = dropout

    def ids(self, text: str, rng: np.random.Generator) -> list[int]:
        """Cut one text; no special ids, not shortened."""
        return [self._vocab[piece] for piece in self.pieces(text, rng)]

    def pieces(self, text: str, rng: np.random.Generator) -> list[str]:
        """Cut one text, into pieces of the vocabulary."""
        text = self._tokenizer.clean_text(text)
        if self._library.normalizer is not None:
            text = self._library.normalizer.normalize_str(text)
        words = [text]
        if self._library.pre_tokenizer is not None:
            words = [word for word, _ in self._library.pre_tokenizer.pre_tokenize_str(text)]
        return [piece for word in words if word for piece in self._cut(word, rng)]

    def _cut(self, word: str, rng: np.random.Generator) -> list[str]:
        pieces = [*word[:-1], word[-1:] + self._suffix]
        while len(pieces) > 1:
            passed_over = (rng.random(len(pieces) - 1) < self._dropout).tolist()
            merges = [
                (rank, place)
                for place, rank in enumerate(
                    map(self._ranks.get, zip(pieces, pieces[1:], strict=False))
                )
                if rank is not None and not passed_over[place]
            ]
            if not merges:
                break
            _, place = min(merges)
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        return pieces
