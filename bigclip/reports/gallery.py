"""Ranked examples: pictures for texts, texts for pictures, right and wrong marked.

Right and wrong are told by a sign and a word for screen readers, not by colour alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bigclip.reports.markup import Safe, element, join
from bigclip.reports.pictures import PictureBook

_NAMES_SHOWN = 5
_LONG = 36  # characters beyond which a text is set smaller


def pictures_for_texts(
    entries: Sequence[Mapping[str, Any]], texts: Mapping[str, str], book: PictureBook
) -> Safe:
    """Show each text with the pictures that the model ranked first."""
    rows = []
    for entry in entries:
        hits = [
            element(
                "li",
                book.picture(hit["record"], hit["key"]),
                mark(hit["right"]),
                class_="right" if hit["right"] else "wrong",
            )
            for hit in entry["ranked"]
        ]
        head = element(
            "div",
            _heading(_text(texts, entry["text"])),
            element("p", _pool(entry), class_="muted"),
            element("p", _standing(entry, "picture"), class_="muted"),
        )
        rows.append(element("li", head, element("ol", hits, class_="pictures"), class_="query"))
    return element("ul", rows, class_="queries")


def texts_for_pictures(
    entries: Sequence[Mapping[str, Any]], texts: Mapping[str, str], book: PictureBook
) -> Safe:
    """Show each picture with the texts that the model ranked first."""
    cards = []
    for entry in entries:
        hits = [
            element(
                "li",
                mark(hit["right"]),
                _said(_text(texts, hit["text"])),
                element("span", _score(hit["score"]), class_="score"),
                class_="right" if hit["right"] else "wrong",
            )
            for hit in entry["ranked"][:_NAMES_SHOWN]
        ]
        shown = any(hit["right"] for hit in entry["ranked"][:_NAMES_SHOWN])
        answer = None
        if not shown:
            right = " / ".join(_text(texts, text) for text in entry["right_texts"][:3])
            answer = element(
                "p",
                f"right, at {_standing(entry, 'text')}: ",
                element("b", right),
                class_="answer",
                title=right,
            )
        cards.append(
            element(
                "li",
                element("div", book.picture(entry["record"], entry["key"]), class_="subject"),
                element(
                    "div",
                    element("ol", hits, class_="names"),
                    answer,
                    element("p", _pool(entry), class_="muted"),
                ),
                class_="card",
            )
        )
    return element("ul", cards, class_="cards")


def mark(right: bool) -> Safe:
    """Return the sign of a right or of a wrong answer, and the word for screen readers."""
    sign, word = ("\u2713", "right: ") if right else ("\u2717", "wrong: ")
    return join(
        element("span", sign, class_="mark", aria_hidden="true"),
        element("span", word, class_="spoken"),
    )


def _heading(text: str) -> Safe:
    name, rest = _split(text)
    size = "long" if len(name) > _LONG else None
    return element("h4", element("span", name, class_=size), _rest(rest), title=text)


def _said(text: str) -> Safe:
    name, rest = _split(text)
    return element("span", name, _rest(rest), title=text, class_="said")


def _split(text: str) -> tuple[str, str]:
    """Cut "fox: animal, face" behind its name, which is what the eye looks for."""
    name, colon, rest = text.partition(": ")
    return name + colon.rstrip(), rest


def _rest(text: str) -> Safe | None:
    return element("small", f" {text}") if text else None


def _text(texts: Mapping[str, str], position: int) -> str:
    return texts.get(str(position), f"text {position}")


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}".replace("-", "\u2212")


def _pool(entry: Mapping[str, Any]) -> str:
    pool = entry["pool"].split("=", 1)[-1]
    return (f"{pool}, " if pool else "") + f"{entry['candidates']:,} candidates"


def _standing(entry: Mapping[str, Any], what: str) -> str:
    rank = f"{entry['rank']:.1f}".removesuffix(".0")
    if what == "text":
        return f"rank {rank}"
    best = "the right one is" if entry["right"] == 1 else f"best of {entry['right']} right is"
    return f"{best} number {rank}"
