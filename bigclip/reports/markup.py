"""HTML and SVG from Python calls, escaped by construction.

Every text that goes into an element or an attribute is escaped unless it is `Safe`, and the only
way to get `Safe` from data is through an element. A caption can therefore never become markup.
"""

import html
from collections.abc import Iterable


class Safe(str):
    """Markup that needs no more escaping."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]

_VOID = {"img", "meta", "br", "input"}
_CAMEL = {"viewBox", "preserveAspectRatio"}


def element(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Safe:
    """Build an element.

    Args:
        name: the tag.
        *children: texts (escaped), elements, or sequences of them; None is left out.
        **attributes: `class_` and `for_` lose their underscore, others get "-" for "_". True
            gives an attribute without a value, None and False leave it out.
    """
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key if key in _CAMEL else key.rstrip("_").replace("_", "-")
        parts.append(f" {key}" if value is True else f' {key}="{html.escape(_text(value))}"')
    parts.append(">")
    if name not in _VOID:
        parts += [_render(children), f"</{name}>"]
    return Safe("".join(parts))


def join(*children: Child) -> Safe:
    """Put texts (escaped) and elements one after another."""
    return Safe(_render(children))


def _render(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Safe):
        return child
    if isinstance(child, str):
        return html.escape(child)
    if isinstance(child, int | float):
        return html.escape(_text(child))
    return "".join(_render(part) for part in child)


def _text(value: str | int | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
