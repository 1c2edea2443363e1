"""A contact sheet as one HTML file that needs nothing else."""

import base64
import importlib.resources
import io
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import PIL.Image

from bigclip.data.show.bars import Bar
from bigclip.data.show.rows import Caption, Example
from bigclip.data.show.sheet import Sheet, Tile

_UNTOUCHED_SIDE = 160  # pixels: CSS shows it at 72, a fine screen at twice as many
_COARSE_SIDE = 112  # smaller pictures are shown as the squares that they are
_BAR_HEIGHT = 72


def page(sheet: Sheet) -> str:
    """Write the page.

    Returns:
        HTML. The pictures are lossless, so that they can be compared with the batch.
    """
    style = (importlib.resources.files(__package__) / "sheet.css").read_text()
    head = _tag(
        "head",
        _tag("meta", charset="utf-8"),
        _tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _tag("meta", name="color-scheme", content="light dark"),
        _tag("title", f"{sheet.title}: what the model sees"),
        _tag("style", style),
    )
    main = _tag(
        "main",
        _tag(
            "header",
            _tag("p", "What the model sees", class_="over"),
            _tag("h1", sheet.title),
            _tag("p", sheet.subtitle, class_="lead"),
        ),
        _odd(sheet.odd),
        _tag("section", *map(_tile, sheet.tiles), class_="tiles"),
        _tag(
            "section",
            _histogram("Tokens of a caption", "those in orange are cut", sheet.tokens),
            _histogram(
                "Shorter side of the pictures, pixels", "those in orange are enlarged", sheet.sides
            ),
            class_="charts",
        ),
        _tag(
            "section",
            _tag("h2", "The data block"),
            _tag("dl", *[_tag("div", _tag("dt", t), _tag("dd", w)) for t, w in sheet.block]),
            class_="block",
        ),
        *_bad(sheet.bad),
        _tag(
            "section",
            _tag("h2", "The pictures and captions"),
            _tag(
                "p",
                "Large: as the model gets it. Small: the same picture, not augmented. Struck out: "
                "tokens the model does not get; orange, since the caption is too long. Underlined: "
                "random ones in the place of those before them.",
                class_="muted",
            ),
            _tag("ol", *map(_card, sheet.examples), class_="cards"),
        ),
    )
    page = _tag("html", head, _tag("body", main), lang="en")
    # The tree escapes every text, so that no caption becomes markup.
    return "<!doctype html>\n" + ElementTree.tostring(page, "unicode", method="html") + "\n"


def _tag(name: str, /, *children, **attributes) -> ElementTree.Element:
    """Make an element of texts and elements; `class_` loses its underscore."""
    named = {key.rstrip("_").replace("_", "-"): str(value) for key, value in attributes.items()}
    made = ElementTree.Element(name, named)
    for child in children:
        if isinstance(child, ElementTree.Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def _odd(sentences: Sequence[str]) -> ElementTree.Element:
    if not sentences:
        return _tag("p", "Nothing unusual was found.", class_="fine")
    return _tag(
        "section",
        _tag("h2", "Look at this"),
        _tag("ul", *[_tag("li", sentence) for sentence in sentences]),
        class_="odd",
    )


def _tile(tile: Tile) -> ElementTree.Element:
    return _tag(
        "div",
        _tag("p", tile.label, class_="label"),
        _tag("p", tile.value, class_="value"),
        _tag("p", tile.note, class_="muted"),
        class_="tile",
    )


def _histogram(title: str, note: str, bars: Sequence[Bar]) -> ElementTree.Element:
    most = max((bar.count for bar in bars), default=0)
    columns = []
    for bar in bars:
        height = round(_BAR_HEIGHT * bar.count / max(1, most))
        height = max(height, 1) if bar.count else 0  # one of thousands is still seen
        kind = "bar odd" if bar.is_odd else "bar"
        columns.append(
            _tag(
                "li",
                _tag("span", "", class_=kind, style=f"height:{height}px"),
                _tag("span", bar.label, class_="bin"),
                title=f"{bar.label}: {bar.count:,}",
            )
        )
    is_odd = any(bar.is_odd and bar.count for bar in bars)
    caption = [_tag("b", title), f"; {note}"] if is_odd else [_tag("b", title)]
    crowded = "bars crowded" if len(bars) > 12 else "bars"
    return _tag(
        "figure", _tag("figcaption", *caption), _tag("ol", *columns, class_=crowded), class_="chart"
    )


def _bad(bad: Sequence[tuple[str, str]]) -> list[ElementTree.Element]:
    if not bad:
        return []
    rows = [_tag("div", _tag("dt", key), _tag("dd", reason)) for key, reason in bad]
    return [
        _tag("section", _tag("h2", "The first bad records"), _tag("dl", *rows), class_="block keys")
    ]


def _card(example: Example) -> ElementTree.Element:
    width, height = example.size
    coarse = "picture coarse" if len(example.picture) < _COARSE_SIDE else "picture"
    name = example.captions[0].text
    facts = [f"{width} × {height}", f"{example.num_bytes / 1000:.1f} kB"]
    if example.num_bad:
        facts.append(f"in place of {example.num_bad} bad")
    return _tag(
        "li",
        _tag(
            "div",
            _tag("img", src=_exact(example.picture), alt=name, class_=coarse, loading="lazy"),
            _tag(
                "div",
                _tag("img", src=_small(example.untouched), alt="the same, not augmented"),
                _tag("p", f"row {example.row}", class_="muted"),
                *[_tag("p", fact, class_="muted") for fact in facts],
                class_="beside",
            ),
            class_="pair",
        ),
        *[part for caption in example.captions for part in _caption(caption)],
        _tag("p", example.key, class_="key"),
        class_="card",
    )


def _caption(caption: Caption) -> list[ElementTree.Element]:
    words: list[ElementTree.Element] = []
    columns = (caption.pieces, caption.kept, caption.seen, caption.others)
    for piece, kept, seen, other in zip(*columns, strict=True):
        if piece.begins_word or not words:
            words.append(_tag("span", class_="word"))
        stays = kept and other is None
        kind = "piece left-out" if not stays else "piece" if seen else "piece lost"
        words[-1].append(_tag("span", piece.text, class_=kind))
        if kept and other is not None:
            kind = "piece random" if seen else "piece random lost"
            words[-1].append(_tag("span", other.text, class_=kind))
    count = f"{caption.num_tokens} of {len(caption.ids)} tokens"
    if caption.is_cut:
        count = f"{caption.num_tokens} tokens, cut at {len(caption.ids)}"
    return [
        _tag("p", caption.text, class_="caption", dir="auto"),
        _tag("p", count, class_="count cut" if caption.is_cut else "count"),
        _tag("p", *words, class_="pieces"),
    ]


def _exact(pixels: np.ndarray) -> str:
    return _data_uri(PIL.Image.fromarray(pixels), lossless=True)


def _small(pixels: np.ndarray) -> str:
    image = PIL.Image.fromarray(pixels)
    image.thumbnail((_UNTOUCHED_SIDE, _UNTOUCHED_SIDE))
    return _data_uri(image, quality=85)


def _data_uri(image: PIL.Image.Image, **options) -> str:
    file = io.BytesIO()
    image.save(file, "WEBP", **options)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
