"""A file that is read from front to back in pieces of a few megabytes."""

from bigclip.data.files import Files

_FIRST_BYTES = 1 << 20


class BufferedFile:
    """Reads ahead; what was passed over is forgotten. For one thread.

    Attributes:
        size: of the file, in bytes.
        ahead_bytes: how much to read at once, at least.
    """

    def __init__(self, files: Files, path: str, *, ahead_bytes: int = _FIRST_BYTES):
        """Ask for the size; nothing is read yet.

        Raises:
            OSError: if the file does not exist.
        """
        self.size = files.size(path)
        self.ahead_bytes = ahead_bytes
        self._files = files
        self._path = path
        self._start, self._buffer = 0, b""

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset` on; errors as `Files.read`."""
        first = offset - self._start
        if first < 0 or first > len(self._buffer):
            # Before what is at hand, or beyond: content that nobody wanted is not read.
            self._start, self._buffer, first = offset, b"", 0
        if first + size > len(self._buffer):
            kept = self._buffer[first:]
            begin = offset + len(kept)
            wanted = min(max(size - len(kept), self.ahead_bytes), max(self.size - begin, 0))
            wanted = max(wanted, size - len(kept))
            self._buffer = kept + self._files.read(self._path, begin, wanted)
            self._start, first = offset, 0
        return self._buffer[first : first + size]
