"""Random access to folders of picture files."""

import copy
import os
from collections.abc import Iterator, Sequence

from bigclip.config import ConfigError
from bigclip.data.records import BadRecord, Record, checked_captions, parse_object

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_TEXTS = (".txt", ".json")


class FolderSource:
    """Pictures with a .txt or .json beside each; or, if there is none, sorted into classes.

    The first folder of a picture's path is then its class, and the classes are numbered in
    alphabetical order, which is ImageNet's layout and numbering.

    Attributes:
        path: the folder.
        files: all that was found, relative to it: pictures in the order of the records, then
            their texts.
        classes: folders of the classes, in order; empty where texts lie beside the pictures.
        no_classes: why the folders are no classes, in words; "" where they are, or there are none.
        num_lost: texts without a picture.
        faults: the same, "file: what".
    """

    def __init__(
        self,
        path: str,
        *,
        caption_key: str = "captions",
        templates: Sequence[str] = ("a photo of a {}.",),
        needs_caption: bool = True,
    ):
        """List the folder, and the folders in it.

        Args:
            path: where to look.
            caption_key: field of a .json that holds captions: a text, a list of texts, or a dict
                from caption source to either. A .txt becomes the caption source "txt". Other
                fields become metadata.
            templates: what the name of a class is put into, for the caption source "label". The
                class stands in the metadata, too: "label" (its number) and "class_name".
            needs_caption: False is for evaluation: pictures without a text beside them, and in no
                class, are records, too.

        Raises:
            ConfigError: if there are no pictures, or some of them belong to no class.
        """
        self.path = os.path.expanduser(path)
        self._caption_key, self._templates = caption_key, tuple(templates)
        self._needs_caption = needs_caption
        names = sorted(_walk(self.path))
        self._pictures = [name for name in names if name.lower().endswith(PICTURES)]
        if not self._pictures:
            there = "" if os.path.isdir(self.path) else ", which is no folder"
            raise ConfigError(f"no picture lies in {path}{there} ({', '.join(PICTURES)})")
        stems = {os.path.splitext(name)[0] for name in self._pictures}
        texts = [name for name in names if name.lower().endswith(_TEXTS)]
        # A README.txt or a classes.json describes the data set, not a picture.
        beside = {name for name in texts if os.path.splitext(name)[0] in stems}
        loose = [name for name in self._pictures if os.sep not in name]
        self.classes: list[str] = []
        self.no_classes = ""
        self.faults: list[str] = []
        if beside:
            self.faults = [f"{n}: no picture beside it" for n in texts if n not in beside]
            why = f"{min(beside)} beside a picture says that the pictures have texts of their own"
        elif loose and needs_caption:
            raise ConfigError(
                f"{path} has neither texts beside its pictures nor a folder for each class; "
                f"{loose[0]} lies in none"
            )
        elif loose:
            why = f"{loose[0]} lies in none of them"
        else:
            self.classes = sorted({name.split(os.sep)[0] for name in self._pictures})
        if not self.classes and len(loose) < len(self._pictures):
            self.no_classes = f"the folders of {path} are not taken for classes, since {why}"
        self._number = {name: number for number, name in enumerate(self.classes)}
        self.num_lost = len(self.faults)
        self.files = [*self._pictures, *sorted(beside)]

    def __len__(self) -> int:
        return len(self._pictures)

    def __repr__(self) -> str:
        return f"FolderSource({self.path!r}, {len(self)} records)"

    def __getitem__(self, index: int) -> Record:
        """Read record `index`; its key is the picture's path in the folder.

        Raises:
            BadRecord: if its texts are broken or missing.
            OSError: if the picture cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        name = self._pictures[index]
        captions, metadata = self._of_class(name) if self.classes else self._beside(name)
        image = read_picture(name, os.path.join(self.path, name))
        checked = checked_captions(name, captions, needs_caption=self._needs_caption)
        return Record(name, image, checked, metadata)

    def part(self, start: int, stop: int) -> "FolderSource":
        """Return records start .. stop - 1 as a source of their own, numbered as in the whole."""
        part = copy.copy(self)
        part._pictures = self._pictures[start:stop]
        part.files, part.faults, part.num_lost = part._pictures, [], 0
        return part

    def _of_class(self, name: str) -> tuple[dict, dict]:
        folder = name.split(os.sep)[0]
        class_name = folder.replace("_", " ")
        captions = {"label": label_captions([class_name], self._templates)}
        return captions, {"label": self._number[folder], "class_name": class_name}

    def _beside(self, name: str) -> tuple[dict, dict]:
        stem = os.path.join(self.path, os.path.splitext(name)[0])
        txt, described = (_content_or_none(stem + end) for end in _TEXTS)
        if txt is None and described is None and self._needs_caption:
            reason = "no .txt and no .json beside it"
            if self.no_classes:
                reason += f" ({self.no_classes})"
            raise BadRecord(name, "incomplete_sample", reason)
        captions, metadata = {}, {}
        if txt is not None:
            captions["txt"] = txt
        if described is not None:
            metadata = parse_object(name, described, "its .json")
            stored = metadata.pop(self._caption_key, None)
            if isinstance(stored, dict):
                captions.update(stored)
            elif stored is not None:
                captions[self._caption_key] = stored
        return captions, metadata


def label_captions(class_names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Put each name into each template, in which {} stands for it."""
    return [template.replace("{}", name) for name in class_names for template in templates]


def read_picture(key: str, path: str) -> bytes:
    """Read a file; failures of the disk stay OSErrors.

    Raises:
        BadRecord: if there is no such file.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadRecord(key, "missing_image", f"its picture {path}: {reason}") from None


def _walk(folder: str) -> Iterator[str]:
    """Yield the files of a folder and of those in it, relative to it; links are followed.

    A link to a folder that it lies in would lead round and round, and is left out.
    """
    ways = {folder: {_identity(folder)}}  # each folder's own identity, and of those it lies in
    for place, folders, files in os.walk(folder, followlinks=True):
        way = ways.pop(place)
        inside = {name: _identity(os.path.join(place, name)) for name in folders}
        folders[:] = [n for n in folders if not n.startswith(".") and inside[n] not in way]
        ways.update((os.path.join(place, name), way | {inside[name]}) for name in folders)
        for name in files:
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None  # gone, or not for us: `os.walk` finds nothing in it either
    return status.st_dev, status.st_ino


def _content_or_none(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
