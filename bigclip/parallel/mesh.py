"""The device mesh: `replica` across slices, then `data`, `fsdp` and `tensor` inside a slice."""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bigclip.config import ConfigError
from bigclip.parallel.activations import BATCH_AXES

AXES = ("replica", "data", "fsdp", "tensor")


def make_mesh(
    *,
    replica: int = 1,
    data: int = -1,
    fsdp: int = 1,
    tensor: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """Lay the devices out as a mesh of four named axes.

    Args:
        replica: number of slices (parameters are copied, gradients cross DCN).
        data: number of data-parallel groups in a slice; -1 takes the devices that are left.
        fsdp: number of devices over which parameters and optimizer state are sharded.
        tensor: number of devices over which each matrix product is split.
        devices: the devices; all of them by default.

    Returns:
        A mesh with the axes `AXES`. At most one of the four sizes may be -1.

    Raises:
        ConfigError: if the sizes do not multiply to the number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = dict(zip(AXES, (replica, data, fsdp, tensor), strict=True))
    free = [axis for axis, size in sizes.items() if size == -1]
    bad = [axis for axis, size in sizes.items() if size != -1 and size < 1]
    if len(free) > 1 or bad:
        raise ConfigError(
            f"config.mesh: {sizes}: each size is at least 1, and one of them may be -1 (the rest)."
        )
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if free:
        sizes[free[0]] = len(devices) // fixed
    if math.prod(sizes.values()) != len(devices):
        raise ConfigError(
            f"config.mesh: {sizes} needs {fixed} devices or a multiple of it, but there are "
            f"{len(devices)}. Choose sizes whose product is {len(devices)}, or leave one at -1."
        )
    shape = tuple(sizes.values())
    slices = {getattr(device, "slice_index", 0) for device in devices}
    if len(slices) > 1:
        if len(slices) != sizes["replica"]:
            raise ConfigError(
                f"config.mesh.replica is {sizes['replica']}, but the devices form {len(slices)} "
                f"slices: set it to {len(slices)}, so that only gradients cross the slow network."
            )
        array = mesh_utils.create_hybrid_device_mesh(
            (1, *shape[1:]), (shape[0], 1, 1, 1), devices=devices, allow_split_physical_axes=True
        )
    elif devices[0].platform == "tpu":
        # A named axis may be a part of a physical one: 4 of the 16 chips in a row of a v5e pod.
        array = mesh_utils.create_device_mesh(
            shape, devices=devices, allow_split_physical_axes=True
        )
    else:
        array = np.asarray(devices).reshape(shape)
    return Mesh(array, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Sharding of a batch: the leading axis over `replica`, `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def num_batch_shards(mesh: Mesh) -> int:
    """Number of parts a batch is cut into."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def check_batch(mesh: Mesh, batch_size: int, micro_batch_size: int | None) -> None:
    """Stop before anything is compiled if the batch cannot be laid on the mesh.

    Raises:
        ConfigError: if the batch or the micro-batch does not divide as it must.
    """
    shards = num_batch_shards(mesh)
    for key, size in (("batch_size", batch_size), ("micro_batch_size", micro_batch_size)):
        if size is not None and (size < 1 or size % shards):
            near = max(shards, round(size / shards) * shards)
            raise ConfigError(
                f"config.{key} = {size} is not divisible by the {shards} batch shards of the mesh "
                f"({dict(mesh.shape)}, of which replica x data x fsdp share the batch). "
                f"The nearest size that is: {near}."
            )
    if micro_batch_size is not None and batch_size % micro_batch_size:
        raise ConfigError(
            f"config.batch_size = {batch_size} is not a multiple of config.micro_batch_size = "
            f"{micro_batch_size}."
        )
