"""The tokenizer: texts to ids, and itself to plain data.

A `Tokenizer` goes into every checkpoint as it is, vocabulary and all, so that a model never has
to guess how its texts were cut.
"""

from collections.abc import Sequence

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.text_cleaning import CLEANERS
from bigclip.data.tokenizer.cutters import open_cutter

# A text is cut to so many characters an id before anything else, because a page of a megabyte
# would otherwise cost a second of repairs and cutting for the sake of its first 75 words. That
# leaves the first L ids as they are: an id stands for 4 characters on the average and some 16 in
# plain prose, and even where every letter is spelt as an HTML entity ("&#233;", at most 9
# characters) and words are cut into pieces of 8, for less than 128. Only a run of thousands of
# blanks, of one repeated mark or of characters that the vocabulary lacks can tell the difference,
# and `ftfy`, which repairs a line as a whole or not at all.
_CHARACTERS_PER_ID = 128


class Tokenizer:
    """Cuts texts into ids: [sot] ids... [eot] pad pad ..., `context_length` of them.

    A text that is too long is cut, and its last id becomes eot. Special ids never come out of
    the text itself: a caption that spells "<|endoftext|>" is cut up like any other word.

    It can be pickled, forked and shared between threads.

    Attributes:
        vocab_size: V, one more than the largest id that can come out.
        is_byte_level: whether the characters of `pieces` stand for bytes, as in GPT-2's vocabulary.
    """

    def __init__(
        self,
        *,
        pieces: dict,
        context_length: int,
        sot: int | None,
        eot: int | None,
        pad: int,
        clean: str = "clip",
    ):
        """Assemble a tokenizer.

        Args:
            pieces: what cuts clean text into ids, as plain data: see `cutters`.
            context_length: L, the number of ids of every text, special ids included.
            sot: id in front of every text, or None.
            eot: id behind every text, or None. To be pooled at by argmax, it must be the largest
                id.
            pad: id that fills up to `context_length`.
            clean: what happens to the text before, a name from `CLEANERS`.

        Raises:
            ConfigError: for an unknown `clean` or a `context_length` below 3.
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
        self._cutter = open_cutter(pieces)
        self.is_byte_level = self._cutter.is_byte_level
        self._head = [] if sot is None else [sot]
        self._tail = [] if eot is None else [eot]
        self.vocab_size = max(self._cutter.num_ids, 1 + max([pad, *self._head, *self._tail]))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Cut n texts.

        Returns:
            int32 [n, L].
        """
        if isinstance(texts, (str, bytes)):
            raise TypeError("give a list of texts, not one text: tokenizer([text])")
        return self.frame([self.ids(text) for text in texts])

    def ids(self, text: str) -> list[int]:
        """Cut one text, without special ids; of a very long one only the first 128 L characters."""
        return self._cutter.ids(self.clean_text(text))

    def frame(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """Cut the ids of n texts to length, put the special ids around them and fill them up.

        Returns:
            int32 [n, L].
        """
        ids = np.full((len(rows), self.context_length), self.pad, np.int32)
        room = self.context_length - len(self._head) - len(self._tail)
        for row, own in enumerate(rows):
            found = [*self._head, *own[:room], *self._tail]
            ids[row, : len(found)] = found
        return ids

    def clean_text(self, text: str) -> str:
        """Clean a text as all are cleaned before they are cut."""
        return CLEANERS[self.clean](text[: _CHARACTERS_PER_ID * self.context_length])

    def pieces(self, text: str) -> list[str]:
        """Show how a text is cut, for people: a piece for each of `ids`."""
        return self._cutter.pieces(self.clean_text(text))

    def piece(self, number: int) -> str:
        """Show an id that is not special, as `pieces` does."""
        return self._cutter.piece(number)

    def to_dict(self) -> dict:
        """Return everything as plain data for JSON."""
        return {
            "context_length": self.context_length,
            "sot": self.sot,
            "eot": self.eot,
            "pad": self.pad,
            "clean": self.clean,
            "pieces": self._cutter.to_dict(),
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
