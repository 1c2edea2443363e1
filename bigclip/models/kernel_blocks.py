"""How much of a batch one turn of the attention kernel takes, by what a TPU core's memory holds."""

from typing import NamedTuple

import jax

_LANES, _SUBLANES = 128, 8
# Rows of one turn, over its heads and examples. Starting a turn costs about 0.35 us, whence the
# first; heads are written out one after the other, and compiling takes its time, whence the second.
_ENOUGH_ROWS, _MOST_ROWS = 4096, 4608
_OLD_KINDS = ("TPU v2", "TPU v3", "TPU v4")


class Core(NamedTuple):
    """What a kernel may use of a core's own memory (VMEM).

    Attributes:
        vmem_limit: bytes that the compiler may give it.
        vmem_budget: bytes that blocks may take by our estimate, which is about a tenth above what
            the compiler then uses, but knows nothing of what it spills.
    """

    vmem_limit: int
    vmem_budget: int


NEW_CORE = Core(32 * 2**20, 24 * 2**20)  # of the 128 MiB that a core has since v5e
OLD_CORE = Core(16 * 2**20, 13 * 2**20)


class Blocks(NamedTuple):
    """What one turn of the kernel takes.

    Attributes:
        examples: how many; divides a device's batch.
        heads: how many; divides a device's heads.
    """

    examples: int
    heads: int


def core() -> Core | None:
    """The core that is traced for: of the mesh in force, or of this process's devices.

    Returns:
        None if it is no TPU.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device or jax.devices()[0]
    if device.platform != "tpu":
        return None
    return OLD_CORE if device.device_kind.startswith(_OLD_KINDS) else NEW_CORE


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def vmem_bytes(blocks: Blocks, length: int, head_dim: int, itemsize: int) -> int:
    """Estimate what the backward kernel needs: seven blocks, each twice, and L x L matrices."""
    columns = _up(blocks.heads * head_dim, _LANES)
    rows = _up(length, 32 // itemsize)
    moved = 2 * 7 * blocks.examples * rows * columns * itemsize
    return moved + 5 * 4 * _up(length, _SUBLANES) * _up(length, _LANES)


def choose_blocks(
    batch_size: int,
    length: int,
    num_heads: int,
    head_dim: int,
    itemsize: int,
    *,
    budget: int = NEW_CORE.vmem_budget,
) -> Blocks | None:
    """Choose what one turn of the kernel takes.

    Args:
        batch_size: b, of one device.
        length: L, tokens.
        num_heads: of one device.
        head_dim: columns of a head.
        itemsize: bytes of an entry.
        budget: bytes that `vmem_bytes` may come to.

    Returns:
        The choice, or None if not even one head of one example fits.
    """

    def fits(blocks: Blocks) -> bool:
        return vmem_bytes(blocks, length, head_dim, itemsize) <= budget

    # A block's columns must fill whole lanes, or be all there are.
    groups = [
        count
        for count in range(num_heads, 0, -1)
        if num_heads % count == 0
        and (count == num_heads or count * head_dim % _LANES == 0)
        and fits(Blocks(1, count))
    ]
    if not groups:
        return None
    heads = next((count for count in groups if count * length <= _MOST_ROWS), groups[-1])
    examples = 1
    while (
        batch_size % (2 * examples) == 0
        and 2 * examples * heads * length <= _ENOUGH_ROWS
        and fits(Blocks(2 * examples, heads))
    ):
        examples *= 2
    return Blocks(examples, heads)
