"""Embed a gallery once, at the start of the demo."""

import os
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from bigclip.data.images import BadImage
from bigclip.data.records import BadRecord
from bigclip.serving.cache import EmbeddingCache
from bigclip.serving.galleries import Entry, Gallery

BATCH_SIZE = 64
_UNREADABLE = (OSError, BadImage, BadRecord)


class EmbeddedGallery(NamedTuple):
    """The pictures that can be found, as I rows.

    Attributes:
        gallery: where they lie.
        numbers: of each row in the gallery.
        entries: what is known of each.
        outputs: what `embed_images` gives for them, leading axis I, on the host.
        left_out: "name: reason" of each picture that cannot be shown.
        num_kept: pictures whose embeddings were in the cache.
    """

    gallery: Gallery
    numbers: list[int]
    entries: list[Entry]
    outputs: Any
    left_out: list[str]
    num_kept: int

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, row: int) -> bytes:
        """Return the encoded picture of a row. Raises OSError or BadRecord."""
        return self.gallery.read(self.numbers[row])


def embed_gallery(
    model: Any,
    gallery: Gallery,
    cache: EmbeddingCache,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> EmbeddedGallery:
    """Embed all pictures that the cache does not have, and keep them there.

    What was embedded is kept when this is interrupted, too. Pictures that cannot be read or
    decoded are left out.

    Args:
        model: with `preprocess` and `embed_images`.
        gallery: the pictures.
        cache: of this model.
        on_progress: called with the pictures that were embedded so far and those to embed.

    Raises:
        OSError: if the cache cannot be written.
    """
    size = model.preprocess.size
    blank = np.zeros((BATCH_SIZE, size, size, 3), np.uint8)
    # The form of the outputs, which the cache does not hold; and the one compilation, early.
    leaves, form = jax.tree.flatten(model.embed_images(blank))
    known = {
        key: row
        for key, row in cache.rows.items()
        if len(row) == len(leaves)
        and all(kept.shape == leaf.shape[1:] for kept, leaf in zip(row, leaves, strict=True))
    }
    left_out: dict[int, str] = {}
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as threads:
        entries: dict[int, Entry] = {}
        for number, found in _in_order(threads, gallery.look, range(len(gallery))):
            if isinstance(found, Exception):
                left_out[number] = f"picture {number}: {_reason(found)}"
            else:
                entries[number] = found
        wanted = {entry.key: number for number, entry in entries.items() if entry.key not in known}
        kept = {e.key: known[e.key] for e in entries.values() if e.key in known}
        num_kept = sum(entry.key in known for entry in entries.values())
        rows, faults = dict(kept), {}
        try:
            for batch in _batches(_decoded(threads, model, gallery, wanted, faults)):
                images = blank.copy()
                images[: len(batch)] = [image for _, image in batch]
                outputs = [np.asarray(x) for x in jax.tree.leaves(model.embed_images(images))]
                for i, (key, _) in enumerate(batch):
                    rows[key] = [leaf[i] for leaf in outputs]
                on_progress(len(rows) - len(kept) + len(faults), len(wanted))
        finally:
            if len(rows) > len(kept) or kept.keys() != cache.rows.keys():
                cache.write(rows)
    for number, entry in list(entries.items()):
        if entry.key in faults:
            left_out[number] = f"{entry.name}: {faults[entry.key]}"
            del entries[number]
    columns = zip(*(rows[entry.key] for entry in entries.values()), strict=True)
    outputs = [np.stack(column) for column in columns] if entries else leaves
    return EmbeddedGallery(
        gallery,
        list(entries),
        list(entries.values()),
        jax.tree.unflatten(form, outputs),
        [left_out[number] for number in sorted(left_out)],
        num_kept,
    )


def _decoded(threads, model, gallery, wanted, faults) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (key, uint8 [H, W, 3]) of what can be decoded; the rest comes into `faults`."""

    def decode(key: str) -> np.ndarray:
        return np.asarray(model.preprocess(gallery.read(wanted[key])), np.uint8)

    for key, found in _in_order(threads, decode, wanted):
        if isinstance(found, Exception):
            faults[key] = _reason(found)
        else:
            yield key, found


def _in_order(threads: ThreadPoolExecutor, work: Callable, items: Iterable) -> Iterator[tuple]:
    """Yield (item, result or the reason why it is unreadable), with few results waiting."""
    waiting: queue.SimpleQueue[tuple[Any, Future]] = queue.SimpleQueue()
    items = iter(items)
    for item in items:
        waiting.put((item, threads.submit(work, item)))
        if waiting.qsize() >= 2 * BATCH_SIZE:
            yield _result(*waiting.get())
    while not waiting.empty():
        yield _result(*waiting.get())


def _result(item: Any, future: Future) -> tuple:
    try:
        return item, future.result()
    except _UNREADABLE as error:
        return item, error


def _batches(items: Iterable[tuple]) -> Iterator[list[tuple]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch


def _reason(error: Exception) -> str:
    if isinstance(error, BadRecord):
        return error.reason
    return getattr(error, "strerror", None) or str(error)
