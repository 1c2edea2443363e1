"""The classes of a zero-shot suite: from the records, the configuration, a file or a table."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bigclip.config import ConfigError, suggest
from bigclip.evals.labels import Labels, class_index, read_labels
from bigclip.evals.records import Records
from bigclip.evals.zero_shot.matching import labels_of_list
from bigclip.evals.zero_shot.prompts import is_table, read_file, read_table


class Class(NamedTuple):
    """One class: the label that records bear, and one or more names for the prompts."""

    label: str
    names: list[str]


class ClassSet(NamedTuple):
    """The classes that are ranked, and the records that are of them.

    Attributes:
        classes: those that are ranked.
        every: all classes, `classes` among them in the same order.
        labels: of all records.
        rows: positions of the records that are kept: those of a ranked class, and those that have
            no label at all.
        of: for each of these its classes, as positions in `classes`.
        num_left_out: how many records are not kept.
    """

    classes: list[Class]
    every: list[Class]
    labels: Labels
    rows: list[int]
    of: list[list[int]]
    num_left_out: int


def read_class_set(
    records: Records,
    *,
    label: str | None,
    names: str | None,
    classes: str | Sequence[Any] | Mapping[str, Any] | None,
    candidates: str | Sequence[Any] | None,
) -> ClassSet:
    """Read the classes of a set of records; options as of
    `bigclip.evals.zero_shot.suite.ZeroShot`.

    Raises:
        ConfigError: as `labels.read_labels`, `read_classes` and `keep_candidates`; or if no record
            is of a candidate.
    """
    labels = read_labels(records, label)
    every = read_classes(labels, classes, records.captions, names)
    index = class_index(labels, [cls.label for cls in every])
    kept = list(range(len(every)))
    if candidates is not None:
        ids = read_table(classes, "classes").ids if is_table(classes) else None
        kept = keep_candidates(every, candidates, ids=ids)
    position = {old: new for new, old in enumerate(kept)}
    rows = [row for row, own in enumerate(index) if not own or position.keys() & set(own)]
    of = [[position[c] for c in index[row] if c in position] for row in rows]
    if not any(of):
        raise ConfigError("candidates: no record is of any of these classes.")
    return ClassSet([every[i] for i in kept], every, labels, rows, of, len(index) - len(rows))


def read_classes(
    labels: Labels,
    classes: str | Sequence[Any] | Mapping[str, Any] | None,
    captions: Sequence[Mapping[str, Sequence[str]]],
    names: str | None,
    *,
    option: str = "classes",
    like: Sequence[Class] = (),
) -> list[Class]:
    """Return the classes.

    Args:
        labels: the labels of the records.
        classes: a list, of which each entry is a name or a list of names; a dict label -> name or
            list of names; the path of a .json file with one of these, or of another file with one
            name a line; the name of a table, as "clip:imagenet". Of a list, a record's label is
            the name itself (but for case, blanks and punctuation), or else its position; of a
            table, the identifier, the name, or else the position. None takes them from the
            records.
        captions: captions of each record, for the names of classes that come from the records.
        names: the caption source with the names; None takes what the records call "class_name",
            or the caption source "name" where they do not, or labels that are texts themselves.
        option: of the configuration, for messages.
        like: the same classes in another language: a list of names has as many, in their order;
            of a dict, a class without a name in this language is left out.

    Raises:
        ConfigError: for a class without a name, a file of another form, a list of another length
            than `like`; as `bigclip.evals.zero_shot.matching.labels_of_list`.
    """
    if classes is None:
        return _from_records(labels, captions, names, f"{option}.names" if like else "names", like)
    if is_table(classes):
        table = read_table(classes, option)
        if table.classes is None:
            raise ConfigError(f"{option}: the table {classes!r} holds templates, but no classes.")
        return _from_list(labels, table.classes, table.ids, option, like, is_table=True)
    value = read_file(classes, option, has_tables=True) if isinstance(classes, str) else classes
    if hasattr(value, "items"):
        by_label = {str(label): _as_list(names) for label, names in value.items()}
        if len(by_label) < len(value):
            raise ConfigError(f"{option}: two labels are one as a text, such as 1 and '1'.")
        _check_named(list(by_label.values()), option)
        return [Class(*one) for one in by_label.items()]
    if not isinstance(value, list | tuple) or not value:
        raise ConfigError(
            f"{option} must be names, a dict label -> names, a file with one of these or a table, "
            f"not {value!r}."
        )
    found = [_as_list(entry) for entry in value]
    if like:
        _check_named(found, option)
        if len(found) != len(like):
            raise _other_length(found, like, option)
        return [Class(old.label, new) for old, new in zip(like, found, strict=True)]
    return _from_list(labels, found, None, option, like)


def keep_candidates(
    classes: Sequence[Class],
    candidates: str | Sequence[Any],
    option: str = "candidates",
    *,
    ids: Sequence[str] | None = None,
) -> list[int]:
    """Return the positions of the classes that a mask keeps.

    Args:
        classes: all classes.
        candidates: their labels; a file with them; or a table, whose identifiers or names then
            stand for its classes.
        option: of the configuration, for messages.
        ids: the identifiers of the classes, in their order, where they come from a table.

    Raises:
        ConfigError: if a candidate is no class.
    """
    position = {cls.label: i for i, cls in enumerate(classes)}
    if is_table(candidates):
        return _positions_of_table(read_table(candidates, option), position, ids, option)
    wanted = candidates
    if isinstance(wanted, str):
        wanted = read_file(wanted, option, has_tables=True)
    wanted = [str(label) for label in wanted]
    for label in wanted:
        if label not in position:
            raise ConfigError(f"{option}: {label!r} is no class.{suggest(label, position)}")
    if not wanted:
        raise ConfigError(f"{option} names no class.")
    return sorted({position[label] for label in wanted})


def _positions_of_table(table, position: Mapping[str, int], ids, option: str) -> list[int]:
    if table.ids is None or table.classes is None:
        raise ConfigError(f"{option}: the table {table.name!r} has no classes with identifiers.")
    names = [names[0] for names in table.classes]
    # The numbers of a table count its own classes: of another list they would mask others.
    for wanted, there in (
        (table.ids, {one: i for i, one in enumerate(ids or ())}),
        (table.ids, position),
        (names, position),
    ):
        if set(wanted) <= there.keys():
            return sorted(there[one] for one in wanted)
    raise ConfigError(
        f"{option}: the classes of the table {table.name!r} are not among the labels, such as "
        f"{next(iter(position))!r}. Take the classes from a table that holds them, such as "
        "classes = 'clip:imagenet', or give the candidates' labels."
    )


def _from_records(labels, captions, given, option, like) -> list[Class]:
    source = given
    known = {cls.label for cls in like} or set(labels.distinct)
    found: dict[str, list[str]] = {}
    if given is None and not like:
        found = {label: [name] for label, name in labels.class_names.items() if name}
    if not found:
        source = given or "name"
        for own, texts in zip(labels.of, captions, strict=True):
            if len(own) == 1 and own[0] not in found and texts.get(source):
                found[own[0]] = [texts[source][0]]
    if not found and labels.are_names and not (given or like):
        found = {label: [label] for label in labels.distinct}
    unnamed = [label for label in labels.distinct if label not in found and label in known]
    if (unnamed and not like) or not found:
        raise ConfigError(
            f"{option} = {source!r}: no record of the class {unnamed[0]!r} has a text of this "
            "caption source; name one, or give the classes."
            f"{suggest(source or '', {name for texts in captions for name in texts})}"
        )
    return [Class(label, found[label]) for label in sorted(found, key=_by_number)]


def _from_list(
    labels: Labels,
    names: list[list[str]],
    ids,
    option: str,
    like: Sequence[Class],
    *,
    is_table: bool = False,
) -> list[Class]:
    _check_named(names, option)
    given = labels_of_list(labels, names, ids, option, is_table=is_table, is_translated=bool(like))
    is_by_position = given == [str(i) for i in range(len(names))]
    if like and is_by_position and len(names) != len(like):
        raise _other_length(names, like, option)
    return [Class(*one) for one in zip(given, names, strict=True)]


def _other_length(names: list[list[str]], like: Sequence[Class], option: str) -> ConfigError:
    return ConfigError(
        f"{option}: a list of {len(names):,} for {len(like):,} classes. Give one name for each, in "
        f"the order of the classes, which is {like[0].label!r}, ..., {like[-1].label!r}; or, where "
        "some have none, a dict label -> name."
    )


def _check_named(names: Sequence[Sequence[str]], option: str) -> None:
    if not names or not all(one and all(name.strip() for name in one) for one in names):
        raise ConfigError(f"{option}: every class needs at least one name.")


def _as_list(names: Any) -> list[str]:
    found = [names] if isinstance(names, str) else names
    if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
        raise ConfigError(f"classes: {names!r} is neither a name nor a list of names.")
    return list(found)


def _by_number(label: str) -> tuple:
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)
