"""Which axes of an activation are pinned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from bigclip.parallel import BATCH_AXES, make_mesh, shard_batch


@pytest.mark.parametrize(("pin_others", "expected"), [(True, None), (False, "tensor")])
def test_the_batch_is_pinned_and_the_rest_as_asked(pin_others, expected):
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    x = jnp.arange(8 * 3 * 4, dtype=jnp.float32).reshape(8, 3, 4)
    by_heads = jax.device_put(x, NamedSharding(mesh, PartitionSpec(None, None, "tensor")))
    with jax.set_mesh(mesh):
        found = jax.jit(lambda x: shard_batch(x, pin_others=pin_others))(by_heads)
    assert found.sharding.is_equivalent_to(
        NamedSharding(mesh, PartitionSpec(BATCH_AXES, None, expected)), x.ndim
    )
    np.testing.assert_array_equal(found, x)


def test_without_a_mesh_nothing_is_pinned():
    x = jnp.zeros((3, 2))
    assert shard_batch(x, pin_others=False) is x
