"""Reads the texts of the limits suite and looks whether they are true of a scene.

Written without the suite's own code but for the names of things, so that a slip in either shows.
"""

import re

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
RELATIONS = {
    "to the left of": lambda a, b: a.centre[0] + 0.2 < b.centre[0],
    "to the right of": lambda a, b: a.centre[0] > b.centre[0] + 0.2,
    "above": lambda a, b: a.centre[1] + 0.2 < b.centre[1],
    "below": lambda a, b: a.centre[1] > b.centre[1] + 0.2,
    "larger than": lambda a, b: a.area > 2 * b.area,
    "smaller than": lambda a, b: 2 * a.area < b.area,
    "inside": lambda a, b: a.centre == b.centre and 4 * a.area < b.area,
    "around": lambda a, b: a.centre == b.centre and a.area > 4 * b.area,
}
SIDES = {
    "on the left": lambda a: a.centre[0] < 0.3,
    "on the right": lambda a: a.centre[0] > 0.7,
    "at the top": lambda a: a.centre[1] < 0.3,
    "at the bottom": lambda a: a.centre[1] > 0.7,
}


def is_true(text, scene, plurals):
    """Say whether a text is true of a scene; raises ValueError for a text that it cannot read."""
    things = scene.things

    def find(phrase):
        words = re.sub(r"^(an?) ", "", phrase).split()
        size = words.pop(0) if words[0] in ("large", "small") else None
        colour = words.pop(0) if len(words) == 2 else None
        (kind,) = words
        if kind not in plurals:
            raise ValueError(f"no noun: {phrase!r}")
        found = [t for t in things if t.entity.kind == kind and colour in (None, t.entity.look)]
        if size == "large":
            found = [t for t in found if all(t.area > 2 * o.area for o in things if o != t)]
        if size == "small":
            found = [t for t in found if all(2 * t.area < o.area for o in things if o != t)]
        return found

    if " but no " in text:
        yes, no = text.split(" but no ")
        return bool(find(yes)) and not find(no)
    if text.startswith("no "):
        return not find(text[3:])
    for word, wanted in ((" with ", True), (" without ", False)):
        if word in text:
            one, other = text.split(word)
            return bool(find(one)) and bool(find(other)) == wanted
    if " and " in text:
        return all(find(part) for part in text.split(" and "))
    for words, holds in RELATIONS.items():
        if f" {words} " in text:
            one, other = (find(part) for part in text.split(f" {words} "))
            return any(holds(a, b) for a in one for b in other)
    for words, first in (("in front of", 1), ("behind", 0)):  # who is drawn later covers
        if f" {words} " in text:
            one, other = (find(part) for part in text.split(f" {words} "))
            order = [things.index(one[0]), things.index(other[0])]
            apart = sum((a - b) ** 2 for a, b in zip(one[0].centre, other[0].centre, strict=True))
            overlap = 0 < apart < (one[0].area ** 0.5 / 2 + other[0].area ** 0.5 / 2) ** 2
            return overlap and (order[0] > order[1]) == bool(first)
    for words, holds in SIDES.items():
        if text.endswith(words):
            return any(holds(a) for a in find(text.removesuffix(f" {words}")))
    number, _, rest = text.partition(" ")
    if number in NUMBERS:
        *colour, noun = rest.split()
        kind = noun if number == "one" else {v: k for k, v in plurals.items()}[noun]
        found = [t for t in things if t.entity.kind == kind]
        same = all(t.entity.look == colour[0] for t in found) if colour else True
        return same and len(found) == len(things) == NUMBERS.index(number)
    return bool(find(text))
