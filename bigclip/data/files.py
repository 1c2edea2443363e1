"""Byte ranges of files, on this machine or behind any URL that fsspec knows.

`gs://` needs the package gcsfs, `s3://` s3fs; `https://` and fsspec's `memory://` come along. Every
read names its range, so nothing is kept but open descriptors, and a read that failed on the way
can simply be made again.
"""

import asyncio
import collections
import functools
import logging
import os
import re
import threading
import weakref

import tenacity

from bigclip.config import ConfigError

_MAX_OPEN = 256  # below the common limit of 1,024 open files a process
_ATTEMPTS = 12  # with the waits between them, about a minute
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.25, 20
_TOLD_ATTEMPTS = (3, 8)  # a failure now and then is nothing to talk of
_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3"}  # protocol -> extra of bigclip
_GONE, _FORBIDDEN = (404, 410), (401, 403)  # HTTP

logger = logging.getLogger(__name__)


def is_url(path: str) -> bool:
    """Whether a path names another file system than that of this machine."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*(::|:/)", path) is not None


class NoRanges(OSError):
    """The server sends whole files only."""


# What trying again cannot mend.
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NoRanges)


class Files:
    """Reads ranges; can be pickled and shared between threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._open: collections.OrderedDict[str, _OpenFile] = collections.OrderedDict()

    def size(self, path: str) -> int:
        """Return the size of a file in bytes.

        Raises:
            OSError: if it does not exist or cannot be asked.
        """
        if is_url(path):
            return int(_again(_remote_size, path))
        return os.stat(path).st_size

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes from `offset` on.

        Reads over the network are tried again for about a minute.

        Raises:
            OSError: if the file cannot be read, or is shorter.
        """
        if is_url(path):
            return _again(_remote_read, path, offset, size)
        content = os.pread(self._descriptor(path).fd, size, offset)
        if len(content) != size:
            raise _too_short(path, offset, size, len(content))
        return content

    def _descriptor(self, path: str) -> "_OpenFile":
        with self._lock:
            file = self._open.get(path)
            if file is None:
                file = self._open[path] = _OpenFile(path)
                if len(self._open) > _MAX_OPEN:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(path)
            return file

    def __reduce__(self):
        return Files, ()


class _OpenFile:
    """A descriptor that closes when the last thread that reads from it lets go of it."""

    def __init__(self, path: str):
        self.fd = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.fd)


def file_system(url: str):
    """Return fsspec's file system of a URL, and the path inside of it.

    Raises:
        ConfigError: if the protocol is unknown, or its package is not installed.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        extra = _EXTRAS.get(url.partition(":")[0])
        mend = f" (pip install 'bigclip[{extra}]')" if extra else ""
        raise ConfigError(f"source.shards: {url!r} cannot be opened: {error}{mend}") from None


def _remote_size(url: str) -> int:
    fs, path = file_system(url)
    try:
        size = fs.size(path)
    except FileNotFoundError as error:
        # fsspec says so of whatever goes wrong with a web server.
        cause = error.__cause__
        status = getattr(cause, "status", None)
        if cause is None or status in _GONE:
            raise
        kind = PermissionError if status in _FORBIDDEN else OSError
        raise kind(f"{url}: {_reason(cause)}") from cause
    if size is None:
        raise NoRanges(f"{url}: the server does not tell its size, so it cannot be read by ranges")
    return size


def _remote_read(url: str, offset: int, size: int) -> bytes:
    if not size:
        return b""
    fs, path = file_system(url)
    content = fs.cat_file(path, start=offset, end=offset + size)
    if len(content) > size:
        raise NoRanges(f"{url}: the server ignores ranges (Python's http.server does); use another")
    if len(content) != size:
        # A connection that broke off looks like this, too, so it is tried again.
        raise _too_short(url, offset, size, len(content))
    return content


def _too_short(path: str, offset: int, size: int, found: int) -> OSError:
    return OSError(
        f"{path}: {found} of {size} bytes at {offset}; the shard was changed after it was opened"
    )


@functools.cache
def _retrying() -> tenacity.Retrying:
    def may_pass(error: BaseException) -> bool:
        if isinstance(error, _FINAL):
            return False
        # aiohttp's errors, which fsspec lets through, are no OSErrors.
        return isinstance(error, (OSError, asyncio.TimeoutError)) or type(
            error
        ).__module__.startswith("aiohttp")

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(may_pass),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_random_exponential(
            multiplier=_FIRST_WAIT_SECONDS, max=_MAX_WAIT_SECONDS
        ),
        before_sleep=_tell,
        reraise=True,
    )


def _tell(state: tenacity.RetryCallState) -> None:
    if state.attempt_number in _TOLD_ATTEMPTS:
        error = state.outcome.exception()
        logger.warning("trying again: %s: %s", state.args[0], _reason(error))


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _again(read, *args):
    try:
        return _retrying()(read, *args)
    except OSError:
        raise
    except Exception as error:
        if type(error).__module__.startswith("aiohttp"):
            raise OSError(f"{args[0]}: {type(error).__name__}: {_reason(error)}") from error
        raise
