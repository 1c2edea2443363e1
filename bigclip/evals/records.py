"""The records of an evaluation set: what the suites need of them, and a hash of what they hold."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging

from bigclip.config import ConfigError, suggest
from bigclip.data.records import BadRecord


class Records(NamedTuple):
    """A set of records without its pictures, which stay in the source until they are embedded.

    Attributes:
        source: the source, for the pictures.
        index: position of each record in the source.
        key: name of each record, for messages.
        captions: caption source name -> texts, for each record.
        metadata: whatever else each record holds.
        fingerprint: hash over pictures, captions and metadata, in order; where the files lie does
            not enter it.
        digests: hash of each record's picture.
    """

    source: Any
    index: list[int]
    key: list[str]
    captions: list[dict[str, list[str]]]
    metadata: list[dict[str, Any]]
    fingerprint: str
    digests: Sequence[bytes] = ()


def read_records(source: Any, *, where: Mapping[str, Any] | None = None) -> Records:
    """Read all records of a source once and keep those that match.

    Args:
        source: a sequence of records.
        where: metadata key -> the value, or the list of values, that a kept record has.

    Raises:
        ConfigError: if a record is broken, or if none is kept; names it, or the values there are.
    """
    if getattr(source, "num_lost", 0):
        logging.warning(
            "%d samples of an evaluation set are there in part only, and left out; the first: %s",
            source.num_lost,
            source.faults[0],
        )
    records = Records(source, [], [], [], [], "")
    digest, digests = hashlib.sha256(), []
    seen: dict[str, set] = {name: set() for name in where or {}}
    for index in range(len(source)):
        try:
            record = source[index]
        except BadRecord as error:
            raise ConfigError(
                f"{error}. An evaluation set is taken whole: mend the record, or remove it."
            ) from error
        for name in seen:
            seen[name].add(str(record.metadata.get(name)))
        if not _matches(record.metadata, where or {}):
            continue
        records.index.append(index)
        records.key.append(record.key)
        records.captions.append(dict(record.captions))
        records.metadata.append(dict(record.metadata))
        digests.append(hashlib.sha256(record.image).digest()[:16])
        digest.update(digests[-1])
        digest.update(digest_text([record.captions, record.metadata]).encode())
    if not records.index:
        if not len(source):
            raise ConfigError("the source of an evaluation suite holds no record.")
        there = "; ".join(f"{name}: {', '.join(sorted(values))}" for name, values in seen.items())
        raise ConfigError(
            f"where = {dict(where or {})!r} keeps none of {len(source)} records. There are {there}."
        )
    return records._replace(fingerprint=digest.hexdigest()[:16], digests=digests)


def digest_text(value: Any) -> str:
    """Return a short hash of plain data, the same for equal data."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def metadata_values(records: Records, name: str, option: str) -> list[str]:
    """Return one metadata value per record, as text.

    Raises:
        ConfigError: if a record has no such key; names the suite's option and the nearest key.
    """
    values = []
    for key, metadata in zip(records.key, records.metadata, strict=True):
        if metadata.get(name) is None:
            raise ConfigError(
                f"{option} = {name!r}: record {key} has no such metadata key."
                f"{suggest(name, metadata)}"
            )
        values.append(str(metadata[name]))
    return values


def unique(values: Sequence[str]) -> list[str]:
    """Return the distinct values in the order of their first appearance."""
    return list(dict.fromkeys(values))


def _matches(metadata: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    for name, wanted in where.items():
        choices = wanted if isinstance(wanted, list | tuple) else [wanted]
        if metadata.get(name) not in choices:
            return False
    return True
