"""Where the samples of a tar shard lie, read from its headers alone.

A shard follows the webdataset convention: an uncompressed tar in which the members of one sample
share the path up to the first dot of the file name, e.g. `000123.jpg`, `000123.txt`,
`000123.json`. Once the headers are read, each sample is one read away, in any order, and nothing
else has to be kept open or remembered.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bigclip.data.tar_members import Member, TarWalk

KINDS = ("image", "txt", "json")
LABELLED_KINDS = (*KINDS, "cls", "npy")  # for evaluation: training has no use for labels
_KIND_OF_EXTENSION = {
    **dict.fromkeys(("jpg", "jpeg", "png", "webp", "gif", "bmp"), "image"),
    "txt": "txt",
    "json": "json",
    "cls": "cls",
    "npy": "npy",
}


class TarIndex(NamedTuple):
    """The samples of one shard.

    n samples; k kinds, in the order of `KINDS`, or of `LABELLED_KINDS` where labels are read.
    """

    keys: np.ndarray  # bytes [n], utf-8: the common path of the members
    offsets: np.ndarray  # int64 [n, k], in bytes from the start of the file
    sizes: np.ndarray  # int64 [n, k], in bytes; -1 where the member does not exist
    faults: tuple[str, ...]  # what was wrong: lost samples, a cut end


def read_index(
    read: Callable[[int, int], bytes], file_bytes: int, *, needs_caption: bool = True
) -> TarIndex:
    """Read the headers of a shard.

    A sample counts if it has a picture and at least one of .txt and .json, all of them whole.
    What does not count is named in `faults`.

    Args:
        read: (offset, size) -> bytes of the shard.
        file_bytes: its size.
        needs_caption: False takes pictures without .txt and .json, too, and finds their .cls and
            .npy.

    Raises:
        TarError: if the file is empty, compressed, or does not start like a tar.
        OSError: if it cannot be read.
    """
    kinds = KINDS if needs_caption else LABELLED_KINDS
    members = TarWalk(read, file_bytes)
    samples: list[tuple[str, dict[str, Member]]] = []
    row_of_key: dict[str, int] = {}
    for member in members:
        key, kind = split_name(member.name)
        if kind not in kinds:
            continue
        row = row_of_key.get(key)
        # The same member again starts a new sample: two tars strung together may repeat keys.
        if row is None or kind in samples[row][1]:
            row = row_of_key[key] = len(samples)
            samples.append((key, {}))
        samples[row][1][kind] = member

    whole, faults = [], []
    for key, parts in samples:
        missing = what_is_missing(parts, needs_caption=needs_caption)
        if missing:
            faults.append(f"{key}: {missing}")
        else:
            whole.append((key, parts))
    if members.fault:
        faults.append(members.fault)

    offsets = np.zeros((len(whole), len(kinds)), np.int64)
    sizes = np.full((len(whole), len(kinds)), -1, np.int64)
    for row, (_, parts) in enumerate(whole):
        for column, kind in enumerate(kinds):
            if kind in parts:
                offsets[row, column] = parts[kind].offset
                sizes[row, column] = parts[kind].size
    keys = np.array([key.encode("utf-8", "replace") for key, _ in whole], dtype=np.bytes_)
    return TarIndex(keys, offsets, sizes, tuple(faults))


def split_name(name: str) -> tuple[str, str | None]:
    """Split a member's name at the first dot of its last component: key and kind, if it has one."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return folder + slash + stem, _KIND_OF_EXTENSION.get(extension.lower())


def what_is_missing(parts, *, needs_caption: bool = True) -> str | None:
    """Say what keeps the parts (kind -> anything) from being a sample; None if nothing does."""
    if "image" not in parts:
        return f"no picture beside its {' and '.join(sorted(parts))}"
    if needs_caption and not parts.keys() & {"txt", "json"}:
        return "no .txt and no .json beside its picture"
    return None
