"""Random access to image-text samples in webdataset (img2dataset, DataComp) tar shards."""

import concurrent.futures
import functools
import os

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.files import Files
from bigclip.data.kept_indexes import index_shard, keep_mapped, kept_index, open_mapped
from bigclip.data.records import Record
from bigclip.data.shard_paths import expand_shards, near_path
from bigclip.data.tar_members import TarError
from bigclip.data.tar_samples import sample_record
from bigclip.data.tars import TarIndex

_MAX_NAMED_FAULTS = 100
_MAX_GAP_BYTES = 16 * 1024  # between members that are read at once: headers, other small members


class WebDataset:
    """The samples of many shards as one sequence of records.

    The headers of all shards are read when it is made, which takes about 15 us a sample, and
    with `index_dir` hardly anything the second time. They take some 60 bytes of memory a sample:
    in every process, or with `index_dir` once on a host. It can be pickled; no open file travels
    along. Threads may share it.

    Attributes:
        shards: paths, in the order of the records.
        num_lost: samples that the shards hold in part only and that are left out.
        faults: up to a hundred of the reasons, "shard: what".
    """

    def __init__(
        self,
        shards,
        *,
        caption_key: str = "captions",
        index_dir: str | None = None,
        needs_caption: bool = True,
    ):
        """Read the headers.

        Args:
            shards: a path with braces ("part-{000..127}.tar"), a glob, or a list of those; also
                URLs (gs://, s3://, https://), of which each record is then one ranged read.
            caption_key: field of the .json that holds captions: a text, a list of texts, or a
                dict from caption source to either. A .txt becomes the caption source "txt".
            index_dir: folder in which to keep what was read from the headers; a shard that has
                changed since is read again. `python -m bigclip.data.index` fills it beforehand.
            needs_caption: False is for classification: a .cls or .npy becomes the metadata "label"
                (see `sample_record`), and a picture needs no .txt and no .json.

        Raises:
            ConfigError: if a shard is missing, is no tar, or holds no whole sample.
        """
        self.shards = expand_shards(shards)
        self.caption_key = caption_key
        self.index_dir = index_dir and os.path.expanduser(index_dir)
        self.needs_caption = needs_caption
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            read = functools.partial(
                _index_or_complain, index_dir=self.index_dir, needs_caption=needs_caption
            )
            indexes = list(pool.map(read, self.shards))
        self._ends = np.cumsum([len(index.keys) for index in indexes])
        faults = [
            f"{os.path.basename(path)}: {fault}"
            for path, index in zip(self.shards, indexes, strict=True)
            for fault in index.faults
        ]
        self.num_lost = len(faults)
        self.faults = faults[:_MAX_NAMED_FAULTS]
        self._index = TarIndex(*map(np.concatenate, list(zip(*indexes, strict=True))[:3]), ())
        self._mapped = None
        if self.index_dir:
            self._index, self._mapped = keep_mapped(self._index, self.shards, self.index_dir)
        self._files = Files()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        return f"WebDataset({len(self.shards)} shards, {len(self)} records)"

    def __getitem__(self, index: int) -> Record:
        """Read record `index`.

        Raises:
            BadRecord: if its .json or its captions are broken.
            OSError: if the shard cannot be read, or has changed since it was opened.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        path = self.shards[int(np.searchsorted(self._ends, index, side="right"))]
        key = f"{os.path.basename(path)}/{self._index.keys[index].decode('utf-8')}"
        offsets = self._index.offsets[index].tolist()
        sizes = self._index.sizes[index].tolist()
        parts = _read_parts(self._files, path, offsets, sizes)
        return sample_record(
            key, *parts, caption_key=self.caption_key, needs_caption=self.needs_caption
        )

    def __getstate__(self) -> dict:
        # Mapped arrays are mapped again on the other side, not sent.
        return {**self.__dict__, "_index": None if self._mapped else self._index}

    def __setstate__(self, state: dict):
        self.__dict__.update(state)
        if self._mapped:
            self._index = open_mapped(self._mapped)


def _read_parts(files: Files, path: str, offsets: list[int], sizes: list[int]):
    """Read the members of a sample, -1 in size being none: in one go where they lie together."""
    there = [(offset, size) for offset, size in zip(offsets, sizes, strict=True) if size >= 0]
    first = min(offset for offset, _ in there)
    end = max(offset + size for offset, size in there)
    if end - first <= sum(size for _, size in there) + _MAX_GAP_BYTES:
        content = files.read(path, first, end - first)
        return [
            content[offset - first : offset - first + size] if size >= 0 else None
            for offset, size in zip(offsets, sizes, strict=True)
        ]
    return [
        files.read(path, offset, size) if size >= 0 else None
        for offset, size in zip(offsets, sizes, strict=True)
    ]


def _index_or_complain(path: str, *, index_dir: str | None, needs_caption: bool) -> TarIndex:
    try:
        if index_dir:
            index = kept_index(path, index_dir, needs_caption=needs_caption)
        else:
            index = index_shard(path, needs_caption=needs_caption)
    except TarError as error:
        raise ConfigError(f"source.shards: {path}: {error}") from None
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise ConfigError(f"source.shards: {path}: {reason}{near_path(path)}") from None
    if not len(index.keys):
        reasons = "; ".join(index.faults[:3]) or "no member is a picture, .txt or .json"
        raise ConfigError(
            f"source.shards: {path} holds no sample with a picture"
            f"{' and a text' if needs_caption else ''} ({reasons}); "
            "remove the shard from the list or write it again"
        )
    return index
