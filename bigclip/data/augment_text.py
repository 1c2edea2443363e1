"""Training captions: tokens left out, and words cut another way, at random.

A tower that sees few texts many times learns them by heart. Both options hinder that, and make it
robust against words that it has never met. Everything is off by default; what is off draws no
random number.
"""

from collections.abc import Sequence

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.merge_dropout import MergeDropout
from bigclip.data.order import Stream, position_rng
from bigclip.data.tokenizer import Tokenizer


class TextAugmenter:
    """Cuts captions as they are trained on; can be pickled."""

    def __init__(
        self, tokenizer: Tokenizer, *, merge_dropout: float = 0.0, token_dropout: float = 0.0
    ):
        """Check and keep the settings. They are applied in this order.

        Args:
            tokenizer: what cuts.
            merge_dropout: BPE-dropout (arXiv 1910.13267), which takes 0.1: the probability that a
                possible merge of two pieces is passed over, see `MergeDropout`. Not for
                SentencePiece.
            token_dropout: probability that a token is left out, before the text is cut to length;
                one at least stays. CLIPA (arXiv 2305.07017) masks texts at random likewise, for
                speed.

        Raises:
            ConfigError: if a value is out of range, or the tokenizer has no merges.
        """
        for name, value in (("merge_dropout", merge_dropout), ("token_dropout", token_dropout)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                raise ConfigError(
                    f"config.data.augment_text.{name} must lie in [0, 1), not {value!r}"
                )
        self.tokenizer = tokenizer
        self.token_dropout = token_dropout
        self._merges = MergeDropout(tokenizer, merge_dropout) if merge_dropout else None

    def __call__(self, texts: Sequence[str], *, seed: int, positions: Sequence[int]) -> np.ndarray:
        """Cut n texts.

        Args:
            texts: what to cut.
            seed: of the run.
            positions: of the global stream, one a text. The texts of one position share their
                random numbers, in their order.

        Returns:
            int32 [n, L].
        """
        if self._merges is None and not self.token_dropout:
            return self.tokenizer(texts)
        rngs = {position: position_rng(seed, position, Stream.TOKEN) for position in positions}
        rows = []
        for text, position in zip(texts, positions, strict=True):
            rng = rngs[position]
            ids = self.tokenizer.ids(text) if self._merges is None else self._merges.ids(text, rng)
            kept = self._kept(len(ids), rng)
            rows.append([one for one, stays in zip(ids, kept, strict=True) if stays])
        return self.tokenizer.frame(rows)

    def pieces(self, text: str, rng: np.random.Generator) -> tuple[list[str], list[bool]]:
        """Show how a text is cut, for people: its pieces, and which of them stay.

        Args:
            text: what to cut.
            rng: of the text's position, as `__call__` has it.
        """
        if self._merges is None:
            pieces = self.tokenizer.pieces(text)
        else:
            pieces = self._merges.pieces(text, rng)
        return pieces, self._kept(len(pieces), rng)

    def _kept(self, num: int, rng: np.random.Generator) -> list[bool]:
        if not self.token_dropout:
            return [True] * num
        draws = rng.random(num)
        kept = draws >= self.token_dropout
        if num and not kept.any():
            kept[draws.argmax()] = True
        return kept.tolist()
