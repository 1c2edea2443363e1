"""The texts of evaluation records: plain caption sources, and sources composed into one text."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bigclip.config import ConfigError, suggest
from bigclip.evals import options

_FIELD = re.compile(r"\{([^{}]*)\}")


class SetTexts(NamedTuple):
    """The texts of a set of records.

    Attributes:
        of: for each record its texts, maybe none.
        images: positions of the records that have a text, ascending.
        texts: the T different texts, in the order of their first appearance.
        prompts: the same within the template.
        pairs: [M, 2] (position among the records, position among the texts), sorted.
    """

    of: list[list[str]]
    images: list[int]
    texts: list[str]
    prompts: list[str]
    pairs: np.ndarray

    @property
    def num_without(self) -> int:
        """How many records have no text."""
        return len(self.of) - len(self.images)


def set_texts(
    records: Sequence[Mapping[str, Sequence[str]]],
    captions: Sequence[str],
    *,
    template: str = "{}",
    captions_per_image: int | None = None,
) -> SetTexts:
    """Read the texts of a set; equal texts are one text.

    Args:
        records: the captions of each record: caption source name -> texts.
        captions: caption sources or patterns, see `record_texts`.
        template: what every text is put into, at {}.
        captions_per_image: how many texts of a record are kept, the first ones; None keeps all.

    Raises:
        ConfigError: for a caption source that no record has, another number or template, or if no
            record has a text.
    """
    check_sources(records, captions, "captions")
    if captions_per_image is not None:
        options.whole(captions_per_image, "captions_per_image")
    of = [record_texts(one, captions)[:captions_per_image] for one in records]
    images = [i for i, texts in enumerate(of) if texts]
    if not images:
        raise ConfigError(f"captions = {list(captions)!r} gives no record a text.")
    texts, pairs = pair_up(of)
    return SetTexts(of, images, texts, [fill(template, t, "template") for t in texts], pairs)


def pair_up(texts_per_image: Sequence[Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """Merge equal texts.

    Returns:
        The distinct texts in the order of their first appearance, and [M, 2] (image, text).
    """
    position: dict[str, int] = {}
    pairs = set()
    for image, texts in enumerate(texts_per_image):
        for text in texts:
            pairs.add((image, position.setdefault(text, len(position))))
    return list(position), np.array(sorted(pairs), np.int64).reshape(-1, 2)


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
    is_list = isinstance(wanted, list | tuple) and wanted
    if not is_list or not all(isinstance(entry, str) for entry in wanted):
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
    if not isinstance(template, str) or template.count("{}") != 1:
        raise ConfigError(f"{option}: the template {template!r} needs exactly one {{}}.")
    return template.replace("{}", name)
