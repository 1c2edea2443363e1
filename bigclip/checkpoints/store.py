"""Orbax, in one place: everything bigclip asks of it.

A checkpoint is a folder named by its step, with two items: `state`, the arrays, and `manifest`,
a JSON object. Orbax writes into a temporary folder and renames it when all is there, so a folder
with a plain number is complete, whenever the writer was killed.
"""

import json
import os
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy

from bigclip.checkpoints.manifest import check_format
from bigclip.config import ConfigError
from bigclip.parallel import path_name

FOLDER = "checkpoints"
_STATE, _MANIFEST = "state", "manifest"
_JSON = "metadata"  # the file in which Orbax keeps a JSON item
_METADATA = "_METADATA"  # the file in which it keeps the names and shapes of a tree


def _array_handler(**options: Any) -> ocp.PyTreeCheckpointHandler:
    # Compression saves 7 % of float32 weights and doubles the time of a save (measured with orbax
    # 0.12.8: 8.3 s against 4.6 s for 1.8 GB on two cores).
    return ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_compression=False, **options)


def _absolute(path: epath.PathLike) -> epath.Path:
    """Orbax takes absolute paths only."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"a checkpoint's folder is a path, not {path!r}.")
    path = epath.Path(path).expanduser()
    return path if path.is_absolute() else epath.Path(os.path.abspath(path))


def folder(workdir: epath.PathLike) -> epath.Path:
    """Where a run keeps its checkpoints."""
    return _absolute(workdir) / FOLDER


def steps(workdir: epath.PathLike) -> list[int]:
    """Complete checkpoints of a run, oldest first."""
    return _whole(folder(workdir))


def _whole(parent: epath.Path) -> list[int]:
    """Steps of the checkpoints in a folder that are not half copied or half removed."""
    if not parent.is_dir():
        return []
    return sorted(
        step
        for step in ocp.utils.checkpoint_steps(parent)
        if (parent / str(step) / _MANIFEST / _JSON).exists()
        and (parent / str(step) / _STATE / _METADATA).exists()
    )


class Writer:
    """Saves the checkpoints of one run, asynchronously, and keeps the ones asked for.

    Args:
        workdir: the run's folder.
        keep_last: number of newest checkpoints to keep.
        keep_every_steps: keep those at multiples of this for good; None keeps none.
    """

    def __init__(
        self, workdir: epath.PathLike, *, keep_last: int = 3, keep_every_steps: int | None = None
    ):
        keep = [preservation_policy.LatestN(keep_last)]
        if keep_every_steps:
            keep.append(preservation_policy.EveryNSteps(keep_every_steps))
        self._manager = ocp.CheckpointManager(
            folder(workdir),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation_policy.AnyPreservationPolicy(keep),
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
            ),
            item_handlers={_STATE: _array_handler(), _MANIFEST: ocp.JsonCheckpointHandler(_JSON)},
        )

    def save(self, step: int, state: Any, manifest: dict[str, Any]) -> None:
        """Begin to save; returns when the arrays are copied, and waits for an earlier save.

        Args:
            step: names the checkpoint.
            state: tree of sharded arrays.
            manifest: of `at_step`.

        Raises:
            Exception: what went wrong in the background since the last save.
        """
        self._manager.save(
            step,
            args=ocp.args.Composite(
                **{
                    _STATE: ocp.args.PyTreeSave(state),
                    _MANIFEST: ocp.args.JsonSave(manifest),
                }
            ),
            force=True,
        )

    def wait(self) -> None:
        """Wait until what was begun is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, and end the background threads."""
        self._manager.close()


def export(path: epath.PathLike, params: Any, manifest: dict[str, Any]) -> None:
    """Write parameters and their manifest as a folder of their own, in the form of a checkpoint.

    Args:
        path: a new folder; it appears when all is written.
        params: tree of sharded arrays.
        manifest: of `at_step`.

    Raises:
        ConfigError: if there is something at `path`.
    """
    write_folder(path, params, manifest)


def write_folder(
    path: epath.PathLike,
    params: Any,
    manifest: dict[str, Any],
    *,
    save_args: Any = None,
    **options: Any,
) -> None:
    """Do what `export` does, with what else Orbax is to know.

    Args:
        path: see `export`.
        params: tree of what the handler takes.
        manifest: see `export`.
        save_args: tree of `SaveArgs` like `params`, or None.
        **options: of Orbax's handler of trees.

    Raises:
        ConfigError: see `export`.
    """
    path = _absolute(path)
    if path.exists():
        raise ConfigError(f"{path} exists: give the name of a new folder, or remove it first.")
    items = {_STATE: _array_handler(**options), _MANIFEST: ocp.JsonCheckpointHandler(_JSON)}
    args = None if save_args is None else {"params": save_args}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler(**items)) as writer:
        writer.save(
            path,
            args=ocp.args.Composite(
                **{
                    _STATE: ocp.args.PyTreeSave({"params": params}, save_args=args),
                    _MANIFEST: ocp.args.JsonSave({**manifest, "has_ema": False}),
                }
            ),
        )


def arrays(path: epath.PathLike, step: int | None = None) -> dict[str, Any]:
    """Describe all arrays of a checkpoint without reading them.

    Returns:
        Name, with slashes -> Orbax's metadata of it: `shape`, `dtype`, `sharding`.
    """
    tree = _array_handler().metadata(step_path(path, step) / _STATE).tree
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(name): leaf for name, leaf in leaves}


def step_path(path: epath.PathLike, step: int | None = None) -> epath.Path:
    """Find a checkpoint's folder.

    Args:
        path: a run's workdir, its `checkpoints` folder, or one checkpoint in it.
        step: which; the newest by default.

    Raises:
        ConfigError: if there is none, with what there is.
    """
    path = _absolute(path)
    if (path / _STATE).exists():
        if step is not None and path.name != str(step):
            raise ConfigError(f"{path} is one checkpoint, and not a run's: leave `step` away.")
        return path
    if step is not None and not isinstance(step, int):
        raise ConfigError(f"step = {step!r} must be a whole number.")
    for parent in (path / FOLDER, path):
        found = _whole(parent)
        if not found:
            continue
        if step is not None and step not in found:
            raise ConfigError(f"{parent} has no checkpoint of step {step}; it has {found}.")
        return parent / str(found[-1] if step is None else step)
    raise ConfigError(
        f"{path} holds no checkpoint: give the workdir of a run that has saved one, or the folder "
        f"of one checkpoint (.../{FOLDER}/STEP)."
    )


def read_manifest(path: epath.PathLike, step: int | None = None) -> dict[str, Any]:
    """Read the manifest of a checkpoint, without its arrays.

    Raises:
        ConfigError: if there is no such checkpoint, or its format is unknown.
    """
    place = step_path(path, step)
    # Not by Orbax, which would wait for the other processes: each of them reads for itself.
    path = place / _MANIFEST / _JSON
    if not path.exists():
        raise ConfigError(f"{place} has no manifest: it was not written by bigclip.")
    manifest = json.loads(path.read_text())
    check_format(manifest, str(place))
    return manifest


def _restore(place: epath.Path, abstract: Any, *, partial: bool) -> Any:
    with ocp.Checkpointer(_array_handler()) as reader:
        return reader.restore(
            place / _STATE,
            args=ocp.args.PyTreeRestore(
                item=abstract,
                restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
                partial_restore=partial,
            ),
        )


def read_array(place: epath.Path, name: str, item: str = "params") -> np.ndarray:
    """Read one array of a checkpoint to the host.

    Args:
        place: of `step_path`.
        name: its path as it is stored, with slashes (scanned layers are one array).
        item: "params" or "ema".
    """
    shape = params_shapes(place, item=item)
    for part in name.split("/"):
        shape = shape[part]
    abstract: Any = np.broadcast_to(np.zeros((), shape.dtype), shape.shape)  # takes no memory
    for part in reversed([item, *name.split("/")]):
        abstract = {part: abstract}
    (array,) = jax.tree.leaves(_restore(place, abstract, partial=True))
    return array


def restore_state(path: epath.PathLike, abstract: Any, step: int | None = None) -> Any:
    """Restore a whole state.

    Args:
        path: see `step_path`.
        abstract: the state as ShapeDtypeStructs with the shardings wanted; the mesh may be
            another than that of the run that saved it.
        step: which; the newest by default.

    Raises:
        ConfigError: if the checkpoint holds other arrays than `abstract`, with the differences.
    """
    place = step_path(path, step)
    check_params(place, abstract.params)
    try:
        return _restore(place, abstract, partial=False)
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"the checkpoint {place} holds another optimizer's state, other frozen parameters, or "
            "an average of the parameters where this run keeps none. Use the configuration it "
            f"was made with, or another --workdir. Orbax says: {str(error)[:500]}"
        ) from error


def check_params(place: epath.PathLike, params: Any, *, partial: bool = False) -> None:
    """Compare the saved parameters with those wanted, by name and shape.

    Args:
        place: a checkpoint, see `step_path`.
        params: tree of arrays or ShapeDtypeStructs.
        partial: whether the checkpoint may hold more branches at the top of its tree.

    Raises:
        ConfigError: lists the first differences.
    """

    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {path_name(path): tuple(leaf.shape) for path, leaf in leaves}

    there = params_shapes(place)
    if partial:
        there = {name: part for name, part in there.items() if name in params}
    saved, wanted = shapes(there), shapes(params)
    lines = [
        f"  {name}: {saved.get(name, 'absent')} in the checkpoint, "
        f"{wanted.get(name, 'absent')} here"
        for name in sorted(saved.keys() | wanted.keys())
        if saved.get(name) != wanted.get(name)
    ]
    if lines:
        more = [f"  ... and {len(lines) - 8} more"] if len(lines) > 8 else []
        raise ConfigError(
            f"the checkpoint {place} is of another architecture:\n"
            + "\n".join(lines[:8] + more)
            + "\nUse the configuration it was made with, or another --workdir."
        )


def params_shapes(path: epath.PathLike, step: int | None = None, *, item: str = "params") -> Any:
    """Shapes and types of the saved parameters (or "ema"), without reading them.

    Returns:
        Nested dict of ShapeDtypeStructs.

    Raises:
        ConfigError: if the checkpoint has none.
    """
    place = step_path(path, step)
    tree = _array_handler().metadata(place / _STATE).tree
    if not tree.get(item):
        held = ", ".join(sorted(name for name, value in tree.items() if value))
        raise ConfigError(f"{place} holds no {item!r}; it holds {held}.")
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree[item])


def restore_params(
    path: epath.PathLike, step: int | None = None, *, item: str = "params", shardings: Any
) -> Any:
    """Restore the parameters alone, onto any devices.

    Args:
        path: see `step_path`.
        step: which; the newest by default.
        item: "params" or "ema".
        shardings: tree of shardings like the parameters, or one for all. Branches at the top of
            the tree that it lacks are not read.

    Returns:
        Nested dict of arrays.
    """
    place = step_path(path, step)
    shapes = params_shapes(place, item=item)
    if isinstance(shardings, jax.sharding.Sharding):
        shardings = jax.tree.map(lambda _: shardings, shapes)
    shapes = {name: part for name, part in shapes.items() if name in shardings}
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )
    restored = _restore(place, {item: abstract}, partial=True)[item]
    size = sum(np.prod(leaf.shape, dtype=np.int64) for leaf in jax.tree.leaves(restored))
    logging.info("restored %d values of %s from %s", size, item, place)
    return restored
