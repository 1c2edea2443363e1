"""Orbax checkpoints with a manifest: save, find, restore on any devices."""

from bigclip.checkpoints.manifest import at_step, make_manifest, package_versions
from bigclip.checkpoints.restore import (
    arrays,
    check_params,
    params_shapes,
    read_array,
    restore_named,
    restore_params,
    restore_state,
)
from bigclip.checkpoints.store import Writer, export, folder, read_manifest, step_path, steps
from bigclip.checkpoints.streaming import Pending, write_streaming

__all__ = [
    "Pending",
    "Writer",
    "arrays",
    "at_step",
    "check_params",
    "export",
    "folder",
    "make_manifest",
    "package_versions",
    "params_shapes",
    "read_array",
    "read_manifest",
    "restore_named",
    "restore_params",
    "restore_state",
    "step_path",
    "steps",
    "write_streaming",
]
