"""Embed the pictures and texts of evaluation sets, in batches of one shape.

A follower embeds the same pictures at every step. They are decoded once and kept as uint8, up to a
bound, so that a job beside the trainer costs it little; suites that share a source also share the
embeddings of a step. All batches have one shape (the last is padded), so that each tower is
compiled once.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import jax
import numpy as np


class Model(Protocol):
    """What a suite needs of a model; `bigclip.load` gives one."""

    preprocess: Any  # image bytes -> uint8 [H, W, 3], with to_dict()
    params: Any
    task: Any  # task.score: (params, image outputs, text outputs) -> [I, T], traceable

    def embed_images(self, images: np.ndarray) -> Any:
        """Embed uint8 [b, H, W, 3]; array or tree with leading axis b."""

    def embed_texts(self, texts: list[str]) -> Any:
        """Embed b texts; array or tree with leading axis b."""


class Pictures:
    """The pictures of a source, decoded once and embedded once per model.

    Args:
        source: a sequence of records.
        cache_bytes: bound of the decoded pictures that are kept; the rest are decoded anew at
            every step.
        batch_size: pictures per call of the model.
        num_threads: threads that decode.
    """

    def __init__(
        self,
        source: Any,
        *,
        cache_bytes: int = 2 << 30,
        batch_size: int = 64,
        num_threads: int | None = None,
    ):
        self._source = source
        self._cache_bytes = cache_bytes
        self._batch_size = batch_size
        self._threads = ThreadPoolExecutor(num_threads or min(os.cpu_count() or 1, 16))
        self._preprocess: dict | None = None
        self._decoded: dict[int, np.ndarray] = {}
        self._decoded_bytes = 0
        self._model: Any = None
        self._outputs: dict[int, list[np.ndarray]] = {}
        self._tree: Any = None

    def embed(self, model: Model, index: Sequence[int]) -> Any:
        """Return the image outputs of the records at `index`, leading axis len(index).

        Raises:
            ValueError: for a picture that cannot be decoded; names the record.
        """
        if model.preprocess.to_dict() != self._preprocess:
            self._preprocess = model.preprocess.to_dict()
            self._decoded, self._decoded_bytes = {}, 0
        if model is not self._model:
            self._model, self._outputs = model, {}
        missing = [i for i in dict.fromkeys(index) if i not in self._outputs]
        batches = [
            missing[k : k + self._batch_size] for k in range(0, len(missing), self._batch_size)
        ]
        waiting = [self._start(batches[0])] if batches else []
        for position, batch in enumerate(batches):
            if position + 1 < len(batches):  # decode the next while the device embeds this one
                waiting.append(self._start(batches[position + 1]))
            images = np.stack([future.result() for future in waiting.pop(0)])
            leaves, self._tree = jax.tree.flatten(model.embed_images(self._padded(images)))
            leaves = [np.asarray(leaf) for leaf in leaves]
            for row, i in enumerate(batch):
                self._outputs[i] = [leaf[row] for leaf in leaves]
                self._keep(i, images[row])
        columns = zip(*(self._outputs[i] for i in index), strict=True)
        return jax.tree.unflatten(self._tree, [np.stack(column) for column in columns])

    def release(self) -> None:
        """Forget the last model and its embeddings, but not the decoded pictures."""
        self._model, self._outputs = None, {}

    def _start(self, batch: Sequence[int]) -> list:
        preprocess = self._model.preprocess
        return [self._threads.submit(self._decode, preprocess, i) for i in batch]

    def _decode(self, preprocess: Callable, i: int) -> np.ndarray:
        if i in self._decoded:
            return self._decoded[i]
        record = self._source[i]
        try:
            return np.asarray(preprocess(record.image), np.uint8)
        except Exception as error:
            raise ValueError(
                f"the picture of evaluation record {record.key} cannot be decoded ({error}): an "
                "evaluation set is taken whole, so mend or remove the record."
            ) from error

    def _keep(self, i: int, image: np.ndarray) -> None:
        if i not in self._decoded and self._decoded_bytes + image.nbytes <= self._cache_bytes:
            self._decoded[i] = image.copy()
            self._decoded_bytes += image.nbytes

    def _padded(self, images: np.ndarray) -> np.ndarray:
        missing = self._batch_size - len(images)
        return np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])


def embed_texts(model: Model, texts: Sequence[str], *, batch_size: int = 256) -> Any:
    """Return the text outputs of `texts`, array or tree with leading axis len(texts)."""
    parts = []
    batch_size = min(batch_size, 1 << max(len(texts) - 1, 0).bit_length())
    for start in range(0, len(texts), batch_size):
        part = list(texts[start : start + batch_size])
        outputs = model.embed_texts(part + part[-1:] * (batch_size - len(part)))
        parts.append(take(outputs, range(len(part))))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def take(emb: Any, index: Sequence[int]) -> Any:
    """Return the rows `index` of every leaf."""
    index = np.asarray(index, np.int64)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], emb)
