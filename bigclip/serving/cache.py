"""Embeddings of pictures, kept on disk: the second start of a demo embeds only what is new.

One .npz file: the keys of the pictures, the leaves of their embeddings, and the fingerprint of the
model that made them. With another model, or a damaged file, nothing in it counts.
"""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np


class EmbeddingCache:
    """The kept embeddings of one model.

    Attributes:
        path: the file.
        rows: key of a picture -> its leaves, each without the leading axis.
    """

    def __init__(self, path: Path | None, fingerprint: str):
        """Read the file if it is there.

        Args:
            path: the file; None keeps nothing.
            fingerprint: of the model, see `model_fingerprint`.
        """
        self.path, self._fingerprint = path, fingerprint
        self.rows: dict[str, list[np.ndarray]] = {}
        if path is not None:
            self.rows = _read(path, fingerprint)

    def write(self, rows: Mapping[str, list[np.ndarray]]) -> None:
        """Put these embeddings in the place of those in the file.

        Raises:
            OSError: if the file cannot be written.
        """
        if self.path is None or not rows:
            return
        leaves = [np.stack(column) for column in zip(*rows.values(), strict=True)]
        arrays = {f"leaf_{i}": leaf for i, leaf in enumerate(leaves)}
        about = {"fingerprint": self._fingerprint, "keys": list(rows)}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.path.parent, suffix=".tmp", delete=False) as file:
            np.savez(file, **arrays)
        os.replace(file.name, self.path)


def default_path(place: str) -> Path:
    """Where the embeddings of a gallery are kept: in the user's cache folder.

    Args:
        place: of the gallery.
    """
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    digest = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Path(root, "bigclip", f"demo-{digest}.npz")


def model_fingerprint(model: Any) -> str:
    """Return a hash over all that decides a picture's embedding: weights, task, preprocessing."""
    digest = hashlib.sha256()
    about = [model.manifest.get("task"), model.preprocess.to_dict()]
    digest.update(json.dumps(about, sort_keys=True, default=str).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.params):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


def _read(path: Path, fingerprint: str) -> dict[str, list[np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            if about["fingerprint"] != fingerprint:
                return {}
            leaves = [arrays[f"leaf_{i}"] for i in range(len(arrays.files) - 1)]
        if any(len(leaf) != len(about["keys"]) for leaf in leaves):
            return {}
        return {key: [leaf[i] for leaf in leaves] for i, key in enumerate(about["keys"])}
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        return {}  # nothing kept yet, or damaged
