"""The TPU kernel computes what the plain formula does; interpreted here, on CPU devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AbstractDevice, AbstractMesh, NamedSharding, PartitionSpec
from model_inputs import inputs

from bigclip.models import ImageTower, TextTower, architecture, fused_attention
from bigclip.models.attention import attend
from bigclip.models.fused_attention import can_fuse, fused_attend
from bigclip.models.kernel_blocks import NEW_CORE, OLD_CORE, choose_blocks, vmem_bytes
from bigclip.parallel import make_mesh

SHAPES = [(4, 37, 4, 24), (2, 5, 1, 8), (6, 16, 4, 64), (3, 9, 2, 128)]


def arrays(shape, num=4, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), dtype) for _ in range(num)]


def value_and_gradients(function, query, key, value, grad):
    mixed, pull_back = jax.vjp(function, query, key, value)
    return mixed, *pull_back(grad)


def assert_all_close(found, expected, bound):
    for got, wanted in zip(found, expected, strict=True):
        got, wanted = (np.asarray(x, np.float32) for x in (got, wanted))
        np.testing.assert_allclose(got, wanted, atol=bound * np.abs(wanted).max())


def tpu_mesh(kind="TPU v5 lite", **sizes):
    sizes = sizes or {"data": 1}
    device = AbstractDevice(kind, 1, "tpu")
    mesh = AbstractMesh(tuple(sizes.values()), tuple(sizes), abstract_device=device)
    return jax.sharding.use_abstract_mesh(mesh)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_plain_formula(shape, causal):
    operands = arrays(shape)
    fused = functools.partial(fused_attend, causal=causal, interpret=True)
    plain = functools.partial(attend, causal=causal)
    # Sums of at most 37 float32 products in another order.
    assert_all_close(
        value_and_gradients(fused, *operands), value_and_gradients(plain, *operands), 1e-5
    )


def test_bfloat16_loses_no_more_than_the_plain_formula():
    operands = arrays((2, 64, 2, 64), dtype=jnp.bfloat16)
    exact = value_and_gradients(attend, *(x.astype(jnp.float32) for x in operands))
    fused = value_and_gradients(functools.partial(fused_attend, interpret=True), *operands)
    # Three roundings to 8 bits on the way: weights, gradients of logits, results.
    assert_all_close(fused, exact, 3 * 2.0**-8)


def test_large_logits_do_not_overflow():
    query, key, value, grad = arrays((1, 8, 1, 16))
    fused = functools.partial(fused_attend, interpret=True)
    assert all(
        jnp.isfinite(x).all() for x in value_and_gradients(fused, 1e4 * query, key, value, grad)
    )


@pytest.mark.parametrize("sizes", [{"data": 8}, {"replica": 2, "fsdp": 2, "data": 1, "tensor": 2}])
def test_each_device_takes_its_own_examples_and_heads(sizes):
    operands = arrays((8, 9, 4, 8))
    expected = value_and_gradients(attend, *operands)
    mesh = make_mesh(**sizes)
    spec = PartitionSpec(("replica", "data", "fsdp"), None, "tensor")
    placed = jax.device_put(operands, NamedSharding(mesh, spec))
    with jax.set_mesh(mesh):
        fused = functools.partial(fused_attend, interpret=True)
        found = jax.jit(functools.partial(value_and_gradients, fused))(*placed)
    assert found[0].sharding.is_equivalent_to(NamedSharding(mesh, spec), 4)
    assert_all_close(found, expected, 1e-5)


@settings(deadline=None)
@given(
    batch_size=st.integers(1, 512),
    length=st.integers(1, 1500),
    num_heads=st.integers(1, 32),
    head_dim=st.sampled_from([8, 32, 64, 72, 80, 88, 104, 128]),
    itemsize=st.sampled_from([2, 4]),
    core=st.sampled_from([NEW_CORE, OLD_CORE]),
)
def test_blocks_divide_what_there_is_and_fit(
    batch_size, length, num_heads, head_dim, itemsize, core
):
    sizes = (batch_size, length, num_heads, head_dim, itemsize)
    blocks = choose_blocks(*sizes, budget=core.vmem_budget)
    if blocks is None:
        assert length > 256 or num_heads * head_dim > 1024
        return
    assert batch_size % blocks.examples == 0
    assert num_heads % blocks.heads == 0
    assert blocks.heads == num_heads or blocks.heads * head_dim % 128 == 0
    assert vmem_bytes(blocks, length, head_dim, itemsize) <= core.vmem_budget


@pytest.mark.parametrize(
    ("mesh", "shape", "expected"),
    [
        ({}, (4, 196, 12, 64), True),
        ({"data": 2, "tensor": 4}, (4, 196, 12, 64), True),
        ({"data": 3}, (4, 196, 12, 64), False),  # the batch does not divide
        ({"tensor": 8}, (4, 196, 12, 64), False),  # the heads do not
        ({}, (4, 4096, 12, 64), False),  # too long
        ({}, (4, 729, 16, 72), False),  # too long for heads that must stay together
        ({"kind": "TPU v4"}, (4, 577, 16, 64), True),
        ({"kind": "TPU v4"}, (4, 900, 16, 64), False),  # a smaller core
    ],
)
def test_where_the_kernel_can_be_used(mesh, shape, expected):
    x = jax.ShapeDtypeStruct(shape, jnp.bfloat16)
    with tpu_mesh(**mesh):
        assert can_fuse(x, x) == expected
        # Attention pooling has queries of its own.
        assert not can_fuse(jax.ShapeDtypeStruct((shape[0], 1, *shape[2:]), jnp.bfloat16), x)
    assert not can_fuse(x, x)  # on a CPU


def test_several_devices_need_a_mesh(monkeypatch):
    monkeypatch.setattr(fused_attention, "core", lambda: NEW_CORE)
    x = jax.ShapeDtypeStruct((8, 196, 12, 64), jnp.bfloat16)
    assert not can_fuse(x, x)
    with jax.set_mesh(make_mesh()):
        assert can_fuse(x, x)


@pytest.mark.parametrize(("attention", "expected"), [("auto", True), ("plain", False)])
def test_towers_take_it_on_tpus(attention, expected):
    # The last layer, pooled at one token, does without.
    arch = architecture("tiny-clip", image={"depth": 2}, text={"depth": 2})
    for tower, x in zip((ImageTower, TextTower), inputs(arch, num=2), strict=True):
        fields = arch["image" if tower is ImageTower else "text"]
        built = tower(**fields, embed_dim=arch["embed_dim"], attention=attention)
        params = jax.eval_shape(built.init, jax.random.key(0), x)
        with tpu_mesh():
            traced = jax.make_jaxpr(built.apply)(params, x)
        assert ("pallas_call" in str(traced)) == expected
        assert "pallas_call" not in str(jax.make_jaxpr(built.apply)(params, x))
