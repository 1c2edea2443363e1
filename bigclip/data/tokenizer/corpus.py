"""The captions to learn a tokenizer from: those of a source, or of text files."""

import gzip
import os
from collections.abc import Iterable, Iterator, Sequence

from bigclip.config import ConfigError
from bigclip.data.records import BadRecord, Record

_BATCH = 64  # of encoded pictures that are read for nothing; more would only fill the memory


def captions_of_source(
    source, *, caption_sources: Sequence[str] | None = None, max_records: int = 500_000
) -> Iterator[str]:
    """Yield the captions of a source's records; broken records are passed over.

    Args:
        source: of records. One that is read as a stream tells a sample of itself by
            `sample_records(num)`; of any other, records are taken evenly.
        caption_sources: which captions; all by default.
        max_records: read at most so many.
    """
    if hasattr(source, "sample_records"):
        records = source.sample_records(max_records)
    else:
        stride = max(-(-len(source) // max_records), 1)
        records = _records_at(source, range(0, len(source), stride))
    for record in records:
        names = sorted(record.captions) if caption_sources is None else caption_sources
        for name in names:
            yield from record.captions.get(name, ())


def _records_at(source, indexes: Sequence[int]) -> Iterator[Record]:
    for start in range(0, len(indexes), _BATCH):
        batch = list(indexes[start : start + _BATCH])
        if hasattr(source, "__getitems__"):
            try:
                yield from source.__getitems__(batch)
                continue
            except BadRecord:
                pass  # one of them; which, only single reads can tell
        for index in batch:
            try:
                yield source[index]
            except BadRecord:
                continue  # counted, named and judged when the batches are opened


def captions_of_files(paths: Iterable[str]) -> Iterator[str]:
    """Yield the lines of text files (.gz too) that are not blank.

    Raises:
        ConfigError: if a file cannot be read or is not UTF-8.
    """
    for path in paths:
        place = os.path.expanduser(path)
        try:
            with (gzip.open if place.endswith(".gz") else open)(place, "rt", encoding="utf-8") as f:
                for line in f:
                    if line.strip():
                        yield line.strip()
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read captions from {place}: {error}") from None
