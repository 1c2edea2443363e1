"""Keep activations sharded over the batch.

Without a constraint the partitioner may decide to gather a whole batch of activations on every
device (parameters sharded over `fsdp` pull it that way), which costs far more memory than the
parameters themselves. Towers therefore pin their activations at block boundaries.
"""

import jax
from jax.sharding import PartitionSpec

BATCH_AXES = ("replica", "data", "fsdp")


def shard_batch(x: jax.Array, *, pin_others: bool = True) -> jax.Array:
    """Constrain the leading axis of `x` to the batch axes of the mesh in force.

    Args:
        x: [b, ...], batch first.
        pin_others: keep the other axes whole on a device. False leaves them to the partitioner:
            heads, for example, follow the weights over `tensor`.

    Returns:
        `x`, constrained; unchanged where no mesh is set (`jax.set_mesh`) or where the mesh has
        no batch axes, so that towers also run on their own.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(axis for axis in BATCH_AXES if axis in mesh.axis_names)
    if not axes:
        return x
    rest = [PartitionSpec.UNCONSTRAINED] * (x.ndim - 1) if not pin_others else []
    return jax.lax.with_sharding_constraint(x, PartitionSpec(axes, *rest))
