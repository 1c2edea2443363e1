"""A map of the embeddings in two dimensions, with the pictures themselves as points.

map.js adds zoom, panning, a search for labels and arrow keys; without scripts the map is whole,
and every point tells its label on hover.
"""

import math
from collections import Counter
from typing import Any

from bigclip.reports.charts import TONES
from bigclip.reports.curves import suite_title
from bigclip.reports.markup import Safe, element, join
from bigclip.reports.pictures import PictureBook
from bigclip.reports.run import SuiteHistory

SIDE = 720  # of the drawing
_MARGIN = 24
_SPOT = 26  # side of a picture in the drawing; map.js keeps it readable on small screens
_PICTURE_PIXELS = 56
_MOST_SPOTS = 400


def draw_map(suite: SuiteHistory, book: PictureBook) -> Safe | None:
    """Draw `details.map`, entries of record, key, x, y and label; None if there is no map."""
    entries = [
        entry
        for entry in suite.details.get("map") or []
        if math.isfinite(entry["x"]) and math.isfinite(entry["y"])
    ][:_MOST_SPOTS]
    if not entries:
        return None
    places = _places([(float(entry["x"]), float(entry["y"])) for entry in entries])
    tones = _tones(entries)
    spots = [
        _spot(entry, place, tones.get(_label(entry), ""), book)
        for entry, place in zip(entries, places, strict=True)
    ]
    title = suite_title(suite)
    drawing = element(
        "svg",
        spots,
        viewBox=f"0 0 {SIDE} {SIDE}",
        role="application",
        tabindex=0,
        aria_label=(
            f"Map of {len(entries):,} pictures of {title}. Arrow keys go from picture to picture, "
            "plus and minus zoom, 0 shows the whole map."
        ),
    )
    note = (
        f"{len(entries):,} pictures of {title} at step {suite.last['step']:,}. Pictures that lie "
        "near each other are alike to the model; a plane cannot show all of it, and the axes mean "
        "nothing."
    )
    return element(
        "figure",
        element("figcaption", note, class_="muted"),
        element("div", _controls(title), drawing, class_="sky"),
        element(
            "div",
            element("div", class_="picked", role="status"),
            _legend(tones, entries),
            class_="beside",
        ),
        class_="atlas",
    )


def _spot(entry: dict[str, Any], place: tuple[float, float], tone: str, book: PictureBook) -> Safe:
    number, key = int(entry["record"]), str(entry.get("key"))
    label, name = _label(entry), book.name(number, key) or key
    label = name if label in name else f"{name}, {label}"
    uri = book.uri(number, key, _PICTURE_PIXELS)
    half = _SPOT / 2
    if uri is None:
        drawn = element("circle", class_=f"plain {tone}".strip(), r=half / 3)
    else:
        frame = element(
            "rect",
            class_=f"frame {tone}".strip(),
            x=-half,
            y=-half,
            width=_SPOT,
            height=_SPOT,
            rx=4,
        )
        inner = half - 2
        picture = element("image", href=uri, x=-inner, y=-inner, width=2 * inner, height=2 * inner)
        drawn = join(frame, picture)
    x, y = place
    return element(
        "g",
        element("title", label),
        drawn,
        class_="spot",
        transform=f"translate({x:.1f} {y:.1f})",
    )


def _places(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Scale to the drawing, both axes alike, in its middle."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    span = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    scale = (SIDE - 2 * _MARGIN) / span
    left, top = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return [(SIDE / 2 + scale * (x - left), SIDE / 2 - scale * (y - top)) for x, y in points]


def _tones(entries: list[dict[str, Any]]) -> dict[str, str]:
    """Give each label a colour if there are few enough of them."""
    counts = Counter(label for entry in entries if (label := _label(entry)))
    if not 1 < len(counts) <= len(TONES):
        return {}
    return {label: tone for (label, _), tone in zip(counts.most_common(), TONES, strict=False)}


def _label(entry: dict[str, Any]) -> str:
    label = entry.get("label")
    return "" if label is None else str(label)


def _controls(title: str) -> Safe:
    """Buttons and a search field; map.js shows them, since they need it."""
    return element(
        "div",
        element("button", "+", type="button", data_zoom="in", aria_label="zoom in"),
        element("button", "\u2212", type="button", data_zoom="out", aria_label="zoom out"),
        element(
            "button", "whole", type="button", data_zoom="whole", aria_label="show the whole map"
        ),
        element(
            "input",
            type="search",
            placeholder="find a label",
            aria_label=f"find a label in the map of {title}",
        ),
        element("span", class_="muted", role="status"),
        class_="controls",
        hidden=True,
    )


def _legend(tones: dict[str, str], entries: list[dict[str, Any]]) -> Safe | None:
    if not tones:
        return None
    counts = Counter(_label(entry) for entry in entries)
    items = [
        element("li", element("span", class_=f"swatch {tone}"), f"{label} ({counts[label]:,})")
        for label, tone in tones.items()
    ]
    return element("ul", items, class_="legend")
