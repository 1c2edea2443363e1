"""Published class names and prompt templates, and the reading of one's own.

`FAMILY.NAME.json` in this folder is the table "FAMILY:NAME": "clip:food101" holds what the CLIP
paper classified Food101 with, "big_vision:clip_paper" the prompts that big_vision's evaluator of
LiT and SigLIP takes by default. Each names the file that it was read from; NOTICE says whose they
are. A table may stand on another one's classes ("classes_of") or templates ("templates_of").

Classes stand in the order of the published numbering. Whether a data set at hand numbers its
classes the same way is for `bigclip.evals.zero_shot.classes` to check.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bigclip.config import ConfigError, suggest
from bigclip.evals.texts import fill

_FOLDER = Path(__file__).parent


class Table(NamedTuple):
    """The published names of a data set's classes, and its prompts.

    Attributes:
        name: as in a configuration, "clip:imagenet_r".
        dataset: what it is for.
        source: where it was read.
        classes: for each class its names, mostly one; None for a table of templates alone.
        ids: for each class its identifier, as ImageNet's WordNet ids; None where there are none.
        templates: the prompts, each with one {}; None for a table of classes alone.
    """

    name: str
    dataset: str
    source: str
    classes: list[list[str]] | None
    ids: list[str] | None
    templates: list[str] | None


@functools.cache
def table_names() -> tuple[str, ...]:
    """Return the names of all tables."""
    return tuple(sorted(path.stem.replace(".", ":", 1) for path in _FOLDER.glob("*.*.json")))


def is_table(value: Any) -> bool:
    """Say whether a value of a configuration names a table, rather than a file."""
    families = {name.split(":")[0] for name in table_names()}
    return isinstance(value, str) and value.partition(":")[0] in families and ":" in value


def read_table(name: str, option: str) -> Table:
    """Read a table.

    Args:
        name: one of `table_names()`.
        option: of the configuration, for the message.

    Raises:
        ConfigError: if there is no such table; names the nearest one and lists all.
    """
    if name not in table_names():
        raise ConfigError(f"{option}: no table {name!r}.{suggest(name, table_names())}")
    path = _FOLDER / f"{name.replace(':', '.')}.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    classes, ids = stored.get("classes"), stored.get("ids")
    if "classes_of" in stored:
        whole = read_table(stored["classes_of"], option)
        if ids is None:
            classes, ids = whole.classes, whole.ids
        else:  # a part of another table's classes
            names = dict(zip(whole.ids, whole.classes, strict=True))
            classes = [names[one] for one in ids]
    elif classes is not None:
        classes = [[names] if isinstance(names, str) else names for names in classes]
    templates = stored.get("templates")
    if "templates_of" in stored:
        templates = read_table(stored["templates_of"], option).templates
    return Table(name, stored["dataset"], stored["source"], classes, ids, templates)


def read_templates(value: str | Sequence[str], option: str = "templates") -> list[str]:
    """Return the prompts that a configuration names.

    Args:
        value: a list of prompts; the name of a table; or the path of a .json file with a list, or
            of any other with one prompt a line. In files, {c} stands for {}, as CLIP_benchmark
            writes them.
        option: of the configuration, for messages.

    Raises:
        ConfigError: for a table or a file that is not there, or a prompt without exactly one {}.
    """
    if is_table(value):
        templates = read_table(value, option).templates
    elif isinstance(value, str) and "{}" in value:
        raise ConfigError(
            f"{option} must be a list of prompts, [{value!r}], or name a file of them."
        )
    elif isinstance(value, str):
        templates = read_file(value, option, has_tables=True)
        if isinstance(templates, list):
            templates = [t.replace("{c}", "{}") if isinstance(t, str) else t for t in templates]
    else:
        templates = list(value) if isinstance(value, list | tuple) else value
    if not isinstance(templates, list) or not templates:
        raise ConfigError(f"{option}: {value!r} must be a list of prompts with {{}}.")
    for template in templates:
        if not isinstance(template, str):
            raise ConfigError(f"{option} must be a list of prompts; {template!r} is none.")
        fill(template, "", option)
    return templates


def read_file(path: str, option: str, *, has_tables: bool = False) -> Any:
    """Return what a .json file holds, or the lines of any other that are not blank.

    Args:
        path: of a file in UTF-8, with a byte order mark or without.
        option: of the configuration, for messages.
        has_tables: whether the option may name a table instead.

    Raises:
        ConfigError: if the file is not there, cannot be read, or is no JSON. If the option may
            name a table, and the path looks like one, names the nearest.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        hint = _meant_table(path) if has_tables else ""
        raise ConfigError(f"{option}: cannot read {path}: there is no such file.{hint}") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or f"it is no text in UTF-8: {error}"
        raise ConfigError(f"{option}: cannot read {path}: {why}.") from error
    if not path.endswith(".json"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {path} is no JSON: {error}.") from error


def _meant_table(path: str) -> str:
    """Return the hint for a name without a file that may be a table's."""
    stems = {name.split(":")[1]: name for name in table_names()}
    if path in stems:
        return f" Did you mean the table {stems[path]!r}?"
    if "/" in path or Path(path).suffix:
        return ""
    return f" A path is meant, or one of the published tables.{suggest(path, table_names())}"
