"""Brace lists and globs of shards, on this machine or behind URLs, as plain paths."""

import difflib
import glob
import os
import re

from bigclip.config import ConfigError
from bigclip.data.files import file_system, is_url


def expand_shards(shards) -> list[str]:
    """Turn brace lists, globs and lists of those into paths, in a fixed order.

    `{000..012}` counts with the width of its ends, `{a,b}` lists; a glob's matches are sorted.
    URLs ("gs://bucket/{000..127}.tar", "s3://bucket/*.tar") stay URLs.

    Args:
        shards: a pattern, or a list of patterns.

    Raises:
        ConfigError: if a pattern matches nothing or makes no sense.
    """
    patterns = [shards] if isinstance(shards, (str, os.PathLike)) else list(shards)
    if not patterns:
        raise ConfigError("source.shards is empty; name at least one .tar")
    paths = []
    for pattern in map(os.fspath, patterns):
        if pattern.startswith("pipe:"):
            raise ConfigError(
                f"source.shards: {pattern!r} is a command; name the URL itself (gs://, s3://, "
                "https://), which is read by ranges"
            )
        for path in _expand_braces(os.path.expanduser(pattern)):
            paths += _expand_glob(path)
    return paths


def near_path(path: str) -> str:
    """Suggest a file beside one that does not exist: "; did you mean ...?", or nothing."""
    if is_url(path):
        return ""
    folder, name = os.path.split(path)
    try:
        near = difflib.get_close_matches(name, os.listdir(folder or "."), n=1)
    except OSError:
        return f" (the folder {folder!r} cannot be listed either)"
    return f"; did you mean {os.path.join(folder, near[0])}?" if near else ""


def _expand_glob(path: str) -> list[str]:
    if not glob.has_magic(path) or os.path.exists(path):
        return [path]
    if not is_url(path):
        matches = sorted(glob.glob(path, recursive=True))
    elif re.match(r"https?:", path):
        # "?" begins a query there, and most servers list nothing.
        return [path]
    else:
        fs, pattern = file_system(path)
        matches = sorted(map(fs.unstrip_protocol, fs.glob(pattern)))
    if not matches:
        raise ConfigError(f"source.shards: no file matches {path!r}")
    return matches


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
