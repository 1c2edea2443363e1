"""CLIP's ids against a second implementation, written here from the description alone.

arXiv 2103.00020 and the released code: words by their kind of character, their bytes as printable
characters, the last of them marked, and then the pair of lowest rank merged until none is left.
"""

import functools
import gzip
import importlib.resources
import unicodedata

import hypothesis
import pytest
from caption_texts import AWKWARD, captions, invented

from bigclip.data.text_cleaning import clean_clip
from bigclip.data.tokenizer import clip_bpe

SUFFIXES = ("'re", "'ve", "'ll", "'s", "'ſ", "'t", "'m", "'d")


def kind_of(character):
    if character.isspace():
        return "blank"
    if character == "\u0345":  # its capital is a letter, and the released pattern ignores case
        return "neither"
    first = unicodedata.category(character)[0]
    return {"L": "letter", "N": "number"}.get(first, "other")


def words(text):
    start = 0
    while start < len(text):
        suffix = next((s for s in SUFFIXES if text.startswith(s, start)), None)
        kind = kind_of(text[start])
        end = start + len(suffix or "x")
        while suffix is None and kind in ("letter", "other") and end < len(text):
            if kind_of(text[end]) != kind:
                break
            end += 1
        if suffix or kind in ("letter", "number", "other"):
            yield text[start:end]
        start = end


@functools.cache
def tables():
    """Byte -> character, piece -> id, pair -> rank."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {byte: chr(byte) for byte in printable}
    alphabet |= {byte: chr(256 + place) for place, byte in enumerate(others)}
    file = importlib.resources.files("bigclip.data.vocabularies") / "bpe_simple_vocab_16e6.txt.gz"
    pairs = [
        tuple(line.split()) for line in gzip.decompress(file.read_bytes()).decode().split("\n")
    ]
    pairs = pairs[1 : 1 + 48894]
    singles = [alphabet[byte] for byte in (*printable, *others)]
    pieces = [*singles, *(single + "</w>" for single in singles), *("".join(p) for p in pairs)]
    ids = {piece: i for i, piece in enumerate(pieces)}
    return alphabet, ids, {pair: rank for rank, pair in enumerate(pairs)}


@functools.cache
def ids_of_word(word):
    alphabet, ids, ranks = tables()
    parts = [alphabet[byte] for byte in word.encode()]
    parts[-1] += "</w>"
    while len(parts) > 1:
        best = min(zip(parts, parts[1:], strict=False), key=lambda pair: ranks.get(pair, 1e9))
        if best not in ranks:
            break
        merged = []
        for part in parts:
            if merged and (merged[-1], part) == best:
                merged[-1] += part
            else:
                merged.append(part)
        # One merge makes a longer piece, which cannot begin the same pair again in this round.
        parts = merged
    return [ids[part] for part in parts]


def reference(text, context_length=77):
    found = [i for word in words(clean_clip(text)) for i in ids_of_word(word)]
    found = [49406, *found[: context_length - 2], 49407]
    return found + [0] * (context_length - len(found))


@pytest.fixture(scope="module")
def clip():
    return clip_bpe()


def test_known_ids_of_the_released_model():
    assert reference("a photo of a cat")[:8] == [49406, 320, 1125, 539, 320, 2368, 49407, 0]


def test_ids_are_those_of_the_reference(clip):
    texts = [*AWKWARD, *captions(every=5)]
    assert len(texts) > 3000
    for row, text in zip(clip(texts), texts, strict=True):
        assert row.tolist() == reference(text), text


@hypothesis.given(invented(max_size=60))
@hypothesis.settings(max_examples=400, deadline=None)
def test_ids_are_those_of_the_reference_for_any_text(clip, text):
    assert clip([text])[0].tolist() == reference(text)


def test_a_text_of_a_megabyte_gives_the_ids_of_its_beginning(clip):
    several = " ".join(captions())
    # Long words, every letter of them spelt as an HTML entity: 79 characters an id.
    entities = "".join(f"&#{ord(letter):04};" for letter in "photography ")
    unspaced = "".join(several.split())
    for text in (several * 20, several.upper()[5000:] * 20, unspaced * 20, entities * 9000):
        assert len(text) > 400_000
        assert clip([text])[0].tolist() == reference(text[:40_000])
