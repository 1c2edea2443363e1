"""Which records a run uses at all, and which of their captions.

A filter looks at what is cheap: ids, texts, fields of the .json, and the header of the picture.
It changes no record but by leaving captions away, and its verdict depends on the record alone.
What depends on other records (`first_texts`) is for passes over a whole source beforehand.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bigclip.config import ConfigError
from bigclip.data.id_lists import IdList
from bigclip.data.image_size import image_size
from bigclip.data.records import Record

RULES = (
    "denied",  # its id is on a deny list
    "not_kept",  # its id is on no keep list
    "text_length",  # no caption is of an allowed length
    "score_missing",  # a score is not there, or is no number
    "score",
    "min_side",
    "max_aspect_ratio",
    "duplicate_text",  # an earlier record has it; of passes with `FirstTexts`
)
_WHERE = "config.data.filters"


class Rejected(Exception):
    """A record that the run does not want, though nothing is broken about it.

    Attributes:
        key: of the record.
        rule: which it breaks, one of `RULES`; rejected records are counted under this name.
    """

    def __init__(self, key: str, rule: str):
        super().__init__(key, rule)  # both in args, so that it survives pickling
        self.key = key
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.key}: filtered out by {self.rule}"


class Filter:
    """The rules, checked; call it with a record. False where no rule is active.

    Filters of equal settings are equal. It can be pickled; long id lists are shared, see `IdList`.
    """

    def __init__(
        self,
        *,
        min_side: int | None = None,
        max_aspect_ratio: float | None = None,
        min_words: int | None = None,
        max_words: int | None = None,
        min_characters: int | None = None,
        max_characters: int | None = None,
        scores: Mapping[str, Any] | None = None,
        deny_ids: str | Sequence[str] | None = None,
        keep_ids: str | Sequence[str] | None = None,
        id_field: str = "uid",
        duplicate_texts: bool = False,
    ):
        """Check the rules and read the id lists.

        Args:
            min_side: pixels, the least that the shorter side may have.
            max_aspect_ratio: the most that longer side / shorter side may be.
            min_words: of a caption, separated by white space. Captions outside of these four
                limits are taken away from their record; a record needs one that stays.
            max_words: likewise.
            min_characters: likewise, of Unicode.
            max_characters: likewise.
            scores: field of the .json -> [least, most], both allowed values; None for no limit.
                A field within a field is written "clip.score", or as a mapping of its own,
                {"clip": {"score": [0.28, None]}}, since a ConfigDict takes no dots. Several
                fields must all be right.
            deny_ids: a path or several; records on one of these lists are left out.
            keep_ids: likewise; records on none of these lists are left out.
            id_field: field of the .json that is a record's id; where it is missing, the last
                part of its key is ("000123" of "train-00003.tar/000123"). A list may name whole
                keys, too, for shards that give the same names again.
            duplicate_texts: whether records with a text of an earlier record are left out. A
                call knows one record only: `apply_filters` sees to this, for sources that it can
                go through beforehand.

        Raises:
            ConfigError: if a limit makes no sense or a list cannot be read.
        """
        least = {
            "min_side": (min_side, 1),
            "max_aspect_ratio": (max_aspect_ratio, 1),
            "min_words": (min_words, 0),
            "max_words": (max_words, 1),
            "min_characters": (min_characters, 0),
            "max_characters": (max_characters, 1),
        }
        for name, (value, bound) in least.items():
            kind, word = ((int, float), "a") if name == "max_aspect_ratio" else (int, "a whole")
            if value is not None and not (_is_number(value, kind) and value >= bound):
                raise ConfigError(
                    f"{_WHERE}.{name} must be {word} number of at least {bound}, or None for no "
                    f"limit, not {value!r}"
                )
        for unit in ("words", "characters"):
            low, high = least[f"min_{unit}"][0], least[f"max_{unit}"][0]
            if low is not None and high is not None and low > high:
                raise ConfigError(
                    f"{_WHERE}.min_{unit} {low} is more than max_{unit} {high}: no caption can "
                    "pass; change one"
                )
        if not isinstance(id_field, str) or not id_field:
            raise ConfigError(
                f'{_WHERE}.id_field must be the name of a field, such as "uid", not {id_field!r}'
            )
        self.min_side = min_side
        self.max_aspect_ratio = max_aspect_ratio
        self.words = _limits(min_words, max_words)
        self.characters = _limits(min_characters, max_characters)
        self.scores = _score_limits(scores or {}, ())
        self.id_field = id_field
        self._settings = {name: value for name, (value, _) in least.items()}
        self._settings["scores"] = {
            name: [None if math.isinf(bound) else bound for bound in limits]
            for name, limits in self.scores.items()
        }
        self._settings["deny_ids"] = _paths(deny_ids, "deny_ids")
        self._settings["keep_ids"] = _paths(keep_ids, "keep_ids")
        self._settings["id_field"] = id_field
        self.duplicate_texts = self._settings["duplicate_texts"] = bool(duplicate_texts)
        self.deny_lists = _read_all(self._settings["deny_ids"], "deny_ids")
        self._kept = _read_all(self._settings["keep_ids"], "keep_ids")
        if self._settings["keep_ids"] and not self._kept:
            raise ConfigError(f"{_WHERE}.keep_ids: the lists hold no id; None keeps all records")

    @property
    def rules(self) -> tuple[str, ...]:
        """Those of `RULES` that this filter may reject by, in their order."""
        active = {
            "denied": self.deny_lists,
            "not_kept": self._kept,
            "text_length": self.words or self.characters,
            "score_missing": self.scores,
            "score": self.scores,
            "min_side": self.min_side,
            "max_aspect_ratio": self.max_aspect_ratio,
            "duplicate_text": self.duplicate_texts,
        }
        return tuple(rule for rule in RULES if active.get(rule))

    def __bool__(self) -> bool:
        return bool(self.rules)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self._settings == other._settings

    def __repr__(self) -> str:
        return f"Filter({', '.join(self.rules)})"

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data: `Filter(**filter.to_dict())` is this filter."""
        return copy.deepcopy(self._settings)

    def __call__(self, record: Record) -> Record:
        """Let a record pass.

        Returns:
            The record, without the captions of a wrong length.

        Raises:
            Rejected: by the first rule that it breaks; the cheap ones come first.
        """
        if self.deny_lists or self._kept:
            self._check_id(record)
        if self.words or self.characters:
            record = self._with_fit_captions(record)
        for field, (least, most) in self.scores.items():
            score = _field(record.metadata, field)
            if not _is_number(score, (int, float)) or math.isnan(score):
                raise Rejected(record.key, "score_missing")
            if not least <= score <= most:
                raise Rejected(record.key, "score")
        if self.min_side or self.max_aspect_ratio:
            self._check_size(record)
        return record

    def _check_id(self, record: Record):
        found = _field(record.metadata, self.id_field)
        names = {record.key, record.key.rpartition("/")[2] if found is None else str(found)}
        if any(name in ids for ids in self.deny_lists for name in names):
            raise Rejected(record.key, "denied")
        if self._kept and not any(name in ids for ids in self._kept for name in names):
            raise Rejected(record.key, "not_kept")

    def _with_fit_captions(self, record: Record) -> Record:
        kept = {}
        for source, texts in record.captions.items():
            fit = [text for text in texts if self._fits(text)]
            if fit:
                kept[source] = fit
        if not kept:
            raise Rejected(record.key, "text_length")
        return record if kept == record.captions else record._replace(captions=kept)

    def _fits(self, text: str) -> bool:
        if self.characters and not self.characters[0] <= len(text) <= self.characters[1]:
            return False
        return not self.words or self.words[0] <= len(text.split()) <= self.words[1]

    def _check_size(self, record: Record):
        size = image_size(record.image)
        if size is None or not min(size):
            return  # broken, which is not this filter's business: decoding counts it
        if self.min_side and min(size) < self.min_side:
            raise Rejected(record.key, "min_side")
        if self.max_aspect_ratio and max(size) > self.max_aspect_ratio * min(size):
            raise Rejected(record.key, "max_aspect_ratio")


def _limits(least: int | None, most: int | None) -> tuple[float, float] | None:
    if not least and most is None:
        return None
    return least or 0, math.inf if most is None else most


def _score_limits(scores: Any, path: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Flatten mappings within mappings into "outer.inner" -> (least, most)."""
    place = f"{_WHERE}.scores"
    if not hasattr(scores, "items"):
        raise ConfigError(f"{place} must map fields to [least, most], not be {scores!r}")
    limits = {}
    for name, value in scores.items():
        field = ".".join((*path, str(name)))
        if hasattr(value, "items"):
            limits |= _score_limits(value, (*path, str(name)))
            continue
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise ConfigError(
                f"{place}.{field} must be [least, most], either of them None, not {value!r}"
            )
        if any(bound is not None and not _is_number(bound, (int, float)) for bound in value):
            raise ConfigError(f"{place}.{field} must hold numbers or None, not {value!r}")
        least, most = (
            edge if bound is None else bound
            for bound, edge in zip(value, (-math.inf, math.inf), strict=True)
        )
        if not least <= most:
            raise ConfigError(
                f"{place}.{field} [{least}, {most}] lets no number pass: write the smaller first"
            )
        limits[field] = least, most
    return limits


def _field(metadata: Mapping[str, Any], name: str) -> Any:
    """Return a field, "outer.inner" within another one; None if there is none."""
    if name in metadata:
        return metadata[name]
    value: Any = metadata
    for part in name.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _is_number(value: object, kind) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _paths(paths: str | Sequence[str] | None, name: str) -> list[str]:
    listed = [] if paths is None else [paths] if isinstance(paths, str) else list(paths)
    if not all(isinstance(path, str) and path for path in listed):
        raise ConfigError(f"{_WHERE}.{name} must be a path or a list of paths, not {paths!r}")
    return listed


def _read_all(paths: Sequence[str], name: str) -> list[IdList]:
    lists = [IdList.read(path, key=f"{_WHERE}.{name}") for path in paths]
    return [ids for ids in lists if len(ids)]
