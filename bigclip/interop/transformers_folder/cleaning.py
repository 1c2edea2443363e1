"""Our rules of cleaning texts, said in normalizers of the `tokenizers` library.

Of what `ftfy` repairs, the library can say most: curly quotes, ligatures, characters of another
width, composed accents, control and terminal characters, and with them the usual HTML entities. It
cannot say broken encodings ("Ã©") and the other two thousand entities. A text takes 0.1 ms more.
"""

import json
import string
import unicodedata
from typing import Any

import tokenizers
from tokenizers import normalizers

from bigclip.data.text_cleaning import CLEANERS

# What str.split() splits at.
_BLANKS = (
    r"[\t-\r\x1c-\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
)
_TERMINAL = r"\x1b\[[0-9;]*[a-zA-Z]"
_CONTROLS = r"[\x00-\x08\x0b\x0e-\x1f\x7f\x{206a}-\x{206f}\x{feff}\x{fff9}-\x{fffc}]"
_LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "ſt", "ﬆ": "st"}
_ENTITIES = {"lt": "<", "gt": ">", "quot": '"', "apos": "'", "#39": "'", "nbsp": " "}


def cleaning(clean: str) -> list[normalizers.Normalizer]:
    """Say a rule of `CLEANERS`, as far as the library can."""
    if clean == "none":
        return []
    if clean == "lower":
        return _lower()
    # Entities are undone twice: "&amp;lt;" is "<".
    steps = [normalizers.Replace("&amp;", "&")] * 2
    steps += [normalizers.Replace(f"&{name};", text) for name, text in _ENTITIES.items()]
    steps += [normalizers.Replace(old, new) for old, new in (_LIGATURES | _widths()).items()]
    steps += [
        normalizers.Replace(tokenizers.Regex(_TERMINAL), ""),
        normalizers.Replace(tokenizers.Regex("[ʼ‘-‛]"), "'"),
        normalizers.Replace(tokenizers.Regex("[“-‟]"), '"'),
        normalizers.Replace(tokenizers.Regex(_CONTROLS), ""),
        normalizers.NFC(),
    ]
    if clean == "canonical":
        escape = str.maketrans({c: f"\\{c}" for c in "\\]^-["})
        marks = string.punctuation.replace("_", "").translate(escape)
        steps += [
            normalizers.Replace("_", " "),
            normalizers.Replace(tokenizers.Regex(f"[{marks}]"), ""),
        ]
    steps += [normalizers.Replace(tokenizers.Regex(f"{_BLANKS}+"), " "), normalizers.Strip()]
    return steps if clean == "cased" else steps + _lower()


def _widths() -> dict[str, str]:
    """Full-width and half-width characters, and those of usual width."""
    block = map(chr, range(0xFF01, 0xFFF0))
    usual = {c: unicodedata.normalize("NFKC", c) for c in block}
    return {c: found for c, found in usual.items() if found != c}


def _lower() -> list[normalizers.Normalizer]:
    # The library lower-cases letter by letter; a sigma at the end of a word is another letter.
    last = tokenizers.Regex(r"(?<=\p{L})Σ(?!\p{L})")
    return [normalizers.Replace(last, "ς"), normalizers.Lowercase()]


def without_cleaning(content: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Find a rule of ours at the start of a tokenizer.json's normalizer, and take it out.

    Returns:
        The content without it, and its name; None if there is none.
    """
    normalizer = content.get("normalizer")
    if not isinstance(normalizer, dict):
        return content, None
    steps = normalizer.get("normalizers") if normalizer.get("type") == "Sequence" else [normalizer]
    rules = {clean: _as_json(cleaning(clean)) for clean in CLEANERS if clean != "none"}
    # The longest first: every rule's steps begin those of another.
    for clean in sorted(rules, key=lambda clean: -len(rules[clean])):
        own = rules[clean]
        if isinstance(steps, list) and steps[: len(own)] == own:
            rest = steps[len(own) :]
            left = {"type": "Sequence", "normalizers": rest} if len(rest) > 1 else None
            return {**content, "normalizer": rest[0] if len(rest) == 1 else left}, clean
    return content, None


def _as_json(steps: list[normalizers.Normalizer]) -> list[dict[str, Any]]:
    cut = tokenizers.Tokenizer(tokenizers.models.BPE())
    cut.normalizer = normalizers.Sequence(steps)
    return json.loads(cut.to_str())["normalizer"]["normalizers"]
