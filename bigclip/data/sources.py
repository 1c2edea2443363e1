"""Where records come from.

A source is anything with `len(source)` and `source[i] -> Record`, that can be pickled and read
from several threads; it raises `BadRecord` for a record that is broken. Sources may tell, in
`num_lost` and `faults`, what was left out already when they were opened.
"""

from typing import Protocol

from bigclip.config import call, choose
from bigclip.data.records import Record
from bigclip.data.tfds_source import TfdsSource
from bigclip.data.webdataset import WebDataset


class Source(Protocol):
    """Random access to records."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


SOURCES = {"webdataset": WebDataset, "tfds": TfdsSource}


def open_source(*, kind: str, **options) -> Source:
    """Open a source by its kind.

    Args:
        kind: "webdataset" or "tfds".
        **options: keyword arguments of the source, see `WebDataset` and `TfdsSource`.

    Raises:
        ConfigError: if the kind is unknown, or the data cannot be opened as described.
    """
    return call(choose(kind, SOURCES, "config.data.source.kind"), options, "data.source")
