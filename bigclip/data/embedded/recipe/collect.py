"""Gather every picture of the pack with its captions and split, before duplicates are removed."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from bigclip.data.embedded.recipe import clipart, split
from bigclip.data.embedded.recipe.emoji import (
    DIRECTION,
    TONES,
    Annotations,
    IconSet,
    family,
    is_flag,
    sequence,
    slugs,
)
from bigclip.data.embedded.recipe.fxemoji_names import FXEMOJI_NAMES
from bigclip.data.embedded.recipe.packages import HELD_OUT_STYLE, LANGUAGES, STYLES
from bigclip.data.embedded.recipe.rasterise import draw_svg, picture

ICON_STYLES = ("noto", "noto-v1", "fluent-flat", "twemoji", "emojione", "fxemoji")


class Draft(NamedTuple):
    """A picture that may go into the pack."""

    style: str
    origin: str  # package and name of the picture in it
    split: str
    concept: str
    group: str
    captions: dict[str, list[str]]
    source: str | Path  # an SVG document, or the path of a picture

    def draw(self) -> Image.Image:
        """Draw the 64 x 64 RGB picture; raises ``RenderError`` if there is nothing to see."""
        if isinstance(self.source, str):
            return picture(draw_svg(self.source), trim=self.style == "openclipart")
        image = Image.open(io.BytesIO(self.source.read_bytes())).convert("RGBA")
        return picture(image, trim=False)


class Emoji(NamedTuple):
    """One concept: an emoji without skin tone."""

    characters: str
    name: str
    group: str
    held_out: bool
    captions: dict[str, list[str]]


def _icons_by_emoji(
    icons: IconSet, spellings: dict[str, str], by_name: dict[str, str], *, style: str
) -> dict[str, str]:
    """Map emoji to the icon that shows it, by code point, by name, then by alias."""
    found = {e: n for e, n in icons.by_emoji.items() if n in icons.icons}
    if style == HELD_OUT_STYLE:
        # This set writes names without hyphens: "alarmclock".
        glued: dict[str, set[str]] = {}
        for text, emoji in spellings.items():
            glued.setdefault(text.replace("-", ""), set()).add(emoji)
        spellings = {t: next(iter(es)) for t, es in glued.items() if len(es) == 1}
        spellings |= {n: by_name[c] for n, c in FXEMOJI_NAMES.items()}
    for name in sorted(icons.icons):
        if name in spellings:
            found.setdefault(spellings[name], name)
    for alias, parent in sorted(icons.aliases.items()):
        if alias in spellings:
            found.setdefault(spellings[alias], parent)
    return found


def emoji_table(
    characters: set[str], annotations: Annotations
) -> tuple[dict[str, Emoji], dict[str, set[str]]]:
    """Name the emoji, choose the held-out ones, and make the training captions strict.

    Returns:
        The emoji by their characters, and the spellings of all held-out names by language.
    """
    english = annotations.names["en"]
    usable = sorted(
        e for e in characters if e in english and DIRECTION not in e and not TONES & set(e)
    )
    names = {english[e] for e in usable}
    groups = {e: "country flags" if is_flag(e) else family(e, english[e], names) for e in usable}
    held_out = {e for e in usable if not is_flag(e) and split.is_held_out_family(groups[e])}
    banned = {
        language: {split.spelling(table[e]) for e in held_out if e in table}
        for language, table in annotations.names.items()
    }
    table = {}
    for e in usable:
        name = english[e]
        keywords = [k for k in annotations.keywords.get(e, []) if split.key(k) != split.key(name)]
        captions = {"name": [name], "keywords": split.unique(keywords)}
        for language in LANGUAGES:
            captions[language] = split.unique([annotations.names[language].get(e, "")])
        captions = {source: texts for source, texts in captions.items() if texts}
        if e not in held_out:
            captions = split.strict_captions(captions, banned)
        table[e] = Emoji(e, name, groups[e], e in held_out, captions)
    return table, banned


def _emoji_drafts(
    table: dict[str, Emoji], icon_sets: dict[str, IconSet], pictures_3d: dict[str, Path]
) -> Iterator[Draft]:
    """Go through the emoji of every style, the plain form before its gendered variants."""
    by_name = {emoji.name: e for e, emoji in table.items()}
    order = sorted(table, key=lambda e: (len(e), e))
    spelt = {e: emoji.name for e, emoji in table.items()}
    code_point_sets = [icon_sets[s] for s in ("noto", "twemoji", "fluent-flat")]
    spellings = slugs(order, spelt, code_point_sets)

    def draft(style: str, e: str, origin: str, source: str | Path) -> Draft:
        emoji = table[e]
        part = "train"
        if emoji.held_out:
            part = "heldout_concepts"
        elif style == HELD_OUT_STYLE:
            part = "heldout_style"
        package = STYLES[style].package
        return Draft(
            style, f"{package}:{origin}", part, emoji.name, emoji.group, emoji.captions, source
        )

    for style, icons in icon_sets.items():
        found = _icons_by_emoji(icons, spellings, by_name, style=style)
        used = set()
        for e in order:
            # One icon under two names would be one picture with two concepts.
            if e in found and found[e] not in used:
                used.add(found[e])
                yield draft(style, e, found[e], icons.svg(found[e]))
    for e in order:
        if e in pictures_3d:
            yield draft("fluent-3d", e, pictures_3d[e].name, pictures_3d[e])


def _clip_art_drafts(root: Path, banned: dict[str, set[str]]) -> Iterator[Draft]:
    for art in clipart.clip_art(root):
        captions = {"title": [art.title], "keywords": art.keywords}
        if art.description:
            captions["description"] = [art.description]
        captions = {source: texts for source, texts in captions.items() if texts}
        spelling = split.spelling(art.title)
        part = "train"
        if not art.is_flag and (split.is_held_out_title(art.title) or spelling in banned["en"]):
            part = "heldout_titles"
        else:
            captions = split.strict_captions(captions, banned)
        origin = f"{STYLES['openclipart'].package}:{art.path}"
        source = (root / art.path).read_bytes().decode("utf-8", "replace")
        yield Draft("openclipart", origin, part, art.title, spelling, captions, source)


def drafts(folders: dict[str, Path]) -> Iterator[Draft]:
    """Yield every candidate picture in a fixed order.

    Args:
        folders: Package name -> unpacked folder, see ``fetch.fetch_all``.
    """
    annotations = Annotations(
        annotations=folders["cldr-annotations-full"],
        derived=folders["cldr-annotations-derived-full"],
        languages=LANGUAGES,
    )
    icon_sets = {s: IconSet(folders[STYLES[s].package]) for s in ICON_STYLES}
    assets = folders[STYLES["fluent-3d"].package] / "assets"
    pictures_3d = {sequence(p.stem): p for p in sorted(assets.glob("*.webp"))}
    characters = set(pictures_3d).union(*(icons.by_emoji for icons in icon_sets.values()))
    table, banned = emoji_table(characters, annotations)
    yield from _emoji_drafts(table, icon_sets, pictures_3d)
    root = folders[STYLES["openclipart"].package] / "usr/share/openclipart/svg"
    yield from _clip_art_drafts(root, banned)
