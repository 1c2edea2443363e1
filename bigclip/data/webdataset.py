"""Random access to image-text samples in webdataset (img2dataset, DataComp) tar shards."""

import collections
import concurrent.futures
import difflib
import functools
import glob
import json
import os
import re
import threading
import weakref

import numpy as np

from bigclip.config import ConfigError
from bigclip.data import tars
from bigclip.data.kept_indexes import read_kept_index
from bigclip.data.records import BadRecord, Record, checked_captions

_MAX_OPEN_SHARDS = 256  # below the common limit of 1,024 open files a process
_MAX_NAMED_FAULTS = 100


class WebDataset:
    """The samples of many shards as one sequence of records.

    The headers of all shards are read when it is made, which takes about 15 us a sample, and
    with `index_dir` hardly anything the second time. They take some 60 bytes of memory a sample,
    in every process. It can be pickled; no open file travels along. Threads may share it.

    Attributes:
        shards: paths, in the order of the records.
        num_lost: samples that the shards hold in part only and that are left out.
        faults: up to a hundred of the reasons, "shard: what".
    """

    def __init__(self, shards, *, caption_key: str = "captions", index_dir: str | None = None):
        """Read the headers.

        Args:
            shards: a path with braces ("part-{000..127}.tar"), a glob, or a list of those.
            caption_key: field of the .json that holds captions: a text, a list of texts, or a
                dict from caption source to either. A .txt becomes the caption source "txt".
            index_dir: folder in which to keep what was read from the headers; a shard that has
                changed since is read again.

        Raises:
            ConfigError: if a shard is missing, is no tar, or holds no whole sample.
        """
        self.shards = expand_shards(shards)
        self.caption_key = caption_key
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            read = functools.partial(_index_or_complain, index_dir=index_dir)
            self._indexes = list(pool.map(read, self.shards))
        self._ends = np.cumsum([len(index.keys) for index in self._indexes])
        faults = [
            f"{os.path.basename(path)}: {fault}"
            for path, index in zip(self.shards, self._indexes, strict=True)
            for fault in index.faults
        ]
        self.num_lost = len(faults)
        self.faults = faults[:_MAX_NAMED_FAULTS]
        self._files = _OpenFiles()

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
        shard = int(np.searchsorted(self._ends, index, side="right"))
        samples = self._indexes[shard]
        row = int(index) - (int(self._ends[shard - 1]) if shard else 0)
        path = self.shards[shard]
        key = f"{os.path.basename(path)}/{samples.keys[row].decode('utf-8')}"
        image, txt, json_bytes = (
            self._files.read(path, int(size), int(offset)) if size >= 0 else None
            for size, offset in zip(samples.sizes[row], samples.offsets[row], strict=True)
        )

        captions, metadata = {}, {}
        if txt is not None:
            captions["txt"] = txt
        if json_bytes is not None:
            metadata = _parse_json(key, json_bytes)
            stored = metadata.pop(self.caption_key, None)
            if isinstance(stored, dict):
                captions.update(stored)
            elif stored is not None:
                captions[self.caption_key] = stored
        return Record(key, image, checked_captions(key, captions), metadata)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_files": None}

    def __setstate__(self, state: dict):
        self.__dict__.update(state, _files=_OpenFiles())


def expand_shards(shards) -> list[str]:
    """Turn brace lists, globs and lists of those into paths, in a fixed order.

    `{000..012}` counts with the width of its ends, `{a,b}` lists; a glob's matches are sorted.

    Raises:
        ConfigError: if a pattern matches nothing, or a path is not on this file system.
    """
    patterns = [shards] if isinstance(shards, (str, os.PathLike)) else list(shards)
    if not patterns:
        raise ConfigError("source.shards is empty; name at least one .tar")
    paths = []
    for pattern in (os.path.expanduser(os.fspath(pattern)) for pattern in patterns):
        if re.match(r"(pipe|[a-z0-9]+:/)", pattern):
            raise ConfigError(
                f"source.shards: {pattern!r} is not a path; shards are read at random, so "
                "copy them to this machine or mount the bucket (gcsfuse, s3fs) and name the mount"
            )
        for path in _expand_braces(pattern):
            if not glob.has_magic(path) or os.path.exists(path):
                paths.append(path)
                continue
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                raise ConfigError(f"source.shards: no file matches {path!r}")
            paths.extend(matches)
    return paths


def _expand_braces(pattern: str) -> list[str]:
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    counted = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if counted:
        first, last = counted.groups()
        if int(first) > int(last):
            raise ConfigError(f"source.shards: {match[0]} in {pattern!r} counts backwards")
        choices = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    else:
        choices = match[1].split(",")
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [head + choice + rest for choice in choices for rest in _expand_braces(tail)]


def _index_or_complain(path: str, *, index_dir: str | None) -> tars.TarIndex:
    try:
        index = read_kept_index(path, index_dir) if index_dir else tars.read_index(path)
    except tars.TarError as error:
        raise ConfigError(f"source.shards: {path}: {error}") from None
    except OSError as error:
        raise ConfigError(f"source.shards: {path}: {error.strerror}{_similar_file(path)}") from None
    if not len(index.keys):
        reasons = "; ".join(index.faults[:3]) or "no member is a picture, .txt or .json"
        raise ConfigError(
            f"source.shards: {path} holds no sample with a picture and a text ({reasons}); "
            "remove the shard from the list or write it again"
        )
    return index


def _similar_file(path: str) -> str:
    folder, name = os.path.split(path)
    try:
        near = difflib.get_close_matches(name, os.listdir(folder or "."), n=1)
    except OSError:
        return f" (the folder {folder!r} cannot be listed either)"
    return f"; did you mean {os.path.join(folder, near[0])}?" if near else ""


def _parse_json(key: str, content: bytes) -> dict:
    try:
        metadata = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadRecord(key, "broken_json", f"its .json cannot be read: {error}") from None
    if not isinstance(metadata, dict):
        raise BadRecord(
            key, "broken_json", f"its .json holds a {type(metadata).__name__}, not an object"
        )
    return metadata


class _OpenFile:
    """A descriptor that closes when the last thread that reads from it lets go of it."""

    def __init__(self, path: str):
        self.fd = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.fd)


class _OpenFiles:
    """The most recently read shards, open; `os.pread` needs no lock and no position."""

    def __init__(self):
        self._lock = threading.Lock()
        self._files: collections.OrderedDict[str, _OpenFile] = collections.OrderedDict()

    def read(self, path: str, size: int, offset: int) -> bytes:
        with self._lock:
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = _OpenFile(path)
                if len(self._files) > _MAX_OPEN_SHARDS:
                    self._files.popitem(last=False)
            else:
                self._files.move_to_end(path)
        content = os.pread(file.fd, size, offset)
        if len(content) != size:
            raise OSError(
                f"{path}: {len(content)} of {size} bytes at {offset}; "
                "the shard was changed after it was opened"
            )
        return content
