"""Which class of a list a record's label means: its identifier, its name or its position.

A list does not say how a data set at hand counts its classes, and a wrong guess looks like a weak
model. Whatever the records themselves tell is therefore held against the list first.
"""

import re
from collections.abc import Mapping, Sequence

from bigclip.config import ConfigError
from bigclip.evals.labels import Labels

_WORDNET_ID = re.compile(r"n\d{8}")
_INITIAL = re.compile(r"^/[a-z]/")  # SUN397 files its classes so: "/a/airplane_cabin"
_DICT = "give a dict from the records' labels to names"


def labels_of_list(
    labels: Labels,
    names: Sequence[Sequence[str]],
    ids: Sequence[str] | None,
    option: str,
    *,
    is_table: bool = False,
    is_translated: bool = False,
) -> list[str]:
    """Return for each class of a list the label that the records give it.

    Args:
        labels: of the records.
        names: of each class, at least one.
        ids: of each class, where the list is a table with identifiers.
        option: of the configuration, for messages.
        is_table: whether the list is a published one.
        is_translated: whether the records' own names are in another language, and tell nothing.

    Raises:
        ConfigError: if two classes have the name that labels go by; if labels are numbers and so
            are the names; if the records name their classes otherwise than the list.
    """
    wanted, first = set(labels.distinct), [one[0] for one in names]
    if ids is not None and wanted <= set(ids):
        return list(ids)
    _check_numbers(labels.distinct, first, option)
    if wanted <= set(first):
        _check_told_apart(first, option)
        return first
    if not is_translated:
        spelled = _by_spelling(labels.distinct, names)
        if spelled is not None:
            _check_told_apart(spelled, option)
            return spelled
        told = _told_names(labels)
        _check_numbering(told, names, ids, option)
        if wanted <= {str(i) for i in range(len(names))}:
            _check_known(told, len(wanted), names, ids, option, is_table)
            if not is_table:
                _check_repeated(told, wanted, names, option)
    return [str(i) for i in range(len(names))]


def _told_names(labels: Labels) -> dict[str, str]:
    """Return what records call their labels, beyond the labels themselves."""
    return {label: name for label, name in labels.class_names.items() if name and name != label}


def _check_told_apart(found: Sequence[str], option: str) -> None:
    """Stop if records go by the names of classes, and two have one name."""
    twice = next((name for i, name in enumerate(found) if name in found[:i]), None)
    if twice is not None:
        raise ConfigError(
            f"{option}: the records' labels are names, and two classes have one name, {twice!r}. "
            f"Take labels that are the classes' identifiers or positions, or {_DICT}."
        )


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
                f"name {label!r}, or the position of {names[int(label)]!r}? {_DICT.capitalize()}."
            )


def _by_spelling(labels: Sequence[str], names: Sequence[Sequence[str]]) -> list[str] | None:
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
    return [label_of.get(i, one[0]) for i, one in enumerate(names)]


def _check_numbering(told: Mapping[str, str], names, ids, option: str) -> None:
    """Stop if records call their class by the name of another one of the list."""
    called = _places(names, ids)
    for label, name in told.items():
        meant = called.get(_spelling(name), set())
        if meant and label not in {str(i) for i in meant}:
            raise ConfigError(
                f"{option}: the records' class {label} is called {name!r}, but that is number "
                f"{min(meant)} of the list: the data set numbers its classes otherwise. Take "
                f"label = 'class_name', or {_DICT}."
            )


def _check_known(told: Mapping[str, str], num_labels: int, names, ids, option, is_table) -> None:
    """Stop if labels would be positions in a list that holds none of the records' own names."""
    called = _places(names, ids)
    if not told or any(_spelling(name) in called for name in told.values()):
        return
    are_ids = all(map(_WORDNET_ID.fullmatch, told.values()))
    if are_ids and not is_table and num_labels == len(names):
        return  # Identifiers cannot be among names; as many of them are the whole list.
    if all(name.isdecimal() for name in told.values()):
        # Folders "000", "001", ... or "001", "002", ... are numbers, in the order of the list.
        offsets = {int(name) - int(label) for label, name in told.items()}
        if offsets in ({0}, {1}):
            return
    label, name = next(iter(told.items()))
    raise ConfigError(
        f"{option}: the records' labels would be positions in a list of {len(names):,} classes, "
        f"but none of the names that the records give their classes is in it, such as {name!r} of "
        f"the label {label}. Leave out `classes` to take the records' own names, take the list of "
        f"this data set, or {_DICT}."
    )


def _check_repeated(told: Mapping[str, str], wanted: set[str], names, option: str) -> None:
    """Stop if classes have one name, and the records do not show that these are two.

    ImageNet's published list has "missile" and "sunglasses" twice: pictures of both numbers, which
    the records call nothing else, are what tells such a list from one with a slip.
    """
    places: dict[str, list[int]] = {}
    for i, one in enumerate(names):
        for name in dict.fromkeys(" ".join(name.casefold().split()) for name in one):
            places.setdefault(name, []).append(i)
    for name, found in places.items():
        if len(found) < 2:
            continue
        for i in found:
            called = told.get(str(i))
            known = called is None or _WORDNET_ID.fullmatch(called) or called.isdecimal()
            if str(i) in wanted and (known or _spelling(called) in map(_spelling, names[i])):
                continue
            why = f"the records call it {called!r}" if str(i) in wanted else "no record is of it"
            raise ConfigError(
                f"{option}: the classes {', '.join(map(str, found))} of the list have one name, "
                f"{name!r}; of {i}, {why}. Give every class a name of its own, or, where this is "
                f"meant, {_DICT}."
            )


def _places(names, ids) -> dict[str, set[int]]:
    called: dict[str, set[int]] = {}
    for i, one in enumerate(names):
        for name in [*one, *(ids[i : i + 1] if ids else ())]:
            called.setdefault(_spelling(name), set()).add(i)
    return called


def _spelling(name: str) -> str:
    plain = _INITIAL.sub("", name.casefold())
    return "".join(letter for letter in plain if letter.isalnum()) or name
