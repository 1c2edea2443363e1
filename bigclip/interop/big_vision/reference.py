"""big_vision's own model code, run on a file: the proof of what is read and written here.

It is no package: a clone of https://github.com/google-research/big_vision is found by the
environment variable BIG_VISION, or on Python's path.
"""

import contextlib
import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
import PIL.Image
from ml_collections import ConfigDict

from bigclip.interop.big_vision.configuring import model_arguments
from bigclip.interop.big_vision.describing import TOWERS, describe
from bigclip.interop.big_vision.geometry import find_layout
from bigclip.interop.files import open_weights

INSTALL = (
    "git clone https://github.com/google-research/big_vision && export BIG_VISION=$PWD/big_vision "
    "&& pip install einops"
)
_PATH_VARIABLE = "BIG_VISION"
_MODULES = {
    "both": "models.proj.image_text.two_towers",
    "image": "models.vit",
    "text": "models.proj.image_text.text_transformer",
}


class BigVisionModel:
    """A file of weights in the model that big_vision defines for it; see `Reference`.

    Only the arguments of that model are told from the file by our reader. The file is read, and
    all is computed, by the clone's code.
    """

    def __init__(self, path: Path, *, architecture: str | None = None):
        """Build the model and load the file.

        Args:
            path: of the .npz.
            architecture: as in `ReadOptions`.

        Raises:
            ImportError: if there is no big_vision, or what it needs is missing.
            ConfigError: if the file is none that our reader knows.
        """
        weights = open_weights(path, kind="npz")
        layout = find_layout(weights)
        arch = describe(weights, layout, architecture).architecture
        self._towers = tuple(name for name in TOWERS if getattr(layout, name) is not None)
        arguments = model_arguments(
            arch,
            towers=self._towers,
            loss="sigmoid" if f"{layout.prefix}b" in weights else "softmax",
            scanned={name: getattr(layout, name).scanned for name in self._towers},
        )
        if layout.image is not None and layout.image.positions is None:
            arguments.get("image", arguments)["posemb"] = "sincos2d"
        alone = self._towers[0] if len(self._towers) == 1 else "both"
        module = import_big_vision(_MODULES[alone])
        # It tells by a slash that this is a path.
        params = module.load(None, os.path.abspath(path), ConfigDict(arguments))
        self._variables = {"params": params}
        self._apply = jax.jit(module.Model(**arguments).apply)

    def _run(self, *inputs):
        # Accelerators would multiply with fewer bits.
        with jax.default_matmul_precision("float32"):
            return self._apply(self._variables, *inputs)

    def pixels(self, pictures: Sequence[PIL.Image.Image]) -> None:
        """Return nothing: the file says nothing about preprocessing."""

    def ids(self, texts: Sequence[str]) -> None:
        """Return nothing: the file has no tokenizer."""

    def embed_images(self, pixels: np.ndarray) -> np.ndarray:
        """Embed pixels [I, H, W, 3]: [I, D], of unit length unless the tower is alone."""
        return np.asarray(self._run(np.asarray(pixels, np.float32))[0])

    def embed_texts(self, ids: np.ndarray) -> np.ndarray | None:
        """Embed ids [T, L]: [T, D], of unit length unless the tower is alone."""
        if self._towers == ("image",):
            return None
        ids = np.asarray(ids, np.int32)
        if self._towers == ("text",):
            return np.asarray(self._run(ids)[0])
        return np.asarray(self._run(None, ids)[1])

    def logits(self, pixels: np.ndarray, ids: np.ndarray) -> np.ndarray | None:
        """Score all pairs [I, T], as its trainer does: zimg ztxt' t + b."""
        if len(self._towers) == 1:
            return None
        images, texts = np.asarray(pixels, np.float32), np.asarray(ids, np.int32)
        image_emb, out = (self._run(images)[i] for i in (0, 2))
        text_emb = self._run(None, texts)[1]
        scaled = np.asarray(image_emb) @ np.asarray(text_emb).T * np.asarray(out["t"])
        return scaled + np.asarray(out.get("b", 0.0))


def import_big_vision(name: str) -> types.ModuleType:
    """Import a module of big_vision.

    Args:
        name: without "big_vision." in front.

    Raises:
        ImportError: says what is missing and how to get it.
    """
    clone = os.environ.get(_PATH_VARIABLE)
    if clone and clone not in sys.path:
        if not os.path.isdir(os.path.join(clone, "big_vision")):
            raise ImportError(f"{_PATH_VARIABLE} = {clone} holds no big_vision. {INSTALL}")
        sys.path.insert(0, clone)
    spec = importlib.util.find_spec("big_vision")
    # Without origin, it is but a folder of that name, such as that of the whole clone.
    if spec is None or spec.origin is None:
        raise ImportError(f"big_vision is not there; it is a clone, and no package. {INSTALL}")
    # Looks for TensorFlow, and so must come before its place is taken.
    importlib.import_module("flax.training.checkpoints")
    try:
        with _files_of_tensorflow():
            return importlib.import_module(f"big_vision.{name}")
    except ImportError as error:
        raise ImportError(f"big_vision cannot be imported: {error}. {INSTALL}") from error


@contextlib.contextmanager
def _files_of_tensorflow() -> Iterator[None]:
    """Take the place of `tensorflow.io.gfile` for the time of an import, where there is none.

    big_vision's utilities import it to reach buckets. Neither its models nor the reading of a
    local file call it; whoever does is told that it is not there.
    """
    if "tensorflow" in sys.modules or importlib.util.find_spec("tensorflow") is not None:
        yield
        return

    def absent(name: str):
        raise AttributeError(f"tensorflow.io.gfile.{name}: TensorFlow is not installed")

    names = ("tensorflow", "tensorflow.io", "tensorflow.io.gfile")
    root, io, gfile = (types.ModuleType(name) for name in names)
    root.io, io.gfile, gfile.__getattr__ = io, gfile, absent
    sys.modules.update(zip(names, (root, io, gfile), strict=True))
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
