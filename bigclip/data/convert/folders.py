"""Rows of folders of picture files."""

import functools
import json
import os
from collections.abc import Iterator, Sequence

from bigclip.config import ConfigError
from bigclip.data.convert.columns import label_captions, read_picture
from bigclip.data.convert.rows import Piece
from bigclip.data.records import BadRecord, Record, checked_captions

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_TEXTS = (".txt", ".json")


class FolderRows:
    """Pictures with a .txt or .json beside each; or, if there is none, sorted into classes.

    The first folder of a picture's path is then its class, and the classes are numbered in
    alphabetical order.
    """

    def __init__(
        self,
        folder: str,
        *,
        caption_key: str = "captions",
        templates: Sequence[str] = ("a photo of a {}.",),
    ):
        """List the folder, and the folders in it.

        Args:
            folder: where to look.
            caption_key: field of a .json that holds captions: a text, a list of texts, or a dict
                from caption source to either. A .txt becomes the caption source "txt".
            templates: what the name of a class is put into.

        Raises:
            ConfigError: if there are no pictures, or some of them belong to no class.
        """
        self.folder = folder
        names = sorted(_walk(folder))
        self._pictures = [name for name in names if name.lower().endswith(PICTURES)]
        if not self._pictures:
            raise ConfigError(f"--input: no picture lies in {folder} ({', '.join(PICTURES)})")
        stems = {os.path.splitext(name)[0] for name in self._pictures}
        texts = [name for name in names if name.lower().endswith(_TEXTS)]
        # A README.txt or a classes.json describes the data set, not a picture.
        beside = {name for name in texts if os.path.splitext(name)[0] in stems}
        self.lost: list[BadRecord] = []
        if beside:
            self.lost = [
                BadRecord(name, "incomplete_sample", "no picture beside it")
                for name in texts
                if name not in beside
            ]
            self._read = functools.partial(_read_beside, folder, caption_key)
        else:
            classes = sorted({name.split(os.sep)[0] for name in self._pictures})
            loose = [name for name in self._pictures if os.sep not in name]
            if loose:
                raise ConfigError(
                    f"--input: {folder} has neither texts beside its pictures nor a folder for "
                    f"each class; {loose[0]} lies in none (with a list of captions: --kind table)"
                )
            self._read = functools.partial(_read_class, folder, classes, tuple(templates))
        self.files = [os.path.join(folder, name) for name in [*self._pictures, *sorted(beside)]]

    def __len__(self) -> int:
        return len(self._pictures)

    def piece(self, start: int, stop: int) -> Piece:
        """See `Rows`."""
        return functools.partial(_read_all, self._read, self._pictures[start:stop])


def _walk(folder: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder)


def _read_all(read, pictures: list[str]) -> Iterator[Record | BadRecord]:
    for name in pictures:
        try:
            yield read(name)
        except BadRecord as error:
            yield error


def _read_class(folder: str, classes: list[str], templates: tuple[str, ...], name: str) -> Record:
    class_folder = name.split(os.sep)[0]
    class_name = class_folder.replace("_", " ")
    metadata = {"label": classes.index(class_folder), "class_name": class_name}
    captions = {"label": label_captions([class_name], templates)}
    image = read_picture(name, os.path.join(folder, name))
    return Record(name, image, checked_captions(name, captions), metadata)


def _read_beside(folder: str, caption_key: str, name: str) -> Record:
    stem = os.path.join(folder, os.path.splitext(name)[0])
    txt, described = (_content_or_none(stem + end) for end in _TEXTS)
    if txt is None and described is None:
        raise BadRecord(name, "incomplete_sample", "no .txt and no .json beside it")
    captions, metadata = {}, {}
    if txt is not None:
        captions["txt"] = txt
    if described is not None:
        try:
            metadata = json.loads(described)
        except (ValueError, RecursionError) as error:
            raise BadRecord(name, "broken_json", f"its .json cannot be read: {error}") from None
        if not isinstance(metadata, dict):
            kind = type(metadata).__name__
            raise BadRecord(name, "broken_json", f"its .json holds a {kind}, not an object")
        stored = metadata.pop(caption_key, None)
        if isinstance(stored, dict):
            captions.update(stored)
        elif stored is not None:
            captions[caption_key] = stored
    image = read_picture(name, os.path.join(folder, name))
    return Record(name, image, checked_captions(name, captions), metadata)


def _content_or_none(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
