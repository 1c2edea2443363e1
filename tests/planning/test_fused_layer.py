"""What the attention kernel saves, by the TPU compiler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bigclip.models.attention import attend
from bigclip.models.fused_attention import can_fuse, fused_attend
from bigclip.planning.accesses import bytes_accessed
from bigclip.planning.compiled import compile_traced
from bigclip.planning.hlo import read_program
from bigclip.planning.topology import make_pod

pytestmark = pytest.mark.tpu_compiler
SHAPE = (1024, 196, 4, 64)  # weights of 150 MB a chip: more than its core holds


def compiled(attention, topology):
    pod = make_pod(topology)
    mesh = Mesh(np.asarray(pod.devices), ("data",))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    # As projections give them; heads are split by a reshape, as in the towers.
    joined = (*SHAPE[:2], SHAPE[2] * SHAPE[3])
    x = jax.ShapeDtypeStruct(joined, jnp.bfloat16, sharding=rows)

    def mix(*inputs):
        split = [one.reshape(SHAPE) for one in inputs]
        assert can_fuse(*split[:2])
        return attention(*split).reshape(joined)

    def gradients(*inputs):
        mixed, pull_back = jax.vjp(mix, *inputs)
        return pull_back(mixed)

    with jax.set_mesh(mesh):
        return compile_traced(jax.jit(gradients).trace(x, x, x))


# A core of v4 has an eighth of the memory of the others.
@pytest.mark.parametrize("topology", ["v5e:2x2", "v4:2x2x1"])
def test_the_kernel_moves_a_third_of_the_bytes(topology):
    fused, plain = compiled(fused_attend, topology), compiled(attend, topology)
    moved, moved_plain = (bytes_accessed(read_program(one.text)) for one in (fused, plain))
    assert moved < moved_plain / 3
    assert fused.memory.temporaries < plain.memory.temporaries / 3
    # Twice two products forwards (mixed feeds the backward pass here), and four backwards; the
    # kernel computes the logits once more.
    unit = 2 * np.prod(SHAPE) * SHAPE[1]
    assert plain.flops.flops == 6 * unit
    assert fused.flops.flops == 7 * unit
