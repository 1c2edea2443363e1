"""Rows of folders of picture files."""

import functools
import os
from collections.abc import Iterator, Sequence

from bigclip.config import ConfigError
from bigclip.data.convert.rows import Piece
from bigclip.data.folder_source import FolderSource
from bigclip.data.records import BadRecord, Record


class FolderRows:
    """The records of a `FolderSource` as `Rows`."""

    def __init__(
        self,
        folder: str,
        *,
        caption_key: str = "captions",
        templates: Sequence[str] = ("a photo of a {}.",),
    ):
        """List the folder; arguments as of `FolderSource`.

        Raises:
            ConfigError: if there are no pictures, or some of them belong to no class.
        """
        try:
            self._source = FolderSource(folder, caption_key=caption_key, templates=templates)
        except ConfigError as error:
            raise ConfigError(
                f"--input: {error} (with a list of captions: --kind table)"
            ) from error
        self.files = [os.path.join(folder, name) for name in self._source.files]
        self.lost = [
            BadRecord(name, "incomplete_sample", reason)
            for name, _, reason in (fault.rpartition(": ") for fault in self._source.faults)
        ]

    def __len__(self) -> int:
        return len(self._source)

    def piece(self, start: int, stop: int) -> Piece:
        """See `Rows`."""
        return functools.partial(_read_all, self._source.part(start, stop))


def _read_all(source: FolderSource) -> Iterator[Record | BadRecord]:
    for row in range(len(source)):
        try:
            yield source[row]
        except BadRecord as error:
            yield error
