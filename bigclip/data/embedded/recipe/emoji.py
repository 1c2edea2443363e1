"""The emoji of the pack: code-point sequences, CLDR texts, families, and the icons that show them.

An emoji is identified by its code points without the emoji variation selector (U+FE0F).
Skin-tone variants and mirrored ("facing right") variants are left out: they would add pictures
without adding concepts, and a mirrored picture contradicts horizontal-flip augmentation.
"""

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from bigclip.data.embedded.recipe.split import key

TONES = {chr(c) for c in range(0x1F3FB, 0x1F400)}
ZWJ = "\u200d"
DIRECTION = ZWJ + "\u27a1"
GENDER_SIGNS = (ZWJ + "\u2640", ZWJ + "\u2642")
ADULTS = "\U0001f9d1\U0001f468\U0001f469"
CHILDREN = "\U0001f9d2\U0001f466\U0001f467"
ELDERS = "\U0001f9d3\U0001f474\U0001f475"
# Gender families that Unicode encodes as unrelated single characters.
FAMILIES = {
    "royalty": "\U0001f934\U0001f478\U0001fac5",
    "christmas person": "\U0001f385\U0001f936",
    "dancing": "\U0001f57a\U0001f483",
    "pregnant": "\U0001f930\U0001fac3\U0001fac4",
    "person": ADULTS,
    "child": CHILDREN,
    "older person": ELDERS,
    "people holding hands": "\U0001f46b\U0001f46c\U0001f46d",
    "kiss": "\U0001f48f",
    "couple with heart": "\U0001f491",
    "family": "\U0001f46a",
}
FAMILY_OF = {character: name for name, members in FAMILIES.items() for character in members}


def sequence(code_points: str) -> str:
    """Turn ``"1f468-200d-1f692"`` into its characters, without variation selectors."""
    return "".join(chr(int(c, 16)) for c in re.split("[-_]", code_points)).replace("\ufe0f", "")


def is_flag(emoji: str) -> bool:
    """Tell whether an emoji is the flag of a country or region (not "chequered flag" etc.)."""
    letters = all(0x1F1E6 <= ord(c) <= 0x1F1FF for c in emoji)
    return letters or any(0xE0061 <= ord(c) <= 0xE007A for c in emoji)


def family(emoji: str, name: str, names: set[str]) -> str:
    """Name the group whose members must share a split.

    Args:
        emoji: Code points without skin tones.
        name: Its English CLDR name.
        names: Every English name, to join "cat face" to "cat".

    Returns:
        The same text for all gender, role and number variants of one idea.
    """
    for sign in GENDER_SIGNS:
        emoji = emoji.replace(sign, "")
    parts = emoji.split(ZWJ)
    people = [p for p in parts if p in ADULTS + CHILDREN + ELDERS]
    if len(people) > 1:
        if "\U0001f48b" in parts:
            return "kiss"
        if "\u2764" in parts:
            return "couple with heart"
        if "\U0001f91d" in parts:
            return "people holding hands"
        return "family"
    if emoji == "\U0001f9d1\u200d\U0001f384":
        return "christmas person"
    if len(parts) > 1 and parts[0] in ADULTS:
        return "role " + "-".join(f"{ord(c):x}" for c in "".join(parts[1:]))
    if emoji in FAMILY_OF:
        return FAMILY_OF[emoji]
    if parts[0] != emoji or len(emoji) > 1:
        return key(name)
    bare = re.sub(r" face$", "", name)
    if bare in names:
        name = bare
    words = re.sub(r"\b(wo)?m[ae]n\b|\bpeople\b", "person", key(name))
    role = words.removeprefix("person ")
    return role if role in names else words


class Annotations:
    """Emoji names and keywords of CLDR, by language."""

    def __init__(self, *, annotations: Path, derived: Path, languages: Iterable[str]):
        self.names: dict[str, dict[str, str]] = {}
        self.keywords: dict[str, list[str]] = {}
        for language in ("en", *languages):
            table: dict[str, dict] = {}
            for root, folder, outer in (
                (annotations, "annotations", "annotations"),
                (derived, "annotationsDerived", "annotationsDerived"),
            ):
                path = root / folder / language / "annotations.json"
                loaded = json.loads(path.read_text(encoding="utf-8"))[outer]["annotations"]
                table.update({k.replace("\ufe0f", ""): v for k, v in loaded.items()})
            self.names[language] = {k: v["tts"][0] for k, v in table.items() if v.get("tts")}
            if language == "en":
                self.keywords = {k: v.get("default", []) for k, v in table.items()}


class IconSet:
    """One @iconify-json package: SVG bodies under names, code points for some of them."""

    def __init__(self, root: Path):
        icons = json.loads((root / "icons.json").read_text(encoding="utf-8"))
        self.size = (icons.get("width", 16), icons.get("height", 16))
        self.icons = {k: v for k, v in icons["icons"].items() if not v.get("hidden")}
        # An alias that also turns or mirrors its parent is no picture of its own.
        self.aliases = {
            k: v["parent"]
            for k, v in icons.get("aliases", {}).items()
            if set(v) == {"parent"} and v["parent"] in self.icons
        }
        chars = json.loads((root / "chars.json").read_text(encoding="utf-8"))
        self.by_emoji = {sequence(k): v for k, v in chars.items()}

    def svg(self, name: str) -> str:
        """Return one icon as a whole SVG document."""
        icon = self.icons[name]
        left, top = icon.get("left", 0), icon.get("top", 0)
        width, height = icon.get("width", self.size[0]), icon.get("height", self.size[1])
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">'
            f"{icon['body']}</svg>"
        )


def slug(text: str, *, glue: str = "-") -> str:
    """Spell a name as icon sets do: ``"Mrs. Claus"`` -> ``"mrs-claus"``."""
    text = unicodedata.normalize("NFKD", text.lower().replace("&", " and "))
    text = "".join(c for c in text if not unicodedata.combining(c))
    return glue.join(re.findall(r"[a-z0-9]+", text.replace("'", "").replace("’", "")))


def slugs(emoji: Iterable[str], english: dict[str, str], sets: Iterable[IconSet]) -> dict[str, str]:
    """Map every known spelling of a name to its emoji; ambiguous spellings are left out.

    CLDR names win over the names in the icon sets, and those over Unicode character names.
    """
    emoji = list(emoji)
    tiers: list[list[tuple[str, str]]] = [[(slug(english[e]), e) for e in emoji]]
    for icons in sets:
        known = [(e, n) for e, n in icons.by_emoji.items() if e in english]
        spelt = {n: e for e, n in known}
        tiers.append([(n, e) for e, n in known])
        tiers.append([(a, spelt[p]) for a, p in icons.aliases.items() if p in spelt])
    tiers.append([(slug(unicodedata.name(e, "")), e) for e in emoji if len(e) == 1])
    found: dict[str, str] = {}
    for tier in tiers:
        tier += [("flag-for-" + t[5:], e) for t, e in tier if t.startswith("flag-") and is_flag(e)]
        fresh: dict[str, set[str]] = {}
        for text, e in tier:
            if text and text not in found:
                fresh.setdefault(text, set()).add(e)
        found.update({t: next(iter(es)) for t, es in fresh.items() if len(es) == 1})
    return found
