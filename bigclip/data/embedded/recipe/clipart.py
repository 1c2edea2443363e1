"""Titles, keywords and descriptions of the Open Clip Art Library's SVG files.

The library's metadata is of mixed quality. Files are left out if they state no public-domain
dedication, belong to theme icons, card decks or generated stars, or carry no usable English title.
Where the title names a whole collection ("Various Cliparts") the file name names the picture.
"""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bigclip.data.embedded.recipe.split import key, unique

PUBLIC_DOMAIN = (
    "http://web.resource.org/cc/PublicDomain",
    "http://creativecommons.org/licenses/publicdomain/",
)
LEFT_OUT_FOLDERS = (
    "buttons",
    "computer/icons",
    "computer/buttons",
    "geography",
    "people/stickmen",
    "logos",
    "recreation/games/cards",
    "shapes/jigsaw",
    "shapes/stars",
    "shapes/arrows",
    "signs_and_symbols/flags/semaphore",
    "signs_and_symbols/led",
    "special",
)
# Artists who title their work in Italian or French: no English text can be had from them.
OTHER_LANGUAGES = (
    "architetto",
    "bersac",
    "boitel",
    "bosdonnat",
    "guillou",
    "jacq",
    "jean-victor",
    "olivo",
    "rauch",
)
COLLECTIONS = re.compile(
    r"^(clipart by|various|aiga|etiquette icons|svg|map symbols|advertising|people$|r16|homes|"
    r"stick man|sallite|road signs|boating rules|part of|"
    r".*(theme|iconset|collection|rpg map|submission)\b)",
    re.IGNORECASE,
)
JUNK = re.compile(r"https?:|www\.|@|\bhash\b|inkscape|converted|contact|sodipodi|0x", re.I)
NOISE = {
    "aj",
    "alt",
    "bb",
    "elem",
    "etiquette",
    "gnome",
    "svg",
    "aiga",
    "rpg",
    "elements",
    "bw",
    "clipart",
    "01r",
    "zazou",
    "ganson",
}
# Pictures of other people's characters and trade marks, whoever drew them.
PROTECTED = re.compile(
    r"coke|domo|emule|fanart|gameboy|linux|logo|mario|pack?man|porcinet|powered|tux|vgcat|xbox",
    re.IGNORECASE,
)
VAGUE_TITLES = {"clouds", "people", "menu example", "switch cisco"}
VAGUE_KEYWORDS = {"mapsym", "map symbol", "sign", "signs and symbols", "united nations member"}


class ClipArt(NamedTuple):
    """One usable picture of the library."""

    path: str  # inside the library
    title: str
    keywords: list[str]
    description: str
    is_flag: bool


def _element(name: str, text: str) -> str:
    found = re.search(rf"<dc:{name}[^>]*>(.*?)</dc:{name}>", text, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found[1])).split()) if found else ""


def clean_title(text: str, *, artist: str = "") -> str:
    """Turn ``"cloud_jon_phillips_01"`` by Jon Phillips into ``"cloud"``; "" if nothing is left."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    text = html.unescape(text).removeprefix("clipart_by_nicu_buculei").replace("_-_rpg_map", " ")
    text = re.sub(r"_?\d+_symbol_\d+c?m_bwh$", "", text)
    text = re.sub(r"\((?:b and w|[^)]*fix|[^)]*color)\)", "", text, flags=re.IGNORECASE)
    words = re.sub(r"[_\-.,;:!?()\[\]#\"/]+", " ", text).split()
    names = key(artist).split()
    for i in range(1, len(words)):
        # File names end in the artist's name, cut off at some length.
        rest = [w for w in (key(w) for w in words[i:]) if not re.fullmatch(r"\d*[a-z]?", w)]
        if names and rest and len(rest) <= len(names):
            full = names[: len(rest)]
            if rest[:-1] == full[:-1] and full[-1].startswith(rest[-1]):
                words = words[:i]
                break
    words = [re.sub(r"(?<=[A-Za-z]{3})\d+[a-z]?$", "", w) for w in words]
    words = [w for w in words if not re.fullmatch(r"\d+[a-z]?|[a-z]", w.lower())]
    words = [w for w in words if w.lower() not in NOISE]
    if words and words[0] == "contour":
        words = [*words[1:], "silhouette"]
    return " ".join(words).lower()


def read(path: Path, *, root: Path) -> ClipArt | None:
    """Read one file's metadata, or return None if the pack leaves the file out."""
    inside = path.relative_to(root).as_posix()
    if inside.startswith(LEFT_OUT_FOLDERS) or PROTECTED.search(inside):
        return None
    text = path.read_bytes().decode("utf-8", "replace")
    found = re.search(r"<metadata.*?</metadata>", text, re.DOTALL)
    metadata = found[0] if found else ""
    licenses = re.findall(r"<(?:cc:)?license[^>]*rdf:resource=\"([^\"]*)\"", metadata, re.I)
    artist = _element("creator", metadata)
    if not licenses or any(one not in PUBLIC_DOMAIN for one in licenses):
        return None
    if any(name in artist.lower() for name in OTHER_LANGUAGES):
        return None
    title = _element("title", metadata)
    if not title or COLLECTIONS.match(title) or JUNK.search(title):
        title = path.stem
    title = clean_title(title, artist=artist)
    if PROTECTED.search(title):
        return None
    letters = re.sub(r"[^a-z]", "", title)
    if len(letters) < 3 or len(title) > 60 or not title.isascii() or title in VAGUE_TITLES:
        return None
    subject = re.search(r"<dc:subject.*?</dc:subject>", metadata, re.DOTALL)
    bag = re.findall(r"<rdf:li[^>]*>(.*?)</rdf:li>", subject[0], re.DOTALL) if subject else []
    keywords = unique(
        " ".join(html.unescape(w).replace("_", " ").lower().split())
        for w in bag
        if not JUNK.search(w) and w.isascii() and "unsorted" not in w
    )
    flag = "/flags/" in inside or "flags" in keywords
    if flag:
        # Provinces and naval signals are hundreds of pictures that no name makes learnable.
        if "united nations member" not in keywords or "subnational" in keywords:
            return None
        title = "flag of " + title
    keywords = [k for k in keywords if len(k) > 2 and k not in VAGUE_KEYWORDS]
    description = _element("description", metadata)
    good = 12 <= len(description) <= 160 and " " in description and description.isascii()
    if not good or JUNK.search(description) or key(description) == key(title):
        description = ""
    return ClipArt(inside, title, keywords[:12], description, flag)


def clip_art(root: Path) -> Iterator[ClipArt]:
    """Go through the usable files of the library in order of their paths."""
    for path in sorted(root.rglob("*.svg")):
        found = read(path, root=root)
        if found is not None:
            yield found
