"""Writing one shard: a file that is either whole or not there."""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bigclip.config import ConfigError
from bigclip.data import stored_records
from bigclip.data.convert.pictures import extension
from bigclip.data.records import BadRecord, Record

FORMATS = ("array_record", "tars")
# Each record on its own, since they are read in random order; and as it is: pictures are
# compressed already, and without zstd writing takes a tenth of the time.
_ARRAY_RECORD_OPTIONS = "group_size:1,uncompressed"
_TXT = "txt"  # the caption source of a .txt


class ArrayRecordShard:
    """One ArrayRecord file of tf.train.Example protos, see `stored_records`."""

    def __init__(self, path: str):
        from array_record.python import array_record_module

        self._writer = array_record_module.ArrayRecordWriter(path, _ARRAY_RECORD_OPTIONS)

    def write(self, record: Record):
        self._writer.write(stored_records.to_example(record))

    def close(self):
        try:
            self._writer.close()
        except RuntimeError as error:  # the disk is full, or was taken away
            raise OSError(str(error)) from None


class TarShard:
    """One tar as img2dataset lays it out: 000000012.jpg, .txt and .json for each record."""

    def __init__(self, path: str, *, shard: int, shard_records: int):
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        self._prefix = f"{shard:05d}"
        self._digits = max(4, len(str(shard_records - 1)))
        self._row = 0

    def write(self, record: Record):
        """Append the members.

        Raises:
            BadRecord: if the picture is of a format that tars of this kind do not hold.
        """
        end = extension(record.image)
        if end == "tif":
            reason = "its picture is TIFF, which readers of tars do not expect; use --max_side"
            raise BadRecord(record.key, "unknown_image", f"{reason} or --format array_record")
        stem = f"{self._prefix}{self._row:0{self._digits}d}"
        txt, described = _texts(record)
        content = json.dumps(described).encode("ascii")
        for name, part in ((end, record.image), (_TXT, txt), ("json", content)):
            info = tarfile.TarInfo(f"{stem}.{name}")  # time 0, owner 0: the same bytes each time
            info.size = len(part)
            self._tar.addfile(info, io.BytesIO(part))
        self._row += 1

    def close(self):
        self._tar.close()


def shard_name(*, format: str, name: str, split: str, shard: int, num_shards: int) -> str:
    """The file name of a shard: as TFDS names them, or as img2dataset does."""
    if format == "tars":
        return f"{shard:05d}.tar"
    return f"{name}-{split}.array_record-{shard:05d}-of-{num_shards:05d}"


@contextmanager
def open_shard(
    path: str, *, format: str, shard: int, shard_records: int
) -> Iterator[ArrayRecordShard | TarShard]:
    """Write to a temporary file beside it, which takes the name `path` once it is complete.

    Raises:
        OSError: if it cannot be written; then neither of them is left.
    """
    temporary = f"{path}.tmp"
    if format == "tars":
        writer = TarShard(temporary, shard=shard, shard_records=shard_records)
    else:
        writer = ArrayRecordShard(temporary)
    is_complete = False
    try:
        try:
            yield writer
        finally:
            writer.close()
        is_complete = True
    finally:
        if is_complete:
            os.replace(temporary, path)
        else:
            os.unlink(temporary)


def write_tfds_metadata(folder: str, *, name: str, version: str, splits: dict[str, list[dict]]):
    """Describe the data set for TFDS: features.json and dataset_info.json.

    Args:
        folder: where the shards lie.
        name: of the data set, which its shards' names begin with.
        version: "1.0.0".
        splits: split -> for each shard its num_records and num_bytes.
    """
    import tensorflow_datasets as tfds

    text = tfds.features.Text
    features = tfds.features.FeaturesDict(
        {
            stored_records.IMAGE: tfds.features.Image(doc="encoded as it was found"),
            stored_records.KEY: text(doc="where it was found"),
            "captions": tfds.features.Sequence({"source": text(), "text": text()}),
            stored_records.METADATA: text(doc="JSON"),
        }
    )
    template = tfds.core.ShardedFileTemplate(
        data_dir=Path(folder), dataset_name=name, filetype_suffix="array_record"
    )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=[
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[shard["num_records"] for shard in shards],
                num_bytes=sum(shard["num_bytes"] for shard in shards),
                filename_template=template.replace(split=split),
            )
            for split, shards in splits.items()
        ],
        version=version,
        filename_template=template,
        check_data=False,  # the shards were written here
        description="Written by bigclip.data.convert.",
    )


def _texts(record: Record) -> tuple[bytes, dict]:
    """What stands in the .txt and in the .json."""
    first = next(iter(record.captions.values()))[0]
    described = dict(record.metadata)
    if "captions" in described:
        raise ConfigError(
            f"{record.key} has metadata named 'captions', which in tars is the place of the "
            "captions; take it as --caption_column, or use --format array_record"
        )
    if record.captions != {_TXT: [first]}:
        # All of them. Readers that know nothing of this field find the first in the .txt; ours
        # would take that for a caption source of its own, if an empty one did not replace it.
        described["captions"] = {**record.captions, _TXT: record.captions.get(_TXT, [])}
    return first.encode("utf-8"), described
