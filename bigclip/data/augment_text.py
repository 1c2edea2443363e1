"""Training captions: words cut another way, tokens left out, tokens replaced, at random.

A tower that sees few texts many times learns them by heart. All options hinder that, and make it
robust against words that it has never met. Everything is off by default; what is off draws no
random number.
"""

from collections.abc import Sequence

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.order import Stream, position_rng
from bigclip.data.tokenizer import MergeDropout, Tokenizer
from bigclip.data.tokenizer.shared_pieces import pieces_by_id


def check_text_options(
    *, merge_dropout: float = 0.0, token_dropout: float = 0.0, token_replacement: float = 0.0
) -> None:
    """Check the options of `TextAugmenter`, without a tokenizer.

    Raises:
        ConfigError: if a value is out of range.
    """
    options = {
        "merge_dropout": merge_dropout,
        "token_dropout": token_dropout,
        "token_replacement": token_replacement,
    }
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise ConfigError(
                f"config.data.augment_text.{name} must be a number in [0, 1), not {value!r}"
            )


class TextAugmenter:
    """Cuts captions as they are trained on; can be pickled."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        merge_dropout: float = 0.0,
        token_dropout: float = 0.0,
        token_replacement: float = 0.0,
    ):
        """Check and keep the settings. They are applied in this order.

        Args:
            tokenizer: what cuts.
            merge_dropout: the probability that a possible merge of two pieces is passed over, see
                `MergeDropout`; the paper takes 0.1. For byte-pair tokenizers.
            token_dropout: probability that a token is left out, before the text is cut to length;
                one at least stays. CLIPA (arXiv 2305.07017) masks texts at random likewise, for
                speed.
            token_replacement: probability that a token which stays becomes any one of those that
                texts are cut into, each as likely. The tower learns to overhear what does not fit
                the rest. SwitchOut (arXiv 1808.07512) trains translators in much the same way.

        Raises:
            ConfigError: if a value is out of range, or the tokenizer has no merges.
        """
        check_text_options(
            merge_dropout=merge_dropout,
            token_dropout=token_dropout,
            token_replacement=token_replacement,
        )
        self.tokenizer = tokenizer
        self.token_dropout = token_dropout
        self.token_replacement = token_replacement
        self._merges = MergeDropout(tokenizer, merge_dropout) if merge_dropout else None
        self._others = _ids_of_texts(tokenizer) if token_replacement else None

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
        if self._merges is None and not self.token_dropout and self._others is None:
            return self.tokenizer(texts)
        rngs = {at: text_rng(seed, at) for at in set(positions)}
        rows = []
        for text, position in zip(texts, positions, strict=True):
            rng = rngs[position]
            ids = self.tokenizer.ids(text) if self._merges is None else self._merges.ids(text, rng)
            kept, others = self._draw(len(ids), rng)
            rows.append(
                [
                    one if other is None else other
                    for one, stays, other in zip(ids, kept, others, strict=True)
                    if stays
                ]
            )
        return self.tokenizer.frame(rows)

    def pieces(
        self, text: str, rng: np.random.Generator
    ) -> tuple[list[str], list[bool], list[int | None]]:
        """Show how a text is cut, for people.

        Args:
            text: what to cut.
            rng: `text_rng` of the text's position, behind the texts before.

        Returns:
            Its pieces; which of them stay; and for each the id that would then replace it, if any.
        """
        if self._merges is None:
            pieces = self.tokenizer.pieces(text)
        else:
            pieces = self._merges.pieces(text, rng)
        return pieces, *self._draw(len(pieces), rng)

    def _draw(self, num: int, rng: np.random.Generator) -> tuple[list[bool], list[int | None]]:
        """Draw for each of `num` tokens whether it stays, and the id that then replaces it."""
        kept = np.ones(num, bool)
        if self.token_dropout:
            draws = rng.random(num)
            kept = draws >= self.token_dropout
            if num and not kept.any():
                kept[draws.argmax()] = True
        others: list[int | None] = [None] * num
        if self._others is not None:
            for place in np.flatnonzero(rng.random(num) < self.token_replacement):
                others[place] = int(rng.choice(self._others))
        return kept.tolist(), others


def _ids_of_texts(tokenizer: Tokenizer) -> np.ndarray:
    """The ids, in order, that stand for a piece of text: none that is special or unknown."""
    special = {tokenizer.pad, tokenizer.sot, tokenizer.eot}
    found = sorted(
        number
        for number, piece in pieces_by_id(tokenizer).items()
        if number not in special and piece.place != "unknown"
    )
    if not found:
        raise ConfigError(
            "config.data.augment_text.token_replacement: the tokenizer has special ids alone"
        )
    return np.array(found, np.int32)


def text_rng(seed: int, position: int) -> np.random.Generator:
    """The random numbers of the texts of a position."""
    return position_rng(seed, position, Stream.TOKEN)
