"""From a row of a table to a record."""

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence

from bigclip.config import ConfigError, suggest
from bigclip.data.folder_source import label_captions, read_picture
from bigclip.data.records import BadRecord, Record, checked_captions

_IMAGE_NAMES = (
    *("image", "image_path", "filepath", "file_path", "file_name", "filename", "path", "file"),
    *("img", "jpg", "png", "webp"),
)
_CAPTION_NAMES = ("caption", "captions", "text", "texts", "txt", "title", "alt_text", "label")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns hold what.

    Attributes:
        image: the column with the picture: a path, bytes, or a struct of both as Hugging Face
            stores pictures.
        captions: caption source -> column.
        image_root: folder that paths are relative to.
        class_names: of columns that hold class labels as numbers.
        templates: what the name of a class is put into; each gives one text.
    """

    image: str
    captions: Mapping[str, str]
    image_root: str
    class_names: Mapping[str, Sequence[str]]
    templates: Sequence[str]

    def record(self, key: str, row: Mapping) -> Record:
        """Read the picture and order the rest; row: column -> plain Python value.

        Raises:
            BadRecord: if the picture is not there, or the captions are broken.
        """
        metadata = {
            name: plain
            for name, plain in ((name, _plain(value)) for name, value in row.items())
            if plain is not None and name != self.image and name not in self.captions.values()
        }
        captions = {}
        for source, column in self.captions.items():
            value = row[column]
            if value is not None and column in self.class_names:
                captions[source], found = self._label_texts(key, column, value)
                metadata.update(found)
            elif value is not None:
                captions[source] = value
        checked = checked_captions(key, captions)
        return Record(key, self._image(key, row[self.image]), checked, metadata)

    def _image(self, key: str, value) -> bytes:
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes) and not _is_path(value):
            return value
        if not value:
            raise BadRecord(key, "missing_image", f"names no picture in its {self.image!r}")
        if not isinstance(value, (str, bytes)):
            reason = f"its {self.image!r} is neither a path nor bytes but {type(value).__name__}"
            raise BadRecord(key, "missing_image", reason)
        return read_picture(key, os.path.join(self.image_root, os.fsdecode(value).strip()))

    def _label_texts(self, key: str, column: str, value) -> tuple[list[str], dict]:
        labels = value if isinstance(value, list) else [value]
        names = self.class_names[column]
        for label in labels:
            if not isinstance(label, int) or not 0 <= label < len(names):
                raise BadRecord(key, "unknown_label", f"its {column} {label!r} has no name")
        spoken = [names[label].replace("_", " ") for label in labels]
        is_one = not isinstance(value, list)
        found = {"label": value, "class_name": spoken[0] if is_one else spoken}
        return label_captions(spoken, self.templates), found


def choose_columns(
    names: Sequence[str],
    *,
    image_column: str | None,
    caption_columns: Mapping[str, str] | None,
    images: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> tuple[str, dict[str, str]]:
    """Hold the chosen columns against those that exist, or find them by their usual names.

    Args:
        names: all columns.
        image_column: the chosen one.
        caption_columns: caption source -> column.
        images: columns that are known to hold pictures.
        labels: columns that hold class labels, the second choice as a caption.

    Raises:
        ConfigError: if a column does not exist, or there is no obvious one.
    """
    for flag, column in (
        ("image_column", image_column),
        *(("caption_column", column) for column in (caption_columns or {}).values()),
    ):
        if column is not None and column not in names:
            raise ConfigError(f"--{flag}: no column {column!r}.{suggest(column, names)}")
    if image_column is None:
        usual = list(images) or [name for name in _IMAGE_NAMES if name in names]
        if not usual or len(images) > 1:
            raise ConfigError(f"--image_column: which has the pictures?{suggest('', names)}")
        image_column = usual[0]
    if not caption_columns:
        usual = [name for name in _CAPTION_NAMES if name in names and name != image_column]
        texts = [name for name in usual if name not in labels]
        chosen = (texts or usual or list(labels))[:1]
        if not chosen or len(texts) > 1:
            which = f"which of {', '.join(texts)}" if texts else "which has the captions"
            raise ConfigError(f"--caption_column: {which}?{suggest('', names)}")
        caption_columns = {chosen[0]: chosen[0]}
    return image_column, dict(caption_columns)


def _is_path(content: bytes) -> bool:
    """Columns of a CSV are read as bytes, to name what is not UTF-8: a path, not a picture."""
    return len(content) < 4096 and not re.search(rb"[\x00-\x08\x0e-\x1f]", content)


def _plain(value):
    """Bring a value to what JSON can hold; None for what it cannot, such as other pictures."""
    if isinstance(value, dict):
        return {k: p for k, p in ((k, _plain(v)) for k, v in value.items()) if p is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, (str, int, float, type(None))) else str(value)
