"""Embed the pictures and texts of evaluation sets, and pictures that a suite draws itself.

A follower embeds the same pictures at every step. They are decoded once and kept as uint8, up to a
bound, so that a job beside the trainer costs it little; suites that share a source also share the
embeddings of a step. All batches have one shape (the last is padded), so that each tower is
compiled once.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol

import jax
import numpy as np

from bigclip.config import ConfigError, choose
from bigclip.parallel.processes import gather_texts

_EMBED = "task's embeddings"  # beside the names of layers


class Model(Protocol):
    """What a suite needs of a model; `bigclip.load` gives one."""

    preprocess: Any  # picture -> uint8 [H, W, 3], with `size` (H) and to_dict()
    task: Any  # task.score: (params, image outputs, text outputs) -> [I, T], traceable
    score_params: Any  # the params that task.score is called with
    image_layers: tuple[str, ...]

    def embed_images(self, images: np.ndarray) -> Any:
        """Embed uint8 [b, H, W, 3]; array or tree with leading axis b."""

    def embed_texts(self, texts: list[str]) -> Any:
        """Embed b texts; array or tree with leading axis b."""

    def image_features(self, images: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Layers of the image tower for uint8 [b, H, W, 3], each float32 [b, ...]."""

    def score(self, image_outputs: Any, text_outputs: Any) -> np.ndarray:
        """Scores of all pairs, float32 [I, T]."""

    def rows_here(self, batch_size: int) -> np.ndarray:
        """Which rows of a batch need hold pictures in this process."""


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
        self._threads = drawing_threads(num_threads)
        self._preprocess: dict | None = None
        self._decoded: dict[int, np.ndarray] = {}
        self._decoded_bytes = 0
        self._lock = threading.Lock()  # of what is decoded
        self._model: Any = None
        self._outputs: dict[str, dict[int, list[np.ndarray]]] = {}  # what -> record -> leaves
        self._trees: dict[str, Any] = {}

    def embed(self, model: Model, index: Sequence[int]) -> Any:
        """Return the image outputs of the records at `index`, leading axis len(index).

        Raises:
            ConfigError: for a picture that cannot be decoded; names the record.
        """
        self._take(model)
        self._fill(index, [_EMBED], lambda images: {_EMBED: model.embed_images(images)})
        return self._gather(_EMBED, index)

    def features(
        self, model: Model, layers: Sequence[str], index: Sequence[int]
    ) -> dict[str, np.ndarray]:
        """Return layers of the image tower for the records at `index`; one pass for all layers.

        They are kept for the next suite, but for "tokens", which are large.

        Raises:
            ConfigError: for a layer that there is not, or a picture that cannot be decoded.
        """
        for layer in layers:
            choose(layer, dict.fromkeys(model.image_layers), "layers")
        self._take(model)
        self._fill(index, list(layers), lambda images: model.image_features(images, layers))
        found = {layer: self._gather(layer, index) for layer in layers}
        self._outputs.pop("tokens", None)
        return found

    def batches(self, model: Model, index: Sequence[int]) -> Iterator[tuple[list[int], np.ndarray]]:
        """Yield (records, their pictures), decoded one batch ahead and kept within the bound.

        The pictures are uint8 [batch size, H, W, 3], as `draw_batches` gives them.

        Raises:
            ConfigError: for a picture that cannot be decoded; names the record. Of several
                processes all raise it, at the end.
        """
        self._take(model)
        index, size = list(index), self._batch_size
        groups = [index[k : k + size] for k in range(0, len(index), size)]
        decode = functools.partial(self._decode, model.preprocess, self._decoded)
        drawn = draw_batches(model, groups, decode, batch_size=size, threads=self._threads)
        for number, images in enumerate(drawn):
            yield groups[number], images

    def release(self) -> None:
        """Forget the last model and its embeddings, but not the decoded pictures."""
        self._model, self._outputs = None, {}

    def _take(self, model: Model) -> None:
        if model.preprocess.to_dict() != self._preprocess:
            self._preprocess = model.preprocess.to_dict()
            self._decoded, self._decoded_bytes = {}, 0
        if model is not self._model:
            self._model, self._outputs = model, {}

    def _fill(self, index: Sequence[int], names: list[str], outputs_of: Callable) -> None:
        """Embed what is missing; `outputs_of` gives, for a batch of pictures, name -> outputs."""
        kept = [self._outputs.setdefault(name, {}) for name in names]
        missing = [i for i in dict.fromkeys(index) if any(i not in rows for rows in kept)]
        for group, images in self.batches(self._model, missing):
            for name, outputs in outputs_of(images).items():
                leaves, self._trees[name] = jax.tree.flatten(outputs)
                leaves = [np.asarray(leaf) for leaf in leaves]
                for row, i in enumerate(group):
                    self._outputs[name][i] = [leaf[row] for leaf in leaves]

    def _gather(self, name: str, index: Sequence[int]) -> Any:
        columns = zip(*(self._outputs[name][i] for i in index), strict=True)
        return jax.tree.unflatten(self._trees[name], [np.stack(column) for column in columns])

    def _decode(self, preprocess: Callable, decoded: dict[int, np.ndarray], i: int) -> np.ndarray:
        image = decoded.get(i)
        if image is not None:
            return image
        record = self._source[i]
        try:
            image = np.asarray(preprocess(record.image), np.uint8)
        except Exception as error:
            raise ConfigError(
                f"the picture of evaluation record {record.key} cannot be decoded ({error}): an "
                "evaluation set is taken whole, so mend or remove the record."
            ) from error
        with self._lock:
            if i not in decoded and self._decoded_bytes + image.nbytes <= self._cache_bytes:
                decoded[i] = image.copy()
                self._decoded_bytes += image.nbytes
        return image


def draw_batches(
    model: Model,
    groups: Sequence[Sequence[Any]],
    draw: Callable[[Any], np.ndarray],
    *,
    batch_size: int,
    threads: Executor,
) -> Iterator[np.ndarray]:
    """Yield one batch of pictures a group, drawn on threads while the batch before is embedded.

    All batches have one shape, uint8 [batch_size, H, W, 3]: the last picture of a group is
    repeated to fill its batch. Where several processes share the model, those that others embed
    are black.

    Args:
        model: whose pictures they will be.
        groups: what each batch shows, at most `batch_size` things each.
        draw: thing -> uint8 [H, W, 3]; called on threads, for the rows of this process alone.
        batch_size: b.
        threads: where `draw` is called.

    Raises:
        ConfigError: that `draw` raised. Of several processes all raise it, at the end.
    """
    here = set(model.rows_here(batch_size).tolist())
    faults: list[str] = []

    def start(group):
        return {row: threads.submit(draw, thing) for row, thing in enumerate(group) if row in here}

    waiting = [start(group) for group in groups[:1]]
    for number, group in enumerate(groups):
        waiting += [start(following) for following in groups[number + 1 : number + 2]]
        images = np.zeros((batch_size, *(model.preprocess.size,) * 2, 3), np.uint8)
        for row, future in waiting.pop(0).items():
            try:
                images[row] = future.result()
            except ConfigError as error:
                if jax.process_count() == 1:
                    raise
                faults.append(str(error))
        images[len(group) :] = images[len(group) - 1]
        yield images
    _raise_together(faults)


def _raise_together(faults: Sequence[str]) -> None:
    for told in gather_texts(faults[0] if faults else ""):
        if told:
            raise ConfigError(told)


def embed_drawn(
    model: Model, count: int, draw: Callable[[int], np.ndarray], *, batch_size: int = 64
) -> Any:
    """Embed pictures that come from no file.

    Args:
        model: the model.
        count: how many, at least 1.
        draw: number -> uint8 [H, W, 3] of the model's size; called on threads, for the pictures
            that this process embeds.
        batch_size: pictures per call of the model.

    Returns:
        Array or tree on the host, leading axis `count`.
    """
    groups = [range(k, min(k + batch_size, count)) for k in range(0, count, batch_size)]
    parts = []
    with drawing_threads() as threads:
        drawn = draw_batches(model, groups, draw, batch_size=batch_size, threads=threads)
        for number, images in enumerate(drawn):
            parts.append(take(model.embed_images(images), range(len(groups[number]))))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def drawing_threads(num: int | None = None) -> ThreadPoolExecutor:
    """Return threads that decode or draw pictures; by default one a core, at most 16."""
    return ThreadPoolExecutor(num or min(os.cpu_count() or 1, 16))


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


def are_vectors(*outputs: Any) -> bool:
    """Say whether all outputs are one vector a picture or text, [N, D]; else there is no cosine."""
    return all(isinstance(one, np.ndarray) and one.ndim == 2 for one in outputs)


def unit(emb: np.ndarray) -> np.ndarray:
    """Divide the rows of [.., D] by their length, float32; a zero row stays zero."""
    emb = np.asarray(emb, np.float32)
    return emb / np.maximum(np.linalg.norm(emb, axis=-1, keepdims=True), 1e-12)
