"""Which rows of the global batch each process loads.

Usually every process has its own block. Where an axis that does not cut the batch (`tensor`)
crosses processes, several hold the same rows, and must load the same.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from bigclip.config import ConfigError
from bigclip.parallel.mesh import batch_sharding, num_batch_shards


class HostRows(NamedTuple):
    """The block of a batch that a process loads.

    Attributes:
        index: which block, from 0.
        count: into how many blocks the batch is cut.
    """

    index: int
    count: int


def assign_rows(shards: Mapping[int, frozenset[int]]) -> dict[int, HostRows]:
    """Give every process the number of its block.

    Args:
        shards: {process: the batch shards that its devices hold}.

    Raises:
        ConfigError: if two processes share some of their rows, but not all.
    """
    blocks = sorted(set(shards.values()), key=min)
    if sum(map(len, blocks)) != len(frozenset().union(*blocks)) or len({*map(len, blocks)}) != 1:
        raise ConfigError(
            "config.mesh: the batch cannot be dealt out, since some processes would share a part "
            "of their rows with others. Let the size of `tensor` divide the number of devices of "
            "a process, or be a multiple of it."
        )
    return {process: HostRows(blocks.index(held), len(blocks)) for process, held in shards.items()}


def host_rows(mesh: Mesh) -> HostRows:
    """Say which block of a batch this process loads.

    Raises:
        ConfigError: see `assign_rows`.
    """
    shards: dict[int, frozenset[int]] = {}
    placed = batch_sharding(mesh).devices_indices_map((num_batch_shards(mesh),))
    for device, (rows,) in placed.items():
        held = frozenset(range(num_batch_shards(mesh))[rows])
        shards[device.process_index] = shards.get(device.process_index, frozenset()) | held
    return assign_rows(shards)[jax.process_index()]
