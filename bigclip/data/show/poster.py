"""A contact sheet as one picture."""

import math
from collections.abc import Iterator

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from bigclip.data.show.rows import Example
from bigclip.data.show.sheet import Sheet

_MIN_SIDE = 144  # of a picture on the sheet: smaller ones are enlarged by a whole number
_MARGIN, _GAP = 32, 16
_LINE = 20  # pixels from line to line
_CAPTION_LINES = 3
_MIN_COLUMNS, _MAX_COLUMNS = 4, 8
_PAPER, _INK, _SOFT, _ODD = (251, 250, 247), (29, 33, 41), (91, 99, 112), (194, 87, 26)
_FONT = "DejaVuSans.ttf"
_PLAIN = str.maketrans({"×": "x", "≤": "<="})  # Pillow's own font lacks these
_MAX_CHARACTERS = 2000  # of a text that is broken into lines


class Poster:
    """The sheet's geometry, in pixels.

    Attributes:
        factor: by which pictures are enlarged, pixel by pixel.
        side: of a picture on the poster.
    """

    def __init__(self, sheet: Sheet):
        """Measure; nothing is drawn yet."""
        side = len(sheet.examples[0].picture)
        self._sheet = sheet
        self._fonts = {size: _font(size) for size in (13, 15, 30)}
        self.factor = max(1, -(-_MIN_SIDE // side))
        self.side = side * self.factor
        columns = math.isqrt(len(sheet.examples) - 1) + 1
        self._columns = min(max(columns, _MIN_COLUMNS), _MAX_COLUMNS)
        self._small = self.side // 3
        self._cell = self.side + _GAP // 2 + self._small
        self._width = 2 * _MARGIN + self._columns * (self._cell + _GAP) - _GAP
        captions = len(sheet.examples[0].captions)
        self._row = self.side + (captions * (_CAPTION_LINES + 1) + 1) * _LINE + _GAP
        self._head = list(self._head_lines())
        self._top = _MARGIN + sum(height for _, _, _, height in self._head) + _GAP

    def place(self, number: int) -> tuple[int, int]:
        """Return left and top of the picture of an example."""
        row, column = divmod(number, self._columns)
        return _MARGIN + column * (self._cell + _GAP), self._top + row * self._row

    def draw(self) -> PIL.Image.Image:
        """Draw the poster, in RGB."""
        rows = -(-len(self._sheet.examples) // self._columns)
        size = self._width, self._top + rows * self._row + _MARGIN - _GAP
        image = PIL.Image.new("RGB", size, _PAPER)
        pen = PIL.ImageDraw.Draw(image)
        y = _MARGIN
        for text, font, colour, height in self._head:
            pen.text((_MARGIN, y), text, colour, self._fonts[font])
            y += height
        for number, example in enumerate(self._sheet.examples):
            self._draw_example(image, pen, self.place(number), example)
        return image

    def _head_lines(self) -> Iterator[tuple[str, int, tuple[int, int, int], int]]:
        """Yield text, font size, colour and height."""
        sheet = self._sheet
        yield _shortened(sheet.title, self._fonts[30], self._width - 2 * _MARGIN), 30, _INK, 44
        yield sheet.subtitle, 15, _SOFT, 2 * _LINE
        notes = [f" ({tile.note})" if tile.note else "" for tile in sheet.tiles]
        lines = [
            (f"{tile.label}: {tile.value}{note}", _INK)
            for tile, note in zip(sheet.tiles, notes, strict=True)
        ]
        lines += [(f"! {sentence}", _ODD) for sentence in sheet.odd]
        lines += [(f"{term}: {words}", _SOFT) for term, words in sheet.block]
        lines += [(f"bad: {key}: {reason}", _ODD) for key, reason in sheet.bad]
        for text, colour in lines:
            for line in _broken(text, self._fonts[15], self._width - 2 * _MARGIN, 2):
                yield line, 15, colour, _LINE

    def _draw_example(self, image, pen, place: tuple[int, int], example: Example) -> None:
        left, top = place
        image.paste(PIL.Image.fromarray(np.kron(example.picture, self._block())), (left, top))
        small = PIL.Image.fromarray(example.untouched).resize((self._small, self._small))
        image.paste(small, (left + self.side + _GAP // 2, top))
        y = top + self.side + 4
        for caption in example.captions:
            for line in _broken(caption.text, self._fonts[15], self._cell, _CAPTION_LINES):
                pen.text((left, y), line, _INK, self._fonts[15])
                y += _LINE
            cut = f", cut at {len(caption.ids)}" if caption.is_cut else f" of {len(caption.ids)}"
            colour = _ODD if caption.is_cut else _SOFT
            pen.text((left, y), f"{caption.num_tokens}{cut} tokens", colour, self._fonts[13])
            y += _LINE
        key = _shortened(example.key[::-1], self._fonts[13], self._cell)[::-1]  # ends differ
        pen.text((left, y), key, _SOFT, self._fonts[13])

    def _block(self) -> np.ndarray:
        return np.ones((self.factor, self.factor, 1), np.uint8)


def _font(size: int) -> PIL.ImageFont.FreeTypeFont:
    try:
        return PIL.ImageFont.truetype(_FONT, size)
    except OSError:  # not on this machine: Pillow's own has Latin letters only
        return PIL.ImageFont.load_default(size)


def _broken(text: str, font, width: int, at_most: int) -> list[str]:
    """Break a text into lines that fit; the last one says by an ellipsis that more follows."""
    words, lines = text[:_MAX_CHARACTERS].translate(_PLAIN).split(), []
    while words and len(lines) < at_most - 1:
        count = len(words)
        while count > 1 and font.getlength(" ".join(words[:count])) > width:
            count -= 1
        lines.append(_shortened(" ".join(words[:count]), font, width))
        words = words[count:]
    return lines + ([_shortened(" ".join(words), font, width)] if words else [])


def _shortened(text: str, font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
