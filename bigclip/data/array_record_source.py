"""Random access to ArrayRecord files of tf.train.Example records, without TensorFlow.

That is what most JAX tools write: one Example a record, the encoded picture in one feature and
the texts in others. Data sets that TFDS has prepared are better opened by `TfdsSource`, which
knows their features; this source looks at the first record and asks for the rest.
"""

import functools
import os
import threading
from collections.abc import Mapping, Sequence

import numpy as np

from bigclip.config import ConfigError, suggest
from bigclip.data import stored_records
from bigclip.data.files import is_url
from bigclip.data.records import BadRecord, Record, checked_captions
from bigclip.data.shard_paths import expand_shards

_IMAGE_NAMES = ("image", "image/encoded", "image_bytes", "jpg", "jpeg", "png", "webp")
_CAPTION_NAMES = ("caption", "captions", "text", "texts", "txt", "alt_text", "title")
# No read-ahead: training reads in random order. The defaults are made for reading in order.
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_READER_BUFFER_BYTES = 32 << 10  # of 1 MiB by default, for each open file


class ArrayRecordSource:
    """The records of many ArrayRecord files as one sequence.

    It can be pickled; no open file travels along. Threads may share it.

    Attributes:
        shards: paths, in the order of the records.
        image_key: the feature that holds the picture.
        caption_keys: caption source -> feature.
    """

    def __init__(
        self,
        shards,
        *,
        image_key: str | None = None,
        caption_keys: Sequence[str] | Mapping[str, str] | None = None,
    ):
        """Count the records, and look at the first one.

        Args:
            shards: a path with braces ("train-{00..31}.array_record"), a glob, or a list.
            image_key: the feature that holds the encoded picture; found if it has a usual name
                ("image", "image/encoded", "jpg", ...) or is the only one with a picture in it.
            caption_keys: features that hold texts; a dict names the caption sources itself. Found
                if it has a usual name ("caption", "text", "txt", ...) or is the only text. Records
                that `bigclip.data.convert` wrote bring the names of their caption sources along.

        Raises:
            ConfigError: if a file is missing, is no ArrayRecord file, or does not hold such
                records, or if a feature does not exist or must be chosen.
        """
        self.shards = expand_shards(shards)
        counts = [_count_records(path) for path in self.shards]
        self._ends = np.cumsum(counts)
        if not self._ends[-1]:
            raise ConfigError(f"source.shards: {', '.join(self.shards[:3])} hold no records")
        self._reset()
        first = self._first_features()
        self._is_stored = image_key is caption_keys is None and set(stored_records.FEATURES) <= set(
            first
        )
        if self._is_stored:
            self.image_key, self.caption_keys = stored_records.IMAGE, {}
        else:
            self.image_key = _choose_image(image_key, first)
            self.caption_keys = _choose_captions(caption_keys, first, self.image_key)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        return f"ArrayRecordSource({len(self.shards)} shards, {len(self)} records)"

    def __getitem__(self, index: int) -> Record:
        """Read record `index`.

        Raises:
            BadRecord: if it is damaged, has no picture, or its captions are broken.
        """
        shard, row = self._place(index)
        return self._record(shard, row, self._read(shard, row))

    def __getitems__(self, indices: Sequence[int]) -> list[Record | BadRecord]:
        """Read many records, each file's with one call.

        Returns:
            A list in the order of `indices`; a broken record stands there as its `BadRecord`, so
            that it does not cost the others.
        """
        places = [self._place(index) for index in indices]
        rows_of_shard: dict[int, list[int]] = {}
        for shard, row in places:
            rows_of_shard.setdefault(shard, []).append(row)
        contents: dict[tuple[int, int], bytes | BadRecord] = {}
        for shard, rows in rows_of_shard.items():
            try:
                read = self._reader(shard).read(rows)
            except RuntimeError:  # one of them is damaged; which one, is not told
                read = [self._read_or_fault(shard, row) for row in rows]
            contents.update(zip(((shard, row) for row in rows), read, strict=True))
        return [self._record_or_fault(*place, contents[place]) for place in places]

    def __getstate__(self) -> dict:
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in ("_readers", "_lock")
        }

    def __setstate__(self, state: dict):
        self.__dict__.update(state)
        self._reset()

    def _reset(self):
        self._readers: dict[int, object] = {}
        self._lock = threading.Lock()

    def _place(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, int(index) - (int(self._ends[shard - 1]) if shard else 0)

    def _key(self, shard: int, row: int) -> str:
        return f"{os.path.basename(self.shards[shard])}/{row}"

    def _reader(self, shard: int):
        with self._lock:
            reader = self._readers.get(shard)
            if reader is None:
                reader = self._readers[shard] = _open(self.shards[shard])
            return reader  # reading by number is safe from several threads

    def _read(self, shard: int, row: int) -> bytes:
        try:
            return self._reader(shard).read([row])[0]
        except RuntimeError as error:  # each record has its own checksum
            raise BadRecord(
                self._key(shard, row), "broken_record", f"is damaged: {str(error)[:200]}"
            ) from None

    def _read_or_fault(self, shard: int, row: int) -> bytes | BadRecord:
        try:
            return self._read(shard, row)
        except BadRecord as error:
            return error

    def _record_or_fault(self, shard: int, row: int, content) -> Record | BadRecord:
        if isinstance(content, BadRecord):
            return content
        try:
            return self._record(shard, row, content)
        except BadRecord as error:
            return error

    def _record(self, shard: int, row: int, content: bytes) -> Record:
        key = self._key(shard, row)
        features = _parse(key, content)
        image = features.pop(self.image_key, ())
        if len(image) != 1 or not isinstance(image[0], bytes):
            raise BadRecord(key, "empty_image", f"has no picture in its {self.image_key!r}")
        if self._is_stored:
            return self._stored_record(key, image[0], features)
        # Not popped: one feature may serve two caption sources.
        captions = {source: features.get(name, []) for source, name in self.caption_keys.items()}
        used = set(self.caption_keys.values())
        metadata = {
            name: values[0] if len(values) == 1 else values
            for name, values in ((n, _plain(v)) for n, v in features.items() if n not in used)
            if values
        }
        return Record(key, image[0], checked_captions(key, captions), metadata)

    def _stored_record(self, key: str, image: bytes, features: dict) -> Record:
        sources, texts = (
            features.get(name, []) for name in (stored_records.SOURCES, stored_records.TEXTS)
        )
        stored = features.get(stored_records.METADATA, [b"{}"])
        if len(sources) != len(texts) or len(stored) != 1:
            raise BadRecord(key, "broken_record", "its features do not belong together")
        captions = stored_records.captions_by_source(sources, texts)
        metadata = stored_records.parse_metadata(key, stored[0])
        return Record(key, image, checked_captions(key, captions), metadata)

    def _first_features(self) -> dict[str, list]:
        first = int(np.argmax(self._ends > 0))
        try:
            return _parse(self._key(first, 0), self._read(first, 0))
        except BadRecord as error:
            raise ConfigError(
                f"source.shards: the first record of {self.shards[first]} {error.reason}. Records "
                "must be tf.train.Example protos; convert others with python -m "
                "bigclip.data.convert, or prepare them with TFDS (kind='tfds')"
            ) from None


@functools.cache
def _example_type():
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example


def _parse(key: str, content: bytes) -> dict[str, list]:
    """Feature name -> its values: bytes, or floats, or ints."""
    from google.protobuf.message import DecodeError

    try:
        example = _example_type().FromString(content)
    except DecodeError as error:
        raise BadRecord(key, "broken_record", f"is no tf.train.Example: {error}") from None
    features = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        features[name] = list(getattr(feature, kind).value) if kind else []
    if not features:
        # Many bytes parse as an Example without known fields; none of ours is empty.
        raise BadRecord(key, "broken_record", "is no tf.train.Example: it has no features")
    return features


def _open(path: str):
    from array_record.python import array_record_module

    return array_record_module.ArrayRecordReader(
        path, _READER_OPTIONS, file_reader_buffer_size=_READER_BUFFER_BYTES
    )


def _count_records(path: str) -> int:
    # ArrayRecord itself reads gs://.
    if not is_url(path) and not os.path.isfile(path):
        what = "is a folder" if os.path.isdir(path) else "does not exist"
        raise ConfigError(f"source.shards: {path} {what}; name ArrayRecord files")
    reader = _open(path)
    if not reader.ok():
        raise ConfigError(
            f"source.shards: {path} is no ArrayRecord file, or is cut off (the index of its "
            "records stands at its end); write it again, or use kind='webdataset' for tars"
        )
    count = reader.num_records()
    reader.close()
    return count


def _choose_image(image_key: str | None, features: dict[str, list]) -> str:
    pictures = sorted(name for name, values in features.items() if _is_picture(values))
    if image_key is not None:
        if image_key not in features:
            raise ConfigError(
                f"source.image_key: no feature {image_key!r} in the first record."
                f"{suggest(image_key, features)}"
            )
        return image_key
    usual = [name for name in _IMAGE_NAMES if name in features]
    if usual or len(pictures) == 1:
        return (usual or pictures)[0]
    raise ConfigError(
        "source.image_key: choose the feature that holds the picture; with a picture in it: "
        f"{', '.join(pictures) or 'none'} (of all: {', '.join(sorted(features))})"
    )


def _choose_captions(caption_keys, features: dict[str, list], image_key: str) -> dict[str, str]:
    if isinstance(caption_keys, str):
        caption_keys = [caption_keys]
    if caption_keys:
        if not isinstance(caption_keys, Mapping):
            caption_keys = {name: name for name in caption_keys}
        # A feature may be left out of one record, so only that none is there tells of a typo.
        if not set(caption_keys.values()) & set(features):
            missing = next(iter(caption_keys.values()))
            raise ConfigError(
                f"source.caption_keys: no feature {missing!r} in the first record."
                f"{suggest(missing, features)}"
            )
        return dict(caption_keys)
    texts = sorted(n for n, values in features.items() if n != image_key and _is_text(values))
    usual = [name for name in _CAPTION_NAMES if name in texts]
    if len(usual) == 1 or len(texts) == 1:
        name = (usual if len(usual) == 1 else texts)[0]
        return {name: name}
    raise ConfigError(
        "source.caption_keys: choose the features that hold captions; with text in them: "
        f"{', '.join(texts) or 'none'} (of all: {', '.join(sorted(features))})"
    )


def _is_picture(values: list) -> bool:
    if len(values) != 1 or not isinstance(values[0], bytes):
        return False
    start = values[0][:12]
    return (
        start[:3] == b"\xff\xd8\xff"
        or start[:8] == b"\x89PNG\r\n\x1a\n"
        or (start[:4] == b"RIFF" and start[8:] == b"WEBP")
    )


def _is_text(values: list) -> bool:
    return bool(values) and bool(_plain(values)) and isinstance(values[0], bytes)


def _plain(values: list) -> list:
    """Bytes as text; nothing of what is not text, such as other pictures and masks."""
    try:
        return [v.decode("utf-8") if isinstance(v, bytes) else v for v in values]
    except UnicodeDecodeError:
        return []
