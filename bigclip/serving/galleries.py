"""Where the demo's pictures come from: a folder of files, or the records of a source.

A gallery numbers its pictures when it is made. Whoever asks for one later gives this number and
never a path, so a request cannot name anything that was not found in the beginning.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from bigclip.config import ConfigError
from bigclip.data.folder_source import PICTURES
from bigclip.data.records import caption_of, title_of
from bigclip.data.sources import Source, open_random_access


class Entry(NamedTuple):
    """What is known of a picture without decoding it.

    Attributes:
        key: changes when the picture does.
        name: for people.
        label: a short text of its own that says what is shown; None where there is none.
    """

    key: str
    name: str
    label: str | None


class Gallery(Protocol):
    """A numbered collection of pictures. Threads may share it.

    Attributes:
        title: where the pictures are from, for people.
        place: the same, exactly; names the cache.
    """

    title: str
    place: str

    def __len__(self) -> int: ...

    def look(self, number: int) -> Entry:
        """Tell of a picture. Raises OSError or BadRecord where it cannot be read."""

    def read(self, number: int) -> bytes:
        """Return its encoded bytes. Raises as `look`."""


class FolderGallery:
    """The picture files of a folder and of the folders in it.

    Hidden files and folders are left out. A link to a file counts if the file lies in the folder,
    too; links to folders are not followed.
    """

    def __init__(self, folder: str):
        """List the folder.

        Raises:
            ConfigError: if it cannot be listed, or holds no picture.
        """
        self.place = os.path.realpath(os.path.expanduser(folder))
        self.title = os.path.basename(self.place) or self.place
        if not os.path.isdir(self.place):
            what = "is a file" if os.path.exists(self.place) else "does not exist"
            raise ConfigError(f"--pictures: {folder} {what}; name a folder with pictures.")
        self._names = sorted(self._find())
        if not self._names:
            raise ConfigError(
                f"--pictures: no picture lies in {folder} or in a folder of it. Files count whose "
                f"names end in {', '.join(PICTURES)}."
            )

    def __len__(self) -> int:
        return len(self._names)

    def look(self, number: int) -> Entry:
        """See `Gallery`; the key is made of name, size and time of change."""
        name = self._names[number]
        status = os.stat(os.path.join(self.place, name))
        key = f"{name}\0{status.st_size}\0{status.st_mtime_ns}"
        return Entry(key, _printable(name), None)

    def read(self, number: int) -> bytes:
        """See `Gallery`."""
        path = os.path.join(self.place, self._names[number])
        real = os.path.realpath(path)
        if not self._is_inside(real):  # exchanged for a link since the folder was listed
            raise PermissionError(errno.EACCES, "leads out of the folder", self._names[number])
        # O_NONBLOCK: opening a pipe would wait for a writer.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "is no plain file", self._names[number])
            return file.read()

    def _find(self) -> Iterator[str]:
        for place, folders, files in os.walk(self.place):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                path = os.path.join(place, name)
                if name.startswith(".") or not name.lower().endswith(PICTURES):
                    continue
                real = os.path.realpath(path)
                if self._is_inside(real) and os.path.isfile(real):
                    yield os.path.relpath(path, self.place)

    def _is_inside(self, real: str) -> bool:
        return os.path.commonpath([self.place, real]) == self.place


class RecordGallery:
    """The pictures of a source of records."""

    def __init__(self, source: Source, *, title: str, place: str):
        self._source = source
        self.title, self.place = title, place

    def __len__(self) -> int:
        return len(self._source)

    def look(self, number: int) -> Entry:
        """See `Gallery`; the key is a hash of the encoded picture."""
        record = self._source[number]
        key = hashlib.sha256(record.image).hexdigest()
        return Entry(key, title_of(record) or record.key, caption_of(record))

    def read(self, number: int) -> bytes:
        """See `Gallery`."""
        return self._source[number].image


def open_shards(shards: str) -> RecordGallery:
    """Open the pictures of webdataset shards, a path with braces or a glob.

    Raises:
        ConfigError: if there are none, or they cannot be read.
    """
    source = _open({"kind": "webdataset", "shards": shards}, "--shards")
    return RecordGallery(source, title=os.path.basename(shards), place=f"shards\0{shards}")


def open_evaluation(config: Mapping[str, Any]) -> RecordGallery:
    """Open the pictures that a run evaluates itself with: those of its first suite with a source.

    Args:
        config: the run's configuration, as the manifest has it.

    Raises:
        ConfigError: if there is no such suite, or its data is not on this machine.
    """
    for name, block in (config.get("evals") or {}).items():
        if block and block.get("source"):
            source = _open(block["source"], f"the pictures of the run's suite {name!r}")
            place = f"evaluation\0{sorted(block['source'].items())!r}"
            return RecordGallery(source, title=f"evaluation set {name}", place=place)
    raise ConfigError(
        "this run has no evaluation pictures to show: say which ones to search, with "
        "--pictures FOLDER or --shards 'x.tar'."
    )


def _open(block: Mapping[str, Any], what: str) -> Source:
    try:
        source = open_random_access(**block)
    except (ConfigError, TypeError) as error:
        mend = "" if what == "--shards" else " Give other pictures, with --pictures FOLDER."
        raise ConfigError(f"{what}: {error}.{mend}".replace("..", ".")) from error
    if not len(source):
        raise ConfigError(f"{what}: there are no records.")
    return source


def _printable(name: str) -> str:
    """File names may hold bytes that are no text."""
    return os.fsencode(name).decode("utf-8", "replace")
