"""The classes of a zero-shot suite: from the records, the configuration, a file or a table."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bigclip.config import ConfigError, suggest
from bigclip.evals.labels import Labels, class_index, read_labels
from bigclip.evals.records import Records
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
            or the caption source "name" where they do not.
        option: of the configuration, for messages.
        like: the same classes in another language: a list of as many names is in their order, and
            a class without a name in this one is left out.

    Raises:
        ConfigError: for a class without a name, a label twice, a numbering that the records'
            own names contradict, a file of another form.
    """
    if classes is None:
        return _from_records(labels, captions, names, f"{option}.names" if like else "names", like)
    if is_table(classes):
        table = read_table(classes, option)
        if table.classes is None:
            raise ConfigError(f"{option}: the table {classes!r} holds templates, but no classes.")
        return _from_list(labels, table.classes, table.ids, option, is_translated=False)
    value = read_file(classes, option) if isinstance(classes, str) else classes
    if hasattr(value, "items"):
        return _distinct([Class(str(label), _as_list(n)) for label, n in value.items()], option)
    if not isinstance(value, list | tuple) or not value:
        raise ConfigError(
            f"{option} must be names, a dict label -> names, a file with one of these or a table, "
            f"not {value!r}."
        )
    found = [_as_list(entry) for entry in value]
    if like and len(found) == len(like):
        return [Class(old.label, new) for old, new in zip(like, found, strict=True)]
    return _from_list(labels, found, None, option, is_translated=bool(like))


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
    wanted = read_file(candidates, option) if isinstance(candidates, str) else candidates
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


def _from_records(labels, captions, source, option, like) -> list[Class]:
    known = {cls.label for cls in like} or set(labels.distinct)
    found: dict[str, list[str]] = {}
    if source is None and not like:
        found = {label: [name] for label, name in labels.class_names.items() if name}
    if not found:
        source = source or "name"
        for own, texts in zip(labels.of, captions, strict=True):
            if len(own) == 1 and own[0] not in found and texts.get(source):
                found[own[0]] = [texts[source][0]]
    unnamed = [label for label in labels.distinct if label not in found and label in known]
    if (unnamed and not like) or not found:
        raise ConfigError(
            f"{option} = {source!r}: no record of the class {unnamed[0]!r} has a text of this "
            "caption source; name one, or give the classes."
            f"{suggest(source or '', {name for texts in captions for name in texts})}"
        )
    return [Class(label, found[label]) for label in sorted(found, key=_by_number)]


def _from_list(
    labels: Labels, names: list[list[str]], ids, option: str, *, is_translated: bool
) -> list[Class]:
    wanted, first = set(labels.distinct), [names[0] if names else "" for names in names]
    if not wanted <= set(ids or ()):
        _check_numbers(labels.distinct, first, option)
    for given in (ids, first):
        if given is not None and wanted <= set(given):
            return _distinct([Class(*one) for one in zip(given, names, strict=True)], option)
    found = [Class(str(i), one) for i, one in enumerate(names)]
    if not is_translated:  # the records' names are in another language
        spelled = _by_spelling(labels.distinct, names)
        if spelled is not None:
            return _distinct(spelled, option)
        _check_numbering(labels, found, ids, option)
    return _distinct(found, option)


def _check_numbers(labels: Sequence[str], names: Sequence[str], option: str) -> None:
    """Stop if labels are numbers that may be names or positions, and these are not the same.

    Of the names "10", "3", "4", ... the label 3 may be the name "3" or the position of "5". Labels
    that cannot all be positions are names.
    """
    if not set(labels) <= {str(i) for i in range(len(names))}:
        return
    if not set(labels) <= set(names) and not all(name.isdecimal() for name in names):
        return
    for label in labels:
        if names[int(label)] != label:
            raise ConfigError(
                f"{option}: the records' labels are numbers and so are the names: is {label} the "
                f"name {label!r}, or the position of {names[int(label)]!r}? Give a dict from the "
                "records' labels to names."
            )


def _by_spelling(labels: Sequence[str], names: list[list[str]]) -> list[Class] | None:
    """Match labels that are names but for case, blanks and punctuation; None if any does not."""
    called: dict[str, list[int]] = {}
    for i, one in enumerate(names):
        for name in dict.fromkeys(_spelling(name) for name in one):
            called.setdefault(name, []).append(i)
    label_of: dict[int, str] = {}
    for label in labels:
        meant = called.get(_spelling(label), [])
        if len(meant) != 1 or meant[0] in label_of:
            return None
        label_of[meant[0]] = label
    return [Class(label_of.get(i, one[0]), one) for i, one in enumerate(names) if one]


def _check_numbering(labels: Labels, classes: list[Class], ids, option: str) -> None:
    """Stop if records call their class by the name of another one of the list."""
    called: dict[str, set[int]] = {}
    for i, cls in enumerate(classes):
        for name in [*cls.names, *(ids[i : i + 1] if ids else ())]:
            called.setdefault(_spelling(name), set()).add(i)
    for label, name in labels.class_names.items():
        meant = called.get(_spelling(name), set())
        if meant and label not in {str(i) for i in meant}:
            raise ConfigError(
                f"{option}: the records' class {label} is called {name!r}, but that is number "
                f"{min(meant)} of the list: the data set numbers its classes otherwise. Take "
                "label = 'class_name', or give a dict from the records' labels to names."
            )


def _distinct(classes: list[Class], option: str) -> list[Class]:
    if len({cls.label for cls in classes}) < len(classes):
        raise ConfigError(
            f"{option}: two classes have one name; give a dict label -> name, or number the "
            "records' labels."
        )
    if not classes or not all(cls.names and all(cls.names) for cls in classes):
        raise ConfigError(f"{option}: every class needs at least one name.")
    return classes


def _as_list(names: Any) -> list[str]:
    found = [names] if isinstance(names, str) else names
    if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
        raise ConfigError(f"classes: {names!r} is neither a name nor a list of names.")
    return list(found)


def _spelling(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum()) or name


def _by_number(label: str) -> tuple:
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)
