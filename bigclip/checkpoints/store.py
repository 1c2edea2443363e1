"""Orbax, in one place: everything bigclip asks of it. Reading arrays is next door, in `restore`.

A checkpoint is a folder named by its step, with two items: `state`, the arrays, and `manifest`,
a JSON object. Orbax writes into a temporary folder and renames it when all is there, so a folder
with a plain number is complete, whenever the writer was killed.
"""

import json
import os
from typing import Any

import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy

from bigclip.checkpoints.manifest import check_format
from bigclip.config import ConfigError

FOLDER = "checkpoints"
STATE, _MANIFEST = "state", "manifest"
_JSON = "metadata"  # the file in which Orbax keeps a JSON item
_METADATA = "_METADATA"  # the file in which it keeps the names and shapes of a tree


def array_handler(**options: Any) -> ocp.PyTreeCheckpointHandler:
    """Return what reads and writes a tree of arrays, with what else Orbax is to know."""
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
        and (parent / str(step) / STATE / _METADATA).exists()
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
            item_handlers={STATE: array_handler(), _MANIFEST: ocp.JsonCheckpointHandler(_JSON)},
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
                    STATE: ocp.args.PyTreeSave(state),
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
    items = {STATE: array_handler(**options), _MANIFEST: ocp.JsonCheckpointHandler(_JSON)}
    args = None if save_args is None else {"params": save_args}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler(**items)) as writer:
        writer.save(
            path,
            args=ocp.args.Composite(
                **{
                    STATE: ocp.args.PyTreeSave({"params": params}, save_args=args),
                    _MANIFEST: ocp.args.JsonSave({**manifest, "has_ema": False}),
                }
            ),
        )


def step_path(path: epath.PathLike, step: int | None = None) -> epath.Path:
    """Find a checkpoint's folder.

    Args:
        path: a run's workdir, its `checkpoints` folder, or one checkpoint in it.
        step: which; the newest by default.

    Raises:
        ConfigError: if there is none, with what there is.
    """
    path = _absolute(path)
    if (path / STATE).exists():
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
