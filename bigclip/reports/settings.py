"""Settings as rows: a configuration flattened to dotted names, and how two or more differ."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bigclip.reports.markup import Child, element

_LONG_LIST = 4  # longer ones fold away
_LONG_TEXT = 90
_MISSING = object()


def flatten(block: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {"a": {"b": 1}} as {"a.b": 1}; an empty block stays a value."""
    rows: dict[str, Any] = {}
    for key, value in block.items():
        if isinstance(value, Mapping) and value:
            rows |= flatten(value, f"{prefix}{key}.")
        else:
            rows[f"{prefix}{key}"] = value
    return rows


def as_cell(value: Any) -> Child:
    """Write a value; a long list folds away."""
    if isinstance(value, list) and len(value) > _LONG_LIST:
        items = [element("li", json.dumps(item, ensure_ascii=False)) for item in value]
        return element("details", element("summary", f"{len(value)} values"), element("ul", items))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > _LONG_TEXT:
        return element("code", text, class_="long")
    return element("code", text)


def differences(blocks: Sequence[Mapping[str, Any]]) -> dict[str, list[Child]]:
    """Return the settings in which blocks differ.

    Args:
        blocks: two or more, nested as they are.

    Returns:
        Dotted name -> one cell for each block; a dash where a block has no such setting.
    """
    flat = [flatten(block) for block in blocks]
    names = dict.fromkeys(name for rows in flat for name in rows)
    found = {}
    for name in names:
        values = [rows.get(name, _MISSING) for rows in flat]
        if any(value is _MISSING or value != values[0] for value in values):
            found[name] = ["\u2013" if value is _MISSING else as_cell(value) for value in values]
    return found
