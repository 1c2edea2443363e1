"""The texts of an evaluation record: plain caption sources, and sources composed into one text."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bigclip.config import ConfigError, suggest

_FIELD = re.compile(r"\{([^{}]*)\}")


def record_texts(captions: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> list[str]:
    """Return the texts of one record, without repetitions.

    Args:
        captions: caption source name -> texts.
        wanted: each entry is the name of a caption source, each text of which is a text of its
            own, or a pattern such as "{name}: {keywords}", which makes one text: the texts of a
            source are joined by ", ", without those that the pattern already has ("fox: animal,
            face", though "fox" is among the keywords too). A record that lacks a source has no
            such text.
    """
    texts: list[str] = []
    for entry in wanted:
        fields = _FIELD.findall(entry)
        if not fields:
            texts += captions.get(entry, [])
        elif all(captions.get(field) for field in fields):
            texts.append(_compose(captions, entry))
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


def _compose(captions: Mapping[str, Sequence[str]], pattern: str) -> str:
    said: set[str] = set()

    def new_texts(match: re.Match) -> str:
        texts = [text for text in captions[match[1]] if text.casefold() not in said]
        said.update(text.casefold() for text in texts)
        return ", ".join(texts or captions[match[1]])

    return _FIELD.sub(new_texts, pattern)


def check_sources(records: Sequence[Mapping[str, Any]], wanted: Sequence[str], option: str) -> None:
    """Stop if a wanted caption source is in no record.

    Raises:
        ConfigError: names the option and the nearest caption source.
    """
    if isinstance(wanted, str) or not wanted:
        raise ConfigError(f"{option} must be a list of caption sources, not {wanted!r}.")
    there = {name for captions in records for name, texts in captions.items() if texts}
    for entry in wanted:
        for name in _FIELD.findall(entry) or [entry]:
            if name not in there:
                raise ConfigError(
                    f"{option}: no record has the caption source {name!r}.{suggest(name, there)}"
                )


def fill(template: str, name: str, option: str) -> str:
    """Put a name into the place of {} in a prompt template.

    Raises:
        ConfigError: if the template has no {} or more than one.
    """
    if template.count("{}") != 1:
        raise ConfigError(f"{option}: the template {template!r} needs exactly one {{}}.")
    return template.replace("{}", name)
