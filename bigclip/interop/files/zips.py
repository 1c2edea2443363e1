"""The entries of an untrusted zip archive, held against the file before anything is read.

`zipfile` reads the directory; what it says of the entries is believed only where the file bears it
out: each must lie inside of the file and overlap no other, which rules out the archives that claim
petabytes in a few kilobytes. Nothing is ever unpacked to a path, so names are only names.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from bigclip.config import ConfigError
from bigclip.interop.files.tensors import open_regular, read_exactly

MAX_DIRECTORY_BYTES = 16 << 20  # 150,000 entries
_CHUNK_BYTES = 1 << 20
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of the name and of the extra field
_ENCRYPTED = 0x1  # flags
_PATCHED = 0x20
# Deflate cannot do better than 258 bytes for two bits.
_MAX_DEFLATE_RATIO = 1032


class Entry(NamedTuple):
    """A file in an archive; all numbers in bytes."""

    path: str  # of the archive
    name: str
    offset: int  # of its content in the archive
    stored: int  # of its content in the archive
    size: int  # of its content, unpacked
    deflated: bool
    crc: int  # CRC-32 of its content, unpacked

    def read(self, limit: int) -> bytes:
        """Read the beginning of the content, at most `limit` bytes."""
        content = bytearray()
        for chunk in self.chunks(check=False, most=limit):
            content += chunk[: limit - len(content)]
            if len(content) >= limit:
                break
        return bytes(content)

    def chunks(self, *, check: bool = True, most: int = _CHUNK_BYTES) -> Iterator[memoryview]:
        """Go through the content, unpacked, in pieces: `size` bytes in all.

        A piece holds until the next one is asked for.

        Args:
            check: hold the content against its CRC at the end.
            most: bytes of a piece.

        Raises:
            ConfigError: if the content is not as large as claimed, or damaged.
        """
        where = f"{self.path}: {self.name}"
        done = crc = 0
        with open_regular(self.path) as file:
            pieces = self._raw(file, where, most)
            if self.deflated:
                pieces = self._inflated(pieces, where, most)
            for piece in pieces:
                done += len(piece)
                if done > self.size:
                    break
                crc = zlib.crc32(piece, crc) if check else 0
                yield piece
        if done != self.size:
            raise ConfigError(f"{where}: claims {self.size} bytes and has others; damaged.")
        # Zero: torch writes it where it was told to leave checksums out.
        if check and self.crc not in (0, crc):
            raise ConfigError(f"{where}: its checksum (CRC-32) differs: damaged; copy it again.")

    def _raw(self, file: BinaryIO, where: str, most: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(most, self.stored)))
        for start in range(0, self.stored, most):
            piece = buffer[: min(most, self.stored - start)]
            read_exactly(file, self.offset + start, piece, where)
            yield piece

    def _inflated(
        self, pieces: Iterable[memoryview], where: str, most: int
    ) -> Iterator[memoryview]:
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            for packed in pieces:
                while packed and not unpack.eof:
                    yield memoryview(unpack.decompress(packed, most))
                    packed = unpack.unconsumed_tail
            while not unpack.eof:
                piece = unpack.decompress(unpack.unconsumed_tail, most)
                if not piece:
                    raise ConfigError(f"{where}: its compressed content ends early; damaged.")
                yield memoryview(piece)
        except zlib.error as error:
            raise ConfigError(f"{where}: cannot be unpacked: {error}; damaged.") from error


def zip_entries(path: str) -> dict[str, Entry]:
    """Read the directory of an archive: name -> entry; folders are passed over.

    Raises:
        ConfigError: if it is no whole zip archive, has entries that overlap, lie outside of the
            file, are named twice, encrypted, or claim sizes that cannot be.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        entries, spans = {}, []
        for info in _directory(file, path):
            where = f"{path}: {info.orig_filename!r}"
            # zipfile cuts names off at a zero byte.
            if info.filename != info.orig_filename or not info.filename.isprintable():
                raise ConfigError(f"{where}: no name of a file in an archive.")
            if info.filename in entries:
                raise ConfigError(f"{where}: stands in the archive twice.")
            if info.flag_bits & (_ENCRYPTED | _PATCHED):
                raise ConfigError(f"{where}: is encrypted; unpack it and save it plainly.")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ConfigError(f"{where}: its compression is not known; save it uncompressed.")
            offset = _content(file, info, where)
            end = offset + info.compress_size
            if end > size:
                raise ConfigError(f"{where}: ends outside of the file; cut off? copy it again.")
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            most = _MAX_DEFLATE_RATIO * info.compress_size if deflated else info.compress_size
            if info.file_size > most or (not deflated and info.file_size != most):
                raise ConfigError(
                    f"{where}: claims {info.file_size} bytes out of {info.compress_size}."
                )
            spans.append((info.header_offset, end, info.filename))
            if not info.is_dir():
                entries[info.filename] = Entry(
                    path,
                    info.filename,
                    offset,
                    info.compress_size,
                    info.file_size,
                    deflated,
                    info.CRC,
                )
    position, before = 0, ""
    for begin, end, name in sorted(spans):
        if begin < position:
            raise ConfigError(f"{path}: {name!r} and {before!r} overlap in the archive.")
        position, before = end, name
    return entries


def _directory(file: BinaryIO, path: str) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(_Limited(file, path)) as archive:
            return archive.infolist()
    except ConfigError:
        raise
    # What zipfile and struct raise for damaged bytes is nowhere listed.
    except Exception as error:
        raise ConfigError(
            f"{path}: the zip archive cannot be read: {str(error)[:200]!r}. Cut off? Copy it again."
        ) from error


def _content(file: BinaryIO, info: zipfile.ZipInfo, where: str) -> int:
    """Find where the content begins: behind its own header, whose length only that tells."""
    header = bytearray(_LOCAL_HEADER.size)
    if info.header_offset < 0:
        raise ConfigError(f"{where}: begins outside of the file.")
    read_exactly(file, info.header_offset, memoryview(header), where)
    signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
    if signature != b"PK\x03\x04":
        raise ConfigError(f"{where}: does not begin where the archive's directory says.")
    return info.header_offset + len(header) + name_bytes + extra_bytes


class _Limited:
    """The file, for zipfile, which would read a directory of any size at once."""

    def __init__(self, file: BinaryIO, path: str):
        self._file, self._path = file, path
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        left = os.fstat(self._file.fileno()).st_size - self._file.tell()
        size = left if size < 0 else min(size, left)
        if size > MAX_DIRECTORY_BYTES:
            raise ConfigError(
                f"{self._path}: a directory of more than {MAX_DIRECTORY_BYTES} bytes."
            )
        # A raw file may give less than was asked for.
        content = bytearray(max(size, 0))
        read_exactly(self._file, self._file.tell(), memoryview(content), self._path)
        return bytes(content)

    def seekable(self) -> bool:
        return True
