"""New files and folders that appear whole or not at all.

Work goes to a hidden neighbour of the destination, `.NAME.partial-XXXXXXXX` with the suffix kept,
which is renamed when everything is on the disk. Whatever ends the block early, Ctrl-C included,
removes it. A process killed outright leaves the hidden neighbour, never a half-made destination.
"""

import contextlib
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator

from bigclip.config import ConfigError


@contextlib.contextmanager
def new_file(dest: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Give a path to write a file to; it becomes `dest` when the block ends well.

    Folders above `dest` are made.

    Yields:
        A path in the folder of `dest`, with its suffix, at which nothing exists yet.

    Raises:
        ConfigError: if `dest` exists, when the block begins or when it ends, or if its folder
            cannot be made.
        ValueError: if the block wrote nothing to the path.
    """
    dest, temporary = _begin(dest)
    try:
        yield temporary
        if not temporary.is_file():
            raise ValueError(f"nothing was written to {temporary}")
        _finish(temporary, dest)
    finally:
        # After the rename there is nothing left at this path.
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(dest: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Give an empty folder to fill; it becomes `dest` when the block ends well.

    Folders above `dest` are made.

    Yields:
        The path of a new folder beside `dest`.

    Raises:
        ConfigError: if `dest` exists, when the block begins or when it ends, or if its folder
            cannot be made.
    """
    dest, temporary = _begin(dest)
    temporary.mkdir()
    try:
        yield temporary
        _finish(temporary, dest)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _begin(dest: str | os.PathLike) -> tuple[pathlib.Path, pathlib.Path]:
    dest = pathlib.Path(os.path.abspath(dest))
    _check_free(dest)
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{dest}: its folder cannot be made: {error}.") from error
    if not os.access(dest.parent, os.W_OK):
        raise ConfigError(f"{dest}: its folder cannot be written to.")
    return dest, dest.with_name(f".{dest.stem}.partial-{secrets.token_hex(4)}{dest.suffix}")


def _check_free(dest: pathlib.Path) -> None:
    if os.path.lexists(dest):
        raise ConfigError(f"{dest} exists: remove it, or write to another path.")


def _finish(temporary: pathlib.Path, dest: pathlib.Path) -> None:
    """Bring all to the disk before the name, so that a power cut cannot part them."""
    for path in (*temporary.rglob("*"), temporary):
        if not path.is_symlink():
            _sync(path)
    _check_free(dest)
    os.rename(temporary, dest)
    _sync(dest.parent)


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
