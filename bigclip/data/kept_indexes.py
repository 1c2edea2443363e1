"""Indexes of tar shards kept on disk, so that a restart need not read all headers again."""

import hashlib
import os
import tempfile
import zipfile

import numpy as np

from bigclip.data import tars


def read_kept_index(path: str, index_dir: str) -> tars.TarIndex:
    """Read the index of a shard from `index_dir`, or from the shard itself, and keep it there.

    It is kept under the shard's path, size and time of change, so that an index never outlives
    what it describes. Many processes may do this at once.

    Raises:
        As `tars.read_index`; and OSError if `index_dir` cannot be written.
    """
    status = os.stat(path)
    identity = f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}"
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    kept = os.path.join(index_dir, f"{os.path.basename(path)}-{digest}.npz")
    try:
        with np.load(kept) as arrays:
            return tars.TarIndex(
                arrays["keys"], arrays["offsets"], arrays["sizes"], tuple(arrays["faults"].tolist())
            )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        index = tars.read_index(path)  # nothing kept yet, or damaged
    os.makedirs(index_dir, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=index_dir, suffix=".tmp", delete=False) as file:
        np.savez(file, **{**index._asdict(), "faults": np.array(index.faults, dtype=np.str_)})
    os.replace(file.name, kept)
    return index
