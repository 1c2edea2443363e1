"""The members of a tar, one header after the other.

Understood are POSIX ustar (with prefix), GNU long names and base-256 sizes, and PAX headers
(`path` and `size`); other PAX fields, directories and links are passed over.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

BLOCK_BYTES = 512
_MAX_NAME_BYTES = 1 << 20  # a longer name is a broken header, not a name


class TarError(Exception):
    """The file is no tar that can be read."""


class Member(NamedTuple):
    """A regular file in a tar; all numbers in bytes."""

    name: str
    start: int  # of its header, or of the first of several
    offset: int  # of its content
    size: int  # of its content

    @property
    def end(self) -> int:
        """Where the next header begins."""
        return self.offset + _padded(self.size)


class TarWalk:
    """Iterate over the regular files of a tar, in order.

    Attributes:
        fault: when the iteration has ended, what is wrong with the rest of the file; or None.
    """

    def __init__(self, read: Callable[[int, int], bytes], file_bytes: int, start: int = 0):
        """Begin at a header.

        Args:
            read: (offset, size) -> exactly so many bytes of the file.
            file_bytes: the size of the file.
            start: where the first header lies.
        """
        self._read = read
        self._file_bytes = file_bytes
        self._start = start
        self.fault: str | None = None

    def __iter__(self) -> Iterator[Member]:
        """Go through the members.

        Raises:
            TarError: if the file is empty, compressed, or does not start like a tar.
            OSError: if it cannot be read.
        """
        if self._start == 0:
            self._check_beginning()
        start = offset = self._start
        name_override, size_override = None, None
        while True:
            left = max(0, self._file_bytes - offset)
            block = self._read(offset, min(BLOCK_BYTES, left))
            if len(block) == BLOCK_BYTES and block.count(0) == BLOCK_BYTES:
                return
            if not block:
                self.fault = f"at byte {offset}: ends without the end-of-archive mark; cut off?"
                return
            header = _parse_header(block)
            if header is None:
                self.fault = f"at byte {offset}: broken header, the rest cannot be read"
                return
            name, size, kind = header
            data = offset + BLOCK_BYTES
            if kind in b"xL":
                if size > _MAX_NAME_BYTES or data + size > self._file_bytes:
                    self.fault = f"at byte {offset}: broken header, the rest cannot be read"
                    return
                content = self._read(data, size)
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
                if data + size > self._file_bytes:
                    self.fault = f"{name_override or name}: cut off, the file ends inside of it"
                    return
                if kind in b"0\x007":
                    yield Member(name_override or name, start, data, size)
                name_override = size_override = None
                start = data + _padded(size)
            # What only describes the next member belongs to it: `start` stays.
            offset = data + _padded(size)

    def _check_beginning(self) -> None:
        if not self._file_bytes:
            raise TarError("the file is empty")
        first = self._read(0, min(BLOCK_BYTES, self._file_bytes))
        if first[:2] == b"\x1f\x8b" or first[:3] == b"BZh" or first[:6] == b"\xfd7zXZ\x00":
            raise TarError("the tar is compressed; unpack it to a plain .tar")
        ends_at_once = first.count(0) == len(first) == BLOCK_BYTES
        if not ends_at_once and _parse_header(first) is None:
            raise TarError("the file does not start with a tar header")


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


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
