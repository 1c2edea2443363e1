"""The pieces of a tokenizer as people read them: letters instead of byte codes and marks."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from bigclip.data.tokenizer import Tokenizer

_VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
# Byte-level BPE writes bytes that print as themselves, the others as characters from U+0100 on.
_BYTES = {chr(byte): byte for byte in _VISIBLE}
_BYTES |= {chr(256 + place): byte for place, byte in enumerate(_HIDDEN)}
_END, _START = "</w>", "\u2581"  # of a word: CLIP's mark, SentencePiece's mark


class Piece(NamedTuple):
    """One token of a caption."""

    text: str
    begins_word: bool


def readable_pieces(tokenizer: Tokenizer, pieces: Sequence[str]) -> list[Piece]:
    """Make the pieces of a text readable.

    Args:
        tokenizer: whose pieces they are.
        pieces: as `Tokenizer.pieces` gives them.

    Returns:
        One of each; bytes that are no whole character, or none that is seen, are written as in
        "\\xc3".
    """
    marks_ends = any(piece.endswith(_END) for piece in pieces)
    found, after_end = [], True
    for piece in pieces:
        ends = piece.endswith(_END)
        piece = piece.removesuffix(_END)
        if tokenizer.is_byte_level:
            piece = _from_bytes(piece)
        starts = after_end if marks_ends else piece.startswith((" ", _START)) or not found
        found.append(Piece(piece.replace(_START, " ").strip() or "␣", starts))
        after_end = ends
    return found


def _from_bytes(piece: str) -> str:
    if not all(character in _BYTES for character in piece):
        return piece  # a special word of the vocabulary
    text = bytes(_BYTES[character] for character in piece).decode("utf-8", "backslashreplace")
    # Control characters, which a random token may be, have no place in a page.
    return "".join(
        f"\\x{ord(one):02x}" if unicodedata.category(one) == "Cc" else one for one in text
    )
