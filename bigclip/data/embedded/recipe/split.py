"""Which split a record belongs to: pure functions of names, never of order or of a random state.

- ``heldout_concepts``: every style of the emoji families whose name hashes below
  ``CONCEPT_FRACTION``; country flags are never held out, see the README.
- ``heldout_style``: the held-out style's pictures of all other concepts.
- ``heldout_titles``: clip art whose title hashes below ``TITLE_FRACTION``, or equals the name of
  a held-out concept.
- ``train``: the rest, less every caption that equals the name of a held-out concept.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

SPLITS = ("train", "heldout_concepts", "heldout_style", "heldout_titles")
CONCEPT_FRACTION = 0.12
TITLE_FRACTION = 0.10


def key(text: str) -> str:
    """Reduce a text to plain words: ``"The Éclairs!"`` -> ``"eclair"``.

    Case, Latin accents, punctuation, articles and a plural s do not matter. Vowel signs and voicing
    marks of other scripts tell words apart and stay.
    """
    text = unicodedata.normalize("NFKD", text.casefold())
    text = re.sub("[\u0300-\u036f]", "", text)
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in text)
    words = unicodedata.normalize("NFC", "".join(kept)).split() or [text.strip()]
    words = [w for w in words if w not in ("a", "an", "the")] or words
    return " ".join(w[:-1] if len(w) > 3 and w.endswith("s") and w[-2] != "s" else w for w in words)


def spelling(text: str) -> str:
    """Reduce a text to the form in which two captions count as equal: "floppydisk"."""
    return key(text).replace(" ", "")


def fraction(purpose: str, text: str) -> float:
    """Hash a text to [0, 1); the same on every machine."""
    digest = hashlib.sha256(f"bigclip/{purpose}/{text}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def is_held_out_family(group: str) -> bool:
    """Tell whether an emoji family belongs to ``heldout_concepts``."""
    return fraction("concept", group) < CONCEPT_FRACTION


def is_held_out_title(title: str) -> bool:
    """Tell whether clip art of this title belongs to ``heldout_titles``."""
    return fraction("title", spelling(title)) < TITLE_FRACTION


def strict_captions(
    captions: dict[str, list[str]], held_out: dict[str, set[str]]
) -> dict[str, list[str]]:
    """Drop the captions of a training record that equal the name of a held-out concept.

    Args:
        captions: Caption source -> texts.
        held_out: Language -> spellings (see ``spelling``) of held-out names; "en" holds for every
            source.

    Returns:
        What is left, without empty sources.
    """
    kept = {}
    for source, texts in captions.items():
        banned = held_out["en"] | held_out.get(source, set())
        left = [t for t in texts if spelling(t) not in banned]
        if left:
            kept[source] = left
    return kept


def unique(texts: Iterable[str]) -> list[str]:
    """Drop empty texts and repetitions, keeping the order."""
    return list(dict.fromkeys(t for t in texts if t))
