"""Which of a record's captions an example gets.

A record has several caption sources ("txt", "name", "keywords", ...), each a list of texts. The
rules here pick and put together, as a pure function of (the record's captions, random numbers):

    weights   {"name": 1.0, "keywords": 2.0}   how likely each source is drawn from. Sources that
              the record lacks are passed over. Without weights: the record's first source.
    policy    "one_of": one text an example, by weight.
              "all": one text from every source in `weights`, in this order, which gives C
              captions an example, over which their losses are averaged; for a missing source
              another one is drawn by weight.
    join      ["keywords"]: from these sources not one text is taken, but a random choice of them
              in random order, joined: "animal, face, fox".
    compose   {"name_and_keywords": ["name", "keywords"]}: a new source to be named in `weights`,
              one draw from each part, joined without repeats: "fox, face, animal".
    templates {"name": ["a photo of a {}.", "{}"]}: what is drawn from the source is put into one
              of these. A prompt, too: {"vlm": ["caption: {}"]}.
    fallback  {"min_words": 2, "source": "txt"}: a text with fewer words, before any template, is
              given up for one of this source, if the record has it.

What papers that train on rewritten captions do, said so, with the original caption in "txt":

    LaCLIP (arXiv 2305.20088), the original or one of four rewrites, each as likely:
        weights={"txt": 1, "rewrites": 4}, fallback={"min_words": 2, "source": "txt"}
    VeCLIP (arXiv 2310.07699), the original or the visually enriched caption, by halves:
        weights={"txt": 1, "vecap": 1}
    RWKV-CLIP (arXiv 2406.06973), the original, the synthetic and the generated one, by thirds:
        weights={"txt": 1, "synthetic": 1, "generated": 1}
    DataCompDR (arXiv 2311.17049), the losses of the original and a synthetic one, of five (there
    they are summed; here averaged, which is half of it):
        policy="all", weights={"txt": 1, "syn_text": 1}
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bigclip.config import ConfigError, check


class NoCaption(Exception):
    """A record has none of the caption sources that the weights name."""


class CaptionChooser:
    """The rules, checked; call it with a record's captions."""

    def __init__(
        self,
        *,
        policy: str = "one_of",
        weights: Mapping[str, float] | None = None,
        join: Sequence[str] = (),
        compose: Mapping[str, Sequence[str]] | None = None,
        templates: Mapping[str, Sequence[str]] | None = None,
        fallback: Mapping[str, Any] | None = None,
        separator: str = ", ",
    ):
        """Check the rules; the module's docstring explains them.

        Raises:
            ConfigError: if they contradict each other.
        """
        if policy not in ("one_of", "all"):
            raise ConfigError(
                f'config.data.captions.policy must be "one_of" or "all", not {policy!r}'
            )
        if weights is not None:
            for source, weight in weights.items():
                if not isinstance(weight, (int, float)) or not 0 < weight < float("inf"):
                    raise ConfigError(
                        f"config.data.captions.weights.{source} must be a positive number, not "
                        f"{weight!r}; leave a source away to never draw from it"
                    )
            if not weights:
                raise ConfigError("config.data.captions.weights is empty; name at least one source")
        elif policy == "all":
            raise ConfigError(
                'config.data.captions.policy "all" needs weights: they name the sources'
            )
        for name, values in (("join", join), *(compose or {}).items(), *(templates or {}).items()):
            if isinstance(values, str):
                raise ConfigError(f"config.data.captions: {name!r} must be a list, not {values!r}")
        for source, texts in (templates or {}).items():
            for text in texts:
                if text.count("{}") != 1:
                    raise ConfigError(
                        f"config.data.captions.templates.{source}: {text!r} must hold {{}} once"
                    )
        if fallback is not None:
            check(_read_fallback, fallback, "data.captions.fallback")
            if fallback["source"] in (compose or {}):
                raise ConfigError(
                    f"config.data.captions.fallback.source: {fallback['source']!r} is composed; "
                    "name a source that records hold"
                )
        self.policy = policy
        self.weights = None if weights is None else dict(weights)
        self.join = frozenset(join)
        self.compose = {name: tuple(parts) for name, parts in (compose or {}).items()}
        self.templates = {name: tuple(texts) for name, texts in (templates or {}).items()}
        self.fallback = None if fallback is None else _read_fallback(**fallback)
        self.separator = separator
        if self.weights is not None:
            idle = {*self.join, *self.compose, *self.templates} - self.stored_sources
            idle -= set(self.weights)
            if idle:
                raise ConfigError(
                    f"config.data.captions: {', '.join(sorted(idle))} has rules but no weight; "
                    f"weights: {', '.join(self.weights)}"
                )

    @property
    def num_captions(self) -> int:
        """C, the captions of one example."""
        return len(self.weights) if self.policy == "all" else 1

    @property
    def stored_sources(self) -> frozenset[str]:
        """The sources that are expected in records, those behind compositions included."""
        names = [*(self.weights or {}), *([] if self.fallback is None else [self.fallback[1]])]
        return frozenset(part for name in names for part in self.compose.get(name, (name,)))

    def __call__(
        self, captions: Mapping[str, Sequence[str]], rng: np.random.Generator
    ) -> list[str]:
        """Choose the captions of one example.

        Args:
            captions: caption source -> non-empty list of texts.
            rng: where every choice comes from.

        Returns:
            `num_captions` texts.

        Raises:
            NoCaption: if none of the weighted sources is there.
        """
        if self.weights is None:
            return [self._draw(next(iter(captions)), captions, rng)]
        there = {
            source: weight
            for source, weight in self.weights.items()
            if any(part in captions for part in self.compose.get(source, (source,)))
        }
        if not there:
            wanted, found = ", ".join(self.weights), ", ".join(captions)
            raise NoCaption(
                f"has none of the caption sources with a weight ({wanted}), only {found}"
            )
        if self.policy == "one_of":
            return [self._draw(_pick(there, rng), captions, rng)]
        return [
            self._draw(source if source in there else _pick(there, rng), captions, rng)
            for source in self.weights
        ]

    def _draw(self, source: str, captions: Mapping[str, Sequence[str]], rng) -> str:
        if source in self.compose:
            parts = [
                text
                for part in self.compose[source]
                if part in captions
                for text in self._take(part, captions[part], rng)
            ]
            text = self.separator.join(_without_repeats(parts))
        else:
            text = self.separator.join(self._take(source, captions[source], rng))
        if self.fallback is not None:
            min_words, original = self.fallback
            if original != source and original in captions and len(text.split()) < min_words:
                return self._draw(original, captions, rng)
        templates = self.templates.get(source)
        if templates:
            # Not str.format, which would choke on a brace in a caption.
            text = templates[_below(len(templates), rng)].replace("{}", text)
        return text

    def _take(self, source: str, texts: Sequence[str], rng) -> list[str]:
        if source not in self.join:
            return [texts[_below(len(texts), rng)]]
        order = rng.permutation(len(texts))
        return [texts[i] for i in order[: 1 + _below(len(texts), rng)]]


def _read_fallback(*, min_words: int, source: str) -> tuple[int, str]:
    if isinstance(min_words, bool) or not isinstance(min_words, int) or min_words < 1:
        raise ConfigError(
            f"config.data.captions.fallback.min_words must be 1 or more, not {min_words!r}"
        )
    if not isinstance(source, str):
        raise ConfigError(
            f"config.data.captions.fallback.source must name a caption source, not {source!r}"
        )
    return min_words, source


def _below(count: int, rng: np.random.Generator) -> int:
    return int(rng.random() * count)


def _pick(weights: Mapping[str, float], rng: np.random.Generator) -> str:
    point = rng.random() * sum(weights.values())
    for source, weight in weights.items():
        point -= weight
        if point < 0:
            return source
    return source  # rounding can leave a sliver above the last weight


def _without_repeats(texts: Sequence[str]) -> list[str]:
    kept: dict[str, str] = {}
    for text in texts:
        kept.setdefault(text.casefold(), text)
    return list(kept.values())
