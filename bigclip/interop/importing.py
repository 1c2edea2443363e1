"""From a foreign model to a bigclip checkpoint with a full manifest."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bigclip import checkpoints, models
from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import Tokenizer, clip_bpe
from bigclip.interop.atomic import new_folder
from bigclip.interop.format import Imported
from bigclip.interop.import_checks import check_layers, check_tokenizer, check_types
from bigclip.interop.mapping import Link, match
from bigclip.interop.outgoing import TASK
from bigclip.models.layers import Place, places
from bigclip.models.positions import resize_image_positions, resize_text_positions
from bigclip.tasks import Task, make_task

_FLOAT32 = np.dtype(np.float32)


def import_model(
    imported: Imported,
    dest: Path,
    *,
    origin: Mapping[str, Any],
    image_size: int | None = None,
    context_length: int | None = None,
    scan: bool = True,
    verify: Callable[[Path], None] | None = None,
) -> tuple[str, ...]:
    """Write a foreign model as a checkpoint, array by array.

    Args:
        imported: of a format's `read`.
        dest: a new folder; it appears when all is written.
        origin: where the model came from, for the manifest.
        image_size: pixels, if the image tower's positions are to be resized.
        context_length: tokens, if the text tower's positions are to be resized.
        scan: whether layers are stored scanned, as training on accelerators wants them, or one by
            one. Either can be loaded and trained either way.
        verify: (path of what was written), before it appears at `dest`; an error of it leaves
            nothing behind.

    Returns:
        What the user should know.

    Raises:
        ConfigError: if the file does not hold the architecture it tells of, and names all that is
            missing, left over or misshapen; or if its tokenizer does not fit its text tower.
    """
    notes = list(imported.notes)
    arch = models.architecture(imported.architecture)
    check_tokenizer(imported, arch)
    check_layers(imported, arch)
    held = _task(imported, arch, imported.preprocess, scan=scan)
    wanted_arch, prepare, tokenizer = _resized(imported, arch, image_size, context_length)
    resized = wanted_arch != arch
    task = _task(imported, wanted_arch, prepare, scan=scan) if resized else held
    ours = _wanted(places(_shapes(held)), imported.towers, held)
    scalars = _scalars(held) if imported.towers != ("image", "text") else {}
    extra = dict(imported.extra)
    for name, value in scalars.items():
        if name not in extra and not _has_row(imported, name):
            extra[name] = lambda read, value=value: value
            notes.append(f"{name}: the file has none; it starts at {float(value):.4g}.")
    found = match(
        imported.rows,
        arch,
        ours={name: place.shape for name, place in ours.items()},
        theirs={name: tensor.shape for name, tensor in imported.weights.items()},
        computed=extra,
        ignored=imported.ignored,
        where=imported.weights.path,
    )
    check_types(imported, found)
    wanted = _wanted(places(_shapes(task)), imported.towers, task) if resized else ours
    notes += [
        f"{name}: resized from {ours[name].shape[0]} to {place.shape[0]} rows; such a model needs "
        "tuning."
        for name, place in wanted.items()
        if place.shape != ours[name].shape
    ]
    tree = _pending(wanted, _Source(imported, found, extra))
    manifest = _manifest(imported, task, prepare, tokenizer, origin)
    with new_folder(dest) as temporary:
        inside = temporary / "checkpoint"
        checkpoints.write_streaming(inside, tree, manifest)
        for child in list(inside.iterdir()):
            child.rename(temporary / child.name)
        inside.rmdir()
        if verify is not None:
            verify(temporary)
    return tuple(notes)


def _task(imported: Imported, arch: Mapping[str, Any], prepare: Preprocess, *, scan: bool) -> Task:
    # float32 as the reference computes; `load(dtype=...)` takes another.
    block = {"name": TASK, "loss": imported.loss, "dtype": "float32"}
    if imported.manifest is not None:
        block = dict(imported.manifest["task"])
    block |= {"architecture": arch, "scan": scan}
    return make_task(block, mean=prepare.mean, std=prepare.std)


def _shapes(task: Task) -> Any:
    return jax.eval_shape(task.init, jax.random.key(0))


def _wanted(found: dict[str, Place], towers: tuple[str, ...], task: Task) -> dict[str, Place]:
    away = {
        branch
        for tower, branches in task.towers.items()
        if tower not in towers
        for branch in branches
    }
    return {name: place for name, place in found.items() if name.split("/")[0] not in away}


def _scalars(task: Task) -> dict[str, np.ndarray]:
    """The initial scale and bias, which one tower alone does not bring along."""
    block = task.manifest
    found = {"log_logit_scale": np.log(block["init_logit_scale"])}
    if block["loss"] == "sigmoid":
        found["logit_bias"] = block["init_logit_bias"]
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def _has_row(imported: Imported, name: str) -> bool:
    return any(row.ours == name and row.theirs in imported.weights for row in imported.rows)


def _resized(
    imported: Imported, arch: dict[str, Any], image_size: int | None, context_length: int | None
) -> tuple[dict[str, Any], Preprocess, Tokenizer]:
    """Change what another size of pictures or another length of texts changes."""
    changes: dict[str, dict[str, int]] = {}
    prepare, tokenizer = imported.preprocess, imported.tokenizer
    if image_size is not None:
        changes["image"] = {"image_size": image_size}
        prepare = Preprocess(**{**prepare.to_dict(), "size": image_size})
    if tokenizer is None:
        tokenizer = clip_bpe(context_length=arch["text"]["context_length"])
    if context_length is not None:
        if "text" not in imported.towers:
            raise ConfigError("--context_length: this model has no text tower.")
        changes["text"] = {"context_length": context_length}
        tokenizer = Tokenizer.from_dict({**tokenizer.to_dict(), "context_length": context_length})
    return models.architecture(arch, **changes), prepare, tokenizer


def _resize(name: str, table: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if table.shape == shape:
        return table
    tower, *_, leaf = name.split("/")
    if leaf != "position":
        raise ConfigError(
            f"{name} has shape {list(table.shape)} in the file, and the size asked for needs "
            f"{list(shape)}: only tables of positions can be resized."
        )
    return {"image": resize_image_positions, "text": resize_text_positions}[tower](table, shape[0])


class _Source:
    """Gives our parameters one by one; holds the last array that was read."""

    def __init__(self, imported: Imported, found: list[Link], extra: Mapping[str, Callable]):
        self._weights, self._extra = imported.weights, extra
        self._links = {name: link for link in found for name in link.ours}
        self._last: tuple[str, np.ndarray] | None = None

    def _read(self, name: str) -> np.ndarray:
        # Parts of a packed array follow each other, more or less.
        if self._last is None or self._last[0] != name:
            self._last = None  # before the next is read: one at a time
            self._last = name, self._weights[name].read()
        return self._last[1]

    def __call__(self, name: str) -> np.ndarray:
        if name in self._extra:
            return np.asarray(self._extra[name](self._read), np.float32)
        link = self._links[name]
        if link.stacked:
            layer = link.ours.index(name)
            one = link._replace(ours=(name,), stacked=False)
            return _float32(one.to_ours(self._read(link.theirs)[layer])[name])
        return _float32(link.to_ours(self._read(link.theirs))[name])


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32, copy=False)


def _pending(wanted: Mapping[str, Place], source: _Source) -> dict[str, Any]:
    """Lay the parameters out as the checkpoint stores them; none is read yet."""
    stored: dict[str, list[str]] = {}
    for name, place in wanted.items():
        stored.setdefault(place.stored, []).append(name)

    def one(name: str) -> np.ndarray:
        return _resize(name, source(name), wanted[name].shape)

    def scanned(names: list[str]) -> np.ndarray:
        array = np.empty((len(names), *wanted[names[0]].shape), np.float32)
        for name in names:
            array[wanted[name].layer] = one(name)
        return array

    tree: dict[str, Any] = {}
    for path, names in stored.items():
        shape = wanted[names[0]].shape
        if wanted[names[0]].layer is None:
            leaf = checkpoints.Pending(shape, _FLOAT32, functools.partial(one, names[0]))
        else:
            make = functools.partial(scanned, names)
            leaf = checkpoints.Pending((len(names), *shape), _FLOAT32, make)
        *parents, last = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def _manifest(
    imported: Imported,
    task: Task,
    prepare: Preprocess,
    tokenizer: Tokenizer,
    origin: Mapping[str, Any],
) -> dict[str, Any]:
    parts = {
        "task": task.manifest,
        "preprocess": prepare.to_dict(),
        "tokenizer": tokenizer.to_dict(),
        "origin": {**origin, **imported.origin},
        "towers": list(imported.towers),
    }
    if imported.manifest is not None:
        return {**imported.manifest, **parts}
    told = json.dumps([origin, sorted(imported.weights)], sort_keys=True).encode()
    manifest = checkpoints.make_manifest(
        **{name: parts[name] for name in ("task", "preprocess", "tokenizer")},
        config={},
        run_id=f"imported-{hashlib.sha256(told).hexdigest()[:12]}",
    )
    return checkpoints.at_step({**manifest, **parts}, step=0, examples_seen=0, has_ema=False)
