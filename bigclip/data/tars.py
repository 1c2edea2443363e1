"""Where the samples of a tar shard lie, read from its headers alone.

A shard follows the webdataset convention: an uncompressed tar in which the members of one sample
share the path up to the first dot of the file name, e.g. `000123.jpg`, `000123.txt`,
`000123.json`. Once the headers are read, each sample is one or three `os.pread` away, in any
order, and nothing else has to be kept open or remembered.

Understood are POSIX ustar (with prefix), GNU long names and base-256 sizes, and PAX headers
(`path` and `size`); other PAX fields, directories and links are passed over.
"""

import os
from typing import NamedTuple

import numpy as np

BLOCK_BYTES = 512
KINDS = ("image", "txt", "json")
_KIND_OF_EXTENSION = {
    **dict.fromkeys(("jpg", "jpeg", "png", "webp", "gif", "bmp"), "image"),
    "txt": "txt",
    "json": "json",
}
_MAX_NAME_BYTES = 1 << 20  # a longer name is a broken header, not a name


class TarIndex(NamedTuple):
    """The samples of one shard. n samples; kinds are in the order of `KINDS`."""

    keys: np.ndarray  # bytes [n], utf-8: the common path of the members
    offsets: np.ndarray  # int64 [n, 3], in bytes from the start of the file
    sizes: np.ndarray  # int64 [n, 3], in bytes; -1 where the member does not exist
    faults: tuple[str, ...]  # what was wrong: lost samples, a cut end


class TarError(Exception):
    """The file is no tar that can be read."""


class Member(NamedTuple):
    name: str
    offset: int  # of the data, in bytes
    size: int  # in bytes


def read_index(path: str) -> TarIndex:
    """Read the headers of a shard.

    A sample counts if it has a picture and at least one of .txt and .json, all of them whole.
    What does not count is named in `faults`.

    Raises:
        TarError: if the file is empty, compressed, or does not start like a tar.
        OSError: if it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        members, end_fault = _read_members(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)

    samples: list[tuple[str, dict[str, Member]]] = []
    row_of_key: dict[str, int] = {}
    for member in members:
        key, extension = split_name(member.name)
        kind = _KIND_OF_EXTENSION.get(extension.lower())
        if kind is None:
            continue
        row = row_of_key.get(key)
        # The same member again starts a new sample: two tars strung together may repeat keys.
        if row is None or kind in samples[row][1]:
            row = row_of_key[key] = len(samples)
            samples.append((key, {}))
        samples[row][1][kind] = member

    whole, faults = [], []
    for key, parts in samples:
        if "image" not in parts:
            faults.append(f"{key}: no picture beside its {' and '.join(sorted(parts))}")
        elif len(parts) == 1:
            faults.append(f"{key}: no .txt and no .json beside its picture")
        else:
            whole.append((key, parts))
    if end_fault:
        faults.append(end_fault)

    offsets = np.zeros((len(whole), len(KINDS)), np.int64)
    sizes = np.full((len(whole), len(KINDS)), -1, np.int64)
    for row, (_, parts) in enumerate(whole):
        for column, kind in enumerate(KINDS):
            if kind in parts:
                offsets[row, column] = parts[kind].offset
                sizes[row, column] = parts[kind].size
    keys = np.array([key.encode("utf-8", "replace") for key, _ in whole], dtype=np.bytes_)
    return TarIndex(keys, offsets, sizes, tuple(faults))


def split_name(name: str) -> tuple[str, str]:
    """Split a member's name at the first dot of its last component: key and extension."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return folder + slash + stem, extension


def _read_members(fd: int, file_bytes: int) -> tuple[list[Member], str | None]:
    """List the regular files, in order; and what is wrong with the end, if anything is."""
    first = os.pread(fd, BLOCK_BYTES, 0)
    if not first:
        raise TarError("the file is empty")
    if first[:2] == b"\x1f\x8b" or first[:3] == b"BZh" or first[:6] == b"\xfd7zXZ\x00":
        raise TarError("the tar is compressed; unpack it to a plain .tar")
    if first.count(0) == len(first) == BLOCK_BYTES:
        return [], None
    if _parse_header(first) is None:
        raise TarError("the file does not start with a tar header")

    members: list[Member] = []
    offset, name_override, size_override = 0, None, None
    while True:
        block = os.pread(fd, BLOCK_BYTES, offset)
        if len(block) == BLOCK_BYTES and block.count(0) == BLOCK_BYTES:
            return members, None
        if not block:
            return members, f"at byte {offset}: ends without the end-of-archive mark; cut off?"
        header = _parse_header(block)
        if header is None:
            return members, f"at byte {offset}: broken header, the rest cannot be read"
        name, size, kind = header
        data = offset + BLOCK_BYTES
        if kind in b"xL":
            if size > _MAX_NAME_BYTES or data + size > file_bytes:
                return members, f"at byte {offset}: broken header, the rest cannot be read"
            content = os.pread(fd, size, data)
            if kind == b"L":
                name_override = _text(content.split(b"\0", 1)[0])
            else:
                fields = _parse_pax(content)
                name_override = fields.get("path", name_override)
                size_field = fields.get("size", "")
                size_override = int(size_field) if size_field.isdecimal() else size_override
        elif kind not in b"gK":
            if size_override is not None:
                size = size_override
            if data + size > file_bytes:
                return members, f"{name_override or name}: cut off, the file ends inside of it"
            if kind in b"0\x007":
                members.append(Member(name_override or name, data, size))
            name_override = size_override = None
        offset = data + -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _parse_header(block: bytes) -> tuple[str, int, bytes] | None:
    """Read name, size in bytes and type flag; None if this is no tar header."""
    if len(block) < BLOCK_BYTES:
        return None
    checksum = _parse_number(block[148:156])
    # The checksum field itself counts as eight blanks (8 * 32 = 256).
    if checksum != sum(block) - sum(block[148:156]) + 256:
        return None
    size = _parse_number(block[124:136])
    if size is None or size < 0:
        return None
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].split(b"\0", 1)[0]
        if prefix:
            name = prefix + b"/" + name
    return _text(name), size, block[156:157]


def _parse_number(field: bytes) -> int | None:
    """Read an octal number, or GNU's base-256 for what does not fit into octal digits."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big") if field[0] == 0x80 else None
    digits = field.split(b"\0", 1)[0].strip()
    try:
        return int(digits or b"0", 8)
    except ValueError:
        return None


def _parse_pax(content: bytes) -> dict[str, str]:
    """Read records of the form b"<length> <field>=<value>\n", up to the first malformed one."""
    fields = {}
    while content:
        length, blank, _ = content.partition(b" ")
        if not blank or not length.isdigit() or len(length) > 8 or int(length) <= len(length):
            break
        record, content = content[: int(length)], content[int(length) :]
        field, equals, value = record[len(length) + 1 :].rstrip(b"\n").partition(b"=")
        if not equals:
            break
        fields[_text(field)] = _text(value)
    return fields


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
