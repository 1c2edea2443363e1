"""How classes are put into words: their prompts, in English and in other languages."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bigclip.config import ConfigError, suggest
from bigclip.evals.labels import Labels
from bigclip.evals.texts import fill
from bigclip.evals.zero_shot.classes import Class, read_classes
from bigclip.evals.zero_shot.prompts import is_table, read_templates

_OPTIONS = ("classes", "names", "templates")


class Naming(NamedTuple):
    """Classes in one language.

    Attributes:
        classes: positions among all classes of those that have a name.
        templates: the prompts, T of them.
        prompts: for each class, for each template, its prompts: one for each of its names.
    """

    classes: list[int]
    templates: list[str]
    prompts: list[list[list[str]]]

    def ensembles(self, position: Mapping[str, int]) -> list[list[int]]:
        """Return for each class all its prompts, as numbers."""
        return [[position[p] for part in parts for p in part] for parts in self.prompts]

    def alone(self, template: int, position: Mapping[str, int]) -> list[list[int]]:
        """Return for each class its prompts by one template, as numbers."""
        return [[position[p] for p in parts[template]] for parts in self.prompts]


def name_classes(
    classes: Sequence[Class], templates: Sequence[str], positions: Sequence[int] | None = None
) -> Naming:
    """Put every name of every class into every template."""
    prompts = [
        [[fill(template, name, "templates") for name in cls.names] for template in templates]
        for cls in classes
    ]
    positions = range(len(classes)) if positions is None else positions
    return Naming(list(positions), list(templates), prompts)


def read_languages(
    languages: Mapping[str, Any] | None,
    every: Sequence[Class],
    classes: Sequence[Class],
    labels: Labels,
    captions: Sequence[Mapping[str, Sequence[str]]],
) -> dict[str, Naming]:
    """Read the names of the classes in further languages.

    Args:
        languages: language -> {"classes": ..., "names": ..., "templates": ...}, options as of the
            suite; or the classes alone.
        every: the classes as they are named otherwise.
        classes: those of them that are candidates.
        labels: of the records.
        captions: of each record, for names that come from the records.

    Returns:
        Language -> its naming. A class without a name in a language is left out of it.

    Raises:
        ConfigError: for an option that there is not, a list of names of another length than
            `every`, or a language without any of the classes.
    """
    if languages is not None and not hasattr(languages, "items"):
        raise ConfigError(f"languages = {languages!r}: needs a dict language -> its names.")
    position = {cls.label: i for i, cls in enumerate(classes)}
    found = {}
    for language, block in (languages or {}).items():
        option = f"languages.{language}"
        keys = set(block) if hasattr(block, "items") else set()
        if not keys or not keys <= set(_OPTIONS):
            if keys & set(_OPTIONS):
                wrong = sorted(keys - set(_OPTIONS))[0]
                raise ConfigError(f"{option}: unknown key {wrong!r}.{suggest(wrong, _OPTIONS)}")
            block = {"classes": block}
        templates = block.get("templates", ["{}"])
        if isinstance(templates, str) and is_table(templates):
            raise ConfigError(f"{option}.templates: the tables are English; give prompts.")
        named = read_classes(
            labels,
            block.get("classes"),
            captions,
            block.get("names"),
            option=option,
            like=every,
        )
        kept = sorted((position[c.label], c) for c in named if c.label in position)
        if not kept:
            raise ConfigError(
                f"{option} names none of the classes, which are {classes[0].label!r}, ...; it has "
                f"{named[0].label!r}, ..."
            )
        found[language] = name_classes(
            [cls for _, cls in kept],
            read_templates(templates, f"{option}.templates"),
            [i for i, _ in kept],
        )
    return found
