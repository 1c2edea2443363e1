"""Compare two tokenizers: does an id still mean the same, and which pieces do both have?

For who goes on with trained embeddings of tokens: row i of that table is worth something only
where id i still stands for the same piece of text.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import sentencepiece

from bigclip.data.tokenizer.cutters import is_byte_level, open_cutter
from bigclip.data.tokenizer.tokenizer import Tokenizer
from bigclip.data.tokenizer.training import byte_characters

# Texts that tell apart what vocabularies do not show: case, blanks, accents, marks, numbers, and
# scripts that most vocabularies hold as bytes.
_TELLING = (
    "a photo of a cat",
    "A Photo of The Eiffel TOWER, Paris (1889).",
    "it's  two   blanks -- don't!",
    "caf\u00e9 na\u00efve \u2014 \u201cquoted\u201d &amp; 3,14 \u20ac",
    "\u65e5\u672c\u8a9e \u0440\u0443\u0441\u0441\u043a\u0438\u0439 \U0001f98a",
)
_BLANK = "\u2581"  # what SentencePiece writes for a blank
_BYTE_BLANK = "\u0120"  # and byte-level vocabularies


class Piece(NamedTuple):
    """What an id stands for.

    Attributes:
        text: its bytes, without marks of where words begin or end.
        place: "word" for what is marked as one, by a blank in front or an end behind; "start" or
            "rest" for what is not, in vocabularies that mark the ends or the beginnings; "sot",
            "eot", "pad" or "unknown" for special ids.
    """

    text: bytes
    place: str


_UNKNOWN = Piece(b"", "unknown")


def pieces_by_id(tokenizer: Tokenizer) -> dict[int, Piece]:
    """List what the ids stand for that can come out of a text, and the special ones."""
    data = tokenizer.to_dict()["pieces"]
    if "sentencepiece" in data:
        found = _of_sentencepiece(open_cutter(data).processor)
    else:
        found = _of_json(data)
    # A pad that is a piece, too (CLIP's is "!"), stays that piece.
    found.setdefault(tokenizer.pad, Piece(b"", "pad"))
    for place, number in (("sot", tokenizer.sot), ("eot", tokenizer.eot)):
        if number is not None:
            found[number] = Piece(b"", place)
    return found


def _of_sentencepiece(processor: sentencepiece.SentencePieceProcessor) -> dict[int, Piece]:
    found = {}
    for number in range(processor.vocab_size()):
        text = processor.id_to_piece(number)
        if processor.is_control(number) or processor.is_unused(number):
            continue  # comes out of no text
        if processor.is_unknown(number):
            found[number] = _UNKNOWN
        elif processor.is_byte(number):
            found[number] = Piece(bytes([int(text[1:-1], 16)]), "rest")
        else:
            found[number] = _marked_by_blank(text)
    return found


def _marked_by_blank(text: str) -> Piece:
    if text == _BLANK:
        return Piece(b" ", "rest")
    if text.startswith(_BLANK):
        return Piece(text.removeprefix(_BLANK).encode(), "word")
    return Piece(text.encode(), "rest")


def _of_json(content: dict[str, Any]) -> dict[int, Piece]:
    model = content["model"]
    if isinstance(model["vocab"], dict):
        vocabulary: Iterable[tuple[str, int]] = model["vocab"].items()
    else:
        vocabulary = ((word, number) for number, (word, _) in enumerate(model["vocab"]))
    end = model.get("end_of_word_suffix") or ""
    going_on = model.get("continuing_subword_prefix") or ""
    in_bytes = is_byte_level(content)
    values = _byte_values() if in_bytes else {}
    found = {}
    for word, number in vocabulary:
        if not word:
            continue  # stands where a special token was
        if word == model.get("unk_token") or number == model.get("unk_id"):
            found[number] = _UNKNOWN
            continue
        if end:
            place = "word" if word.endswith(end) else "start"
            word = word.removesuffix(end)
        elif going_on:
            place = "rest" if word.startswith(going_on) else "word"
            word = word.removeprefix(going_on)
        elif in_bytes and word != _BYTE_BLANK:
            place = "word" if word.startswith(_BYTE_BLANK) else "rest"
            word = word.removeprefix(_BYTE_BLANK)
        elif in_bytes:
            place = "rest"
        else:
            found[number] = _marked_by_blank(word)
            continue
        text = b"".join(values.get(character, character.encode()) for character in word)
        found[number] = Piece(text, place)
    for token in content.get("added_tokens") or []:
        found[token["id"]] = Piece(token["content"].encode(), "word")
    return found


def _byte_values() -> dict[str, bytes]:
    """The byte that each character of a byte-level vocabulary stands for.

    Printable bytes are themselves; the others borrow the characters from U+0100 up, in order.
    """
    characters = sorted(byte_characters())
    own = {character: ord(character) for character in characters if ord(character) < 256}
    borrowed = [character for character in characters if character not in own]
    others = sorted(set(range(256)) - set(own.values()))
    own.update(zip(borrowed, others, strict=True))
    return {character: bytes([value]) for character, value in own.items()}


def shared_rows(old: Tokenizer, new: Tokenizer, *, num_rows: int) -> np.ndarray:
    """Find for each id of one tokenizer the id of another that stands for the same piece.

    Pieces of vocabularies that mark words in different ways ("cat</w>" of CLIP's, "\u2581cat" of
    SentencePiece) are the same where both are marked as words. Special ids meet by their role.

    Args:
        old: the one with trained embeddings.
        new: the other.
        num_rows: V, of the table to fill; at least `new.vocab_size`.

    Returns:
        int32 [V], the old id, or -1 where there is none.
    """
    number_of: dict[Piece, int] = {}
    for number, piece in sorted(pieces_by_id(old).items()):
        number_of.setdefault(piece, number)
    rows = np.full(num_rows, -1, np.int32)
    for number, piece in pieces_by_id(new).items():
        rows[number] = number_of.get(piece, -1)
    return rows


def difference(old: Tokenizer, new: Tokenizer, *, padding_counts: bool = True) -> tuple[str, bool]:
    """Tell in which way a tokenizer differs from the one that embeddings were trained with.

    How long texts may be is left out: the table of positions shows that.

    Args:
        old: the one that was trained with.
        new: the other.
        padding_counts: whether the tower looks at the padding (not if it is causal and pools at
            the end of the text).

    Returns:
        The first difference, "" if there is none; and whether ids have another meaning (else the
        vocabularies agree, but texts are cleaned or cut in another way).
    """
    data, other = ({**one.to_dict(), "context_length": 0} for one in (old, new))
    if data == other:
        return "", False
    before, after = pieces_by_id(old), pieces_by_id(new)
    changed = sorted(number for number, piece in after.items() if before.get(number) != piece)
    if changed:
        first = changed[0]
        was = _shown(before[first]) if first in before else "nothing"
        return (
            f"{len(changed):,} of {len(after):,} ids stand for other pieces: id {first} was {was} "
            f"and is {_shown(after[first])}",
            True,
        )
    roles = ("sot", "eot", "pad") if padding_counts else ("sot", "eot")
    for role in roles:
        if getattr(old, role) != getattr(new, role):
            return f"{role} was {getattr(old, role)} and is {getattr(new, role)}", True
    # As many ids as both give, and without those that fill up.
    length = min(old.context_length, new.context_length)
    both = [Tokenizer.from_dict({**one, "context_length": length}) for one in (data, other)]
    for text in _TELLING:
        was, now = (_ids(one, text) for one in both)
        if was != now:
            return f"the text {text!r} became the ids {was} and becomes {now}", False
    return "", False


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids = tokenizer([text])[0].tolist()
    length = len(ids)
    while ids and ids[-1] == tokenizer.pad:
        ids.pop()
    # Where the end of the text fills up, too, the first of them is no padding.
    return [*ids, tokenizer.eot] if len(ids) < length and tokenizer.pad == tokenizer.eot else ids


def _shown(piece: Piece) -> str:
    if not piece.text:
        return f"the special {piece.place!r}"
    return repr(piece.text.decode(errors="replace"))
