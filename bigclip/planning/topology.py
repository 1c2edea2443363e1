"""The devices of a pod that is not there, for the TPU compiler in the `libtpu` package."""

import importlib.util
import math
import os
import re
from typing import NamedTuple

import jax
from jax.experimental import topologies

from bigclip.config import ConfigError
from bigclip.planning.chips import CHIPS, Chip, find_chip

# Set where libtpu is loaded, unless the user has: it would wait for a cloud's metadata server,
# and complain at length that this machine is no TPU host.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    # A lock file of the whole machine keeps two programs from one TPU. A compiler needs no TPU,
    # so that any number of plans may run at once, beside a training run, too.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # Neither may it write its logs to /tmp/tpu_logs, which another user may own.
    "TPU_LOG_DIR": "disabled",
}

EXAMPLES = (
    "v5e:2x2 v5e:4x4 v5e:8x8 v5e:16x16, v6e:2x2 ... v6e:16x16, v4:2x2x1 v4:4x4x4 v4:8x8x16, "
    "v5p:2x2x1 v5p:4x4x4 v5p:8x8x8, tpu7x:2x2x1 tpu7x:4x4x4; a GPU cluster is a number: "
    "a100-80:64, h100:64, h200:64, b200:64"
)

_FLAT_SHAPES = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
_SMALL_CUBES = ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 4), (2, 4, 4))


class Pod(NamedTuple):
    """A pod, or several slices of one.

    Attributes:
        chip: its kind.
        topology: as the user wrote it.
        shape: chips along each axis of a slice.
        num_slices: number of slices.
        devices: compile-only devices, slice by slice.
    """

    chip: Chip
    topology: str
    shape: tuple[int, ...]
    num_slices: int
    devices: list[jax.Device]

    @property
    def num_chips(self) -> int:
        """Chips of all slices."""
        return math.prod(self.shape) * self.num_slices

    @property
    def wraps(self) -> tuple[bool, ...]:
        """For each axis, whether its ends are joined."""
        return wrapped(self.chip, self.shape)


def use_cpu() -> None:
    """Keep JAX from looking for an accelerator: planning computes nothing, and needs none.

    To be called before JAX has a backend; without effect afterwards.
    """
    jax.config.update("jax_platforms", "cpu")


def wrapped(chip: Chip, shape: tuple[int, ...]) -> tuple[bool, ...]:
    """For each axis of a slice, whether its ends are joined to a ring.

    A two-dimensional torus closes at the pod's full side of 16; a three-dimensional one, which
    optical switches join from cubes of 4, closes where every side is a multiple of 4.
    """
    if chip.torus_axes == 2:
        return tuple(size == 16 for size in shape)
    closed = len(shape) == 3 and all(size % 4 == 0 for size in shape)
    return (closed,) * len(shape)


def _is_slice(chip: Chip, sizes: tuple[int, ...]) -> bool:
    """Whether slices of this shape exist, in any order of their sides."""
    ordered = tuple(sorted(sizes))
    if chip.torus_axes == 2:
        return ordered in _FLAT_SHAPES
    if len(ordered) == 3 and all(size % 4 == 0 and size <= 64 for size in ordered):
        return True
    return ordered in _SMALL_CUBES


def _parse(chip: Chip, topology: str, shape: str) -> tuple[int, ...]:
    if re.fullmatch(r"\d+(x\d+)*", shape):
        sizes = tuple(int(size) for size in shape.split("x"))
        if _is_slice(chip, sizes):
            return sizes
    known = _FLAT_SHAPES if chip.torus_axes == 2 else _SMALL_CUBES
    names = ", ".join(f"{chip.name}:{'x'.join(map(str, sizes))}" for sizes in known)
    if chip.torus_axes == 3:
        names += f", and {chip.name}:AxBxC of sides that are multiples of 4, at most 64"
    raise ConfigError(
        f"--topology {topology}: there is no such slice of {chip.label}. Known: {names}. Several "
        "slices are joined with --slices N."
    )


def make_pod(topology: str, *, num_slices: int = 1) -> Pod:
    """Describe a pod to the compiler.

    Args:
        topology: "v5e:16x16" and the like.
        num_slices: slices that are joined by the data-centre network; `config.mesh.replica`.

    Raises:
        ConfigError: if the topology is not known (lists examples), or libtpu is not there (says
            what to install).
    """
    chip, shape_text = find_chip(topology)
    if chip.kind != "tpu":
        raise ConfigError(f"--topology {topology}: only a TPU's program can be compiled ahead.")
    shape = _parse(chip, topology, shape_text)
    if num_slices < 1:
        raise ConfigError(f"--slices {num_slices} must be at least 1.")
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError(
            "the TPU compiler is not installed. It is a package like any other and needs no TPU: "
            "pip install 'bigclip[tpu]' (or pip install 'jax[tpu]', which takes the libtpu that "
            "matches this jax)."
        )
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    options = {"num_slices": num_slices} if num_slices > 1 else {}
    if chip.chip_config:
        options["chip_config_name"] = chip.chip_config
    if math.prod(shape) < 4 or any(size % 2 for size in shape[:2]):
        # Part of a host: as many chips as there are.
        options["chips_per_host_bounds"] = (*shape, *(1,) * (3 - len(shape)))
    try:
        found = topologies.get_topology_desc(
            topology,
            platform="tpu",
            wrap=(*wrapped(chip, shape), *(False,) * (3 - len(shape))),
            **options,
        )
    except Exception as error:  # JAX passes on whatever libtpu raised
        raise ConfigError(
            f"--topology {topology}: the TPU compiler takes no such slice ({error}). "
            f"Known chips: {', '.join(CHIPS)}; such as: {EXAMPLES}."
        ) from error
    return Pod(
        chip=chip,
        topology=topology,
        shape=shape,
        num_slices=num_slices,
        devices=list(found.devices),
    )
