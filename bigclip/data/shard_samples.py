"""The samples of one shard, from front to back."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from bigclip.data.buffered_file import BufferedFile
from bigclip.data.records import BadRecord, Record
from bigclip.data.tar_members import TarWalk
from bigclip.data.tar_samples import sample_record
from bigclip.data.tars import KINDS, split_name, what_is_missing


class Sample(NamedTuple):
    """What stands at one place of a shard."""

    found: Record | BadRecord
    start: int  # of the first header, in bytes
    end: int  # where the next sample begins, in bytes


def read_samples(
    file: BufferedFile, path: str, *, caption_key: str, start: int = 0
) -> Iterator[Sample]:
    """Go through the samples of a shard, whose members must stand one after the other.

    What is no whole sample comes as a `BadRecord`, in its place; so does, at the end, what keeps
    the rest of the shard from being read.

    Args:
        file: the shard.
        path: its path, for keys.
        caption_key: see `sample_record`.
        start: where to begin, in bytes.

    Raises:
        TarError: if the file is empty, compressed, or does not start like a tar.
        OSError: if it cannot be read.
    """
    shard = os.path.basename(path)
    members = TarWalk(file.read, file.size, start)
    key, first, parts, end = None, start, {}, start
    for member in members:
        name, kind = split_name(member.name)
        if parts and (name != key or kind in parts):
            yield Sample(_found(f"{shard}/{key}", parts, caption_key), first, member.start)
            parts = {}
        if not parts:
            key, first = name, member.start
        if kind in KINDS:
            # At once: what comes next may push it out of the buffer.
            parts[kind] = file.read(member.offset, member.size)
        end = member.end
    if parts:
        yield Sample(_found(f"{shard}/{key}", parts, caption_key), first, end)
    if members.fault:
        broken = BadRecord(shard, "broken_shard", members.fault)
        yield Sample(broken, end, max(end, file.size))


def _found(key: str, parts: dict[str, bytes], caption_key: str) -> Record | BadRecord:
    missing = what_is_missing(parts)
    if missing:
        return BadRecord(key, "incomplete_sample", missing)
    try:
        texts = parts.get("txt"), parts.get("json")
        return sample_record(key, parts["image"], *texts, caption_key=caption_key)
    except BadRecord as error:
        return error
