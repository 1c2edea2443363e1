"""What a picture may be called: lists of labels and prompt templates, from files or from a page."""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from bigclip.config import ConfigError
from bigclip.evals.texts import fill
from bigclip.evals.zero_shot import prompts
from bigclip.serving.galleries import Entry

MAX_LABELS = 1000
MAX_TEMPLATES = 100
MAX_PROMPTS = 5000  # labels x templates; each is a pass of the text tower
MAX_CHARACTERS = 300
TEMPLATES = ("{}",)


class BadInput(ValueError):
    """What was asked makes no sense; the message is for the person who asked."""


def read_labels(path: str) -> list[str]:
    """Read labels from a file: one a line, or a JSON list in a .json.

    Raises:
        ConfigError: if it cannot be read, or holds none or too many.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
        lines = json.loads(text) if path.lower().endswith(".json") else text.splitlines()
        return check_labels(lines)
    except OSError as error:
        raise ConfigError(f"--labels: cannot read {path}: {error.strerror}.") from error
    except BadInput as error:
        raise ConfigError(f"--labels: {path}: {error}") from error
    except ValueError as error:  # no UTF-8, no JSON
        raise ConfigError(f"--labels: cannot read {path}: {error}.") from error


def read_templates(value: str) -> list[str]:
    """Read prompt templates, each with one {} where the label goes.

    Args:
        value: a file as for `read_labels`, or a published table such as "clip:food101", as in the
            suite `zero_shot`.

    Raises:
        ConfigError: if there is no such file or table, or it holds something else or too much.
    """
    try:
        return check_templates(prompts.read_templates(value, "--templates"))
    except BadInput as error:
        raise ConfigError(f"--templates: {value}: {error}") from error


def default_labels(entries: Iterable[Entry]) -> list[str]:
    """Return what the pictures themselves are called, or a short list of everyday things.

    Texts that are too long for a label are captions, and say little about other pictures.
    """
    found = {e.label for e in entries if e.label and len(e.label) <= 60}
    if len(found) > 1:
        return sorted(found, key=str.casefold)[:MAX_LABELS]
    text = resources.files("bigclip.serving").joinpath("everyday.txt").read_text(encoding="utf-8")
    return check_labels(text.splitlines())


def check_labels(labels: Sequence[str]) -> list[str]:
    """Strip labels, drop empty and repeated ones.

    Raises:
        BadInput: if there are too many, none, or one is too long.
    """
    found = _stripped(labels, "label")
    if not found:
        raise BadInput("there is no label: write at least one, a line each.")
    if len(found) > MAX_LABELS:
        raise BadInput(f"{len(found):,} labels are too many; at most {MAX_LABELS:,}.")
    return found


def check_templates(templates: Sequence[str]) -> list[str]:
    """Strip templates, as `check_labels`; an empty list becomes the bare label."""
    found = _stripped(templates, "template") or list(TEMPLATES)
    if len(found) > MAX_TEMPLATES:
        raise BadInput(f"{len(found):,} templates are too many; at most {MAX_TEMPLATES}.")
    try:
        for template in found:
            fill(template, "", "templates")
    except ConfigError as error:
        raise BadInput(str(error)) from None
    return found


def prompts_of(labels: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """Put each label into each template: [C][T] texts.

    Raises:
        BadInput: if that makes too many.
    """
    if len(labels) * len(templates) > MAX_PROMPTS:
        raise BadInput(
            f"{len(labels):,} labels in {len(templates)} templates are too many texts; at most "
            f"{MAX_PROMPTS:,}."
        )
    return [[fill(template, label, "templates") for template in templates] for label in labels]


def check_text(text: object, what: str) -> str:
    """Return a text that tokenizers can take: stripped, without half characters.

    Raises:
        BadInput: if it is none, or too long.
    """
    if not isinstance(text, str):
        raise BadInput(f"a {what} must be text.")
    if len(text) > MAX_CHARACTERS:
        raise BadInput(f"a {what} has {len(text):,} characters; at most {MAX_CHARACTERS}.")
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = text.removeprefix("\ufeff")  # a byte order mark, as some editors begin a file with
    shown = "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)
    return shown.strip()


def _stripped(texts: Sequence[str], what: str) -> list[str]:
    if not isinstance(texts, list | tuple):
        raise BadInput(f"a list of {what}s is needed.")
    return [text for text in dict.fromkeys(check_text(text, what) for text in texts) if text]
