"""Indexes of tar shards kept on disk, so that a restart need not read all headers again.

Each shard's index is kept in a file of its own. All of them together are kept once more, as three
plain arrays that are mapped into memory: the workers of a host then share one copy, and opening a
hundred million samples takes no longer than looking whether any shard has changed.
"""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Sequence

import numpy as np

from bigclip.data.buffered_file import BufferedFile
from bigclip.data.files import Files, file_system, is_url
from bigclip.data.tars import TarIndex, read_index

_ARRAYS = ("keys", "offsets", "sizes")


def index_shard(path: str, *, needs_caption: bool = True) -> TarIndex:
    """Read the headers of a shard, local or behind a URL. All else as `tars.read_index`."""
    file = BufferedFile(Files(), path) if is_url(path) else _Local(path)
    return read_index(file.read, file.size, needs_caption=needs_caption)


def kept_index(path: str, index_dir: str, *, needs_caption: bool = True) -> TarIndex:
    """Read the index of a shard from `index_dir`, or from the shard itself, and keep it there.

    It is kept under the shard's path and what tells its content (size and time of change, or the
    remote store's own mark), so that an index never outlives what it describes. Many processes may
    do this at once. `needs_caption` is for `tars.read_index`, and decides what is kept.

    Raises:
        As `tars.read_index`; and OSError if `index_dir` cannot be written.
    """
    kind = "" if needs_caption else "-labels"
    kept = os.path.join(index_dir, f"{os.path.basename(path)}-{_identity(path)}{kind}.npz")
    try:
        with np.load(kept) as arrays:
            return TarIndex(
                arrays["keys"], arrays["offsets"], arrays["sizes"], tuple(arrays["faults"].tolist())
            )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        index = index_shard(path, needs_caption=needs_caption)  # nothing kept yet, or damaged
    os.makedirs(index_dir, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=index_dir, suffix=".tmp", delete=False) as file:
        np.savez(file, **{**index._asdict(), "faults": np.array(index.faults, dtype=np.str_)})
    os.replace(file.name, kept)
    return index


def keep_mapped(index: TarIndex, paths: Sequence[str], index_dir: str) -> tuple[TarIndex, str]:
    """Exchange the arrays of a joined index for the same ones, kept and mapped.

    Args:
        index: of all shards, one under the other.
        paths: of the shards.
        index_dir: where the arrays are kept.

    Returns:
        The index, and the path for `open_mapped`.
    """
    text = "\0".join(f"{path}\0{_identity(path)}" for path in paths)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    stem = os.path.join(index_dir, f"all-{digest}-{index.sizes.shape[1]}")
    for name in _ARRAYS:
        kept = f"{stem}-{name}.npy"
        if not os.path.exists(kept):
            with tempfile.NamedTemporaryFile(dir=index_dir, suffix=".tmp", delete=False) as file:
                np.save(file, getattr(index, name))
            os.replace(file.name, kept)
    return open_mapped(stem), stem


def open_mapped(stem: str) -> TarIndex:
    """Map the arrays that `keep_mapped` has kept."""
    arrays = (np.load(f"{stem}-{name}.npy", mmap_mode="r") for name in _ARRAYS)
    return TarIndex(*arrays, faults=())


def _identity(path: str) -> str:
    if is_url(path):
        fs, inside = file_system(path)
        mark = f"{path}\0{fs.size(inside)}\0{fs.ukey(inside)}"
    else:
        status = os.stat(path)
        mark = f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}"
    return hashlib.sha256(mark.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class _Local:
    def __init__(self, path: str):
        files = Files()
        self.size = files.size(path)
        self.read = lambda offset, size: files.read(path, offset, size)
