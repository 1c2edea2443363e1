"""The limits table: what models like this are known to be bad at, skill by skill."""

import re
from collections.abc import Mapping
from typing import Any

from bigclip.reports import numbers, tables
from bigclip.reports.curves import suite_title
from bigclip.reports.gallery import mark
from bigclip.reports.kinds import KINDS
from bigclip.reports.markup import Safe, element, join
from bigclip.reports.run import SuiteHistory

_NAMES = {column.metric: column.label for column in KINDS["limits"].columns}
# Winoground's scores (Thrush et al., 2022): metrics SKILL/text_score and so on.
_SCORES = ("text_score", "image_score", "group_score")
_INLINE_PICTURE = re.compile(r"data:image/(png|webp|jpeg);base64,[A-Za-z0-9+/=]+")
_MOST_EXAMPLES = 40
_MOST_BYTES = 400_000  # of all pictures of the examples together


def skills(suite: SuiteHistory) -> Safe | None:
    """One row a skill: accuracy, chance, a bar; the conditions of each skill fold away."""
    found: Mapping[str, Any] = suite.details.get("skills") or {}
    if not found:
        return None
    metrics = suite.last["metrics"]
    scores = [key for key in _SCORES if any(f"{skill}/{key}" in metrics for skill in found)]
    rows = [
        tables.row(
            _name(name),
            _with_error(skill),
            _percent(skill.get("chance")),
            tables.bar(skill["accuracy"], skill.get("chance")),
            *(_percent(metrics.get(f"{name}/{key}")) for key in scores),
            numbers.count(skill["items"]) if "items" in skill else "",
        )
        for name, skill in found.items()
    ]
    heads = [key.replace("_", " ") for key in scores]
    shown = tables.table(
        f"{suite.name} at step {suite.last['step']:,}, in percent, with standard errors; the mark "
        "is chance",
        tables.head_row("skill", "accuracy", "chance", "", *heads, "items"),
        rows,
        "limits",
    )
    return element("div", shown, [_conditions(name, skill) for name, skill in found.items()])


def examples(suite: SuiteHistory) -> Safe | None:
    """Scenes with their right and wrong texts, and which one the model preferred."""
    by_skill: dict[str, list[Safe]] = {}
    spent = 0
    for entry in (suite.details.get("examples") or [])[:_MOST_EXAMPLES]:
        spent += len(str(entry.get("image") or ""))
        if spent > _MOST_BYTES:
            break
        by_skill.setdefault(str(entry["skill"]), []).append(_example(entry))
    if not by_skill:
        return None
    parts = [
        join(
            element("h4", _name(skill), class_="kind"),
            element("ul", cards, class_="cards"),
        )
        for skill, cards in by_skill.items()
    ]
    summary = element("summary", f"Examples of {suite_title(suite)}")
    return element("details", summary, parts)


def _example(entry: Mapping[str, Any]) -> Safe:
    right, wrong = str(entry["right_text"]), [str(text) for text in entry["wrong_texts"]]
    texts = [(right, True), *((text, False) for text in wrong)]
    scores = entry.get("scores") or []
    scores = scores if len(scores) == len(texts) else [None] * len(texts)
    ranked = list(zip(texts, scores, strict=True))
    if None not in scores:
        ranked.sort(key=lambda pair: -pair[1])
    lines = [
        element(
            "li",
            mark(is_right),
            element("span", text, class_="said", title=text),
            element("span", numbers.short(score) if score is not None else "", class_="score"),
            class_="right" if is_right else "wrong",
        )
        for (text, is_right), score in ranked
    ]
    solved = bool(entry["is_right"])
    verdict = "The right text has the highest score." if solved else "A wrong text is preferred."
    return element(
        "li",
        element("div", _picture(entry.get("image"), right), class_="subject"),
        element(
            "div",
            element("ol", lines, class_="names whole"),
            element("p", verdict, class_="muted"),
        ),
        class_="card",
    )


def _picture(image: Any, text: str) -> Safe:
    if isinstance(image, str) and _INLINE_PICTURE.fullmatch(image):
        return element("img", src=image, alt=f"drawn scene: {text}", loading="lazy")
    return element("span", "?", class_="lost", role="img", aria_label="picture is lost")


def _conditions(name: str, skill: Mapping[str, Any]) -> Safe | None:
    by = skill.get("by") or {}
    if not by:
        return None
    rows = [
        tables.row(
            condition.replace("_", " "),
            numbers.percent(by[condition]),
            tables.bar(by[condition], skill.get("chance")),
        )
        for condition in by
    ]
    shown = tables.table(
        f"{_name(name)} by condition, accuracy in percent",
        tables.head_row("condition", "accuracy", ""),
        rows,
        "limits",
    )
    values = list(by.values())
    span = f"{numbers.percent(min(values))} to {numbers.percent(max(values))}{numbers.THIN}%"
    summary = f"{_name(name).capitalize()} by condition: {span}"
    return element("details", element("summary", summary), shown, class_="inner")


def _with_error(skill: Mapping[str, Any]) -> str:
    error = skill.get("standard_error")
    said = numbers.percent(skill["accuracy"])
    return said if error is None else f"{said} \u00b1 {numbers.percent(error)}"


def _name(skill: str) -> str:
    return _NAMES.get(skill, skill.replace("_", " "))


def _percent(value: float | None) -> str:
    return "" if value is None else numbers.percent(value)
