"""Attention of short sequences as one TPU kernel, whose weights never reach main memory.

The towers' sequences are short (64 to about 600 tokens), so that all weights of a head, L x L, fit
into a core's own memory. One kernel computes logits, softmax and the product with the values of a
few heads of a few examples; another, for the backward pass, computes logits and softmax again from
queries and keys, rather than reading what the first one would have had to write. Main memory sees
queries, keys, values and results, and nothing of size L x L. Compiled otherwise, the layer moves
several times as many bytes (`benchmarks/README.md` has the figures), in float32 and with copies
between layouts, and is bound by them.

Heads are runs of columns of [b, L, E], as the projections give them: no transpose is needed. Flash
attention (Dao et al. 2022, arXiv 2205.14135) is the same idea for long sequences, which it cuts
into tiles; that costs a running softmax, and here there is nothing to cut.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import PartitionSpec

from bigclip.models.kernel_blocks import NEW_CORE, Blocks, choose_blocks, core
from bigclip.parallel.activations import BATCH_AXES


def _product(left: jax.Array, right: jax.Array, left_axis: int, right_axis: int) -> jax.Array:
    contracted = (((left_axis,), (right_axis,)), ((), ()))
    return jax.lax.dot_general(left, right, contracted, preferred_element_type=jnp.float32)


def _weights(query: jax.Array, key: jax.Array, causal: bool) -> tuple[jax.Array, jax.Array]:
    """Softmax of one head, [L, L] before its division, and the sums to divide by, [L, 1]."""
    logits = _product(query, key, 1, 1) * query.shape[-1] ** -0.5
    if causal:
        rows, columns = (jax.lax.broadcasted_iota(jnp.int32, logits.shape, axis) for axis in (0, 1))
        logits = jnp.where(rows >= columns, logits, jnp.finfo(jnp.float32).min)
    weights = jnp.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights, weights.sum(axis=-1, keepdims=True)


def _each_head(blocks: Blocks, head_dim: int, body: Any) -> None:
    """Call body(index of the head's columns) for every head of every example of a block."""

    def one_example(example: jax.Array, _: None) -> None:
        for head in range(blocks.heads):
            body((example, slice(None), slice(head * head_dim, (head + 1) * head_dim)))

    jax.lax.fori_loop(0, blocks.examples, one_example, None)


def _forward_kernel(
    query_ref: Any, key_ref: Any, value_ref: Any, mixed_ref: Any, *, blocks: Blocks, causal: bool
) -> None:
    def body(at: Any) -> None:
        value = value_ref[at]
        weights, total = _weights(query_ref[at], key_ref[at], causal)
        mixed = _product(weights.astype(value.dtype), value, 1, 0) / total
        mixed_ref[at] = mixed.astype(mixed_ref.dtype)

    _each_head(blocks, query_ref.shape[-1] // blocks.heads, body)


def _backward_kernel(
    query_ref: Any,
    key_ref: Any,
    value_ref: Any,
    grad_ref: Any,
    query_grad_ref: Any,
    key_grad_ref: Any,
    value_grad_ref: Any,
    *,
    blocks: Blocks,
    causal: bool,
) -> None:
    def body(at: Any) -> None:
        query, key, value, grad = query_ref[at], key_ref[at], value_ref[at], grad_ref[at]
        weights, total = _weights(query, key, causal)
        weights = weights / total
        value_grad_ref[at] = _product(weights.astype(grad.dtype), grad, 0, 0).astype(value.dtype)
        by_weights = _product(grad, value, 1, 1)
        mean = (weights * by_weights).sum(axis=-1, keepdims=True)
        by_logits = (weights * (by_weights - mean) * query.shape[-1] ** -0.5).astype(query.dtype)
        query_grad_ref[at] = _product(by_logits, key, 1, 0).astype(query.dtype)
        key_grad_ref[at] = _product(by_logits, query, 0, 0).astype(key.dtype)

    _each_head(blocks, query_ref.shape[-1] // blocks.heads, body)


def _call(
    kernel: Any,
    inputs: tuple[jax.Array, ...],
    num_outputs: int,
    *,
    num_products: int,
    num_heads: int,
    interpret: bool,
) -> tuple[jax.Array, ...]:
    """Run a kernel on one device's [b, L, E] arrays, block by block."""
    x = inputs[0]
    batch_size, length, width = x.shape
    head_dim = width // num_heads
    here = core() or NEW_CORE  # interpreted elsewhere
    blocks = choose_blocks(
        batch_size, length, num_heads, head_dim, x.dtype.itemsize, budget=here.vmem_budget
    )
    spec = pl.BlockSpec(
        (blocks.examples, length, blocks.heads * head_dim),
        lambda example, group: (example, 0, group),
    )
    return pl.pallas_call(
        functools.partial(kernel, blocks=blocks),
        out_shape=(jax.ShapeDtypeStruct(x.shape, x.dtype),) * num_outputs,
        grid=(batch_size // blocks.examples, num_heads // blocks.heads),
        in_specs=[spec] * len(inputs),
        out_specs=(spec,) * num_outputs,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel"), vmem_limit_bytes=here.vmem_limit
        ),
        cost_estimate=pl.CostEstimate(
            flops=2 * num_products * batch_size * length**2 * width,
            transcendentals=batch_size * num_heads * length**2,
            bytes_accessed=(len(inputs) + num_outputs) * x.size * x.dtype.itemsize,
        ),
        interpret=interpret,
    )(*inputs)


def _on_each_device(function: Any, num_inputs: int) -> Any:
    """Apply `function` to each device's own examples and heads, by the mesh in force."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return function
    batch = tuple(axis for axis in BATCH_AXES if axis in mesh.axis_names)
    spec = PartitionSpec(batch, None, "tensor" if "tensor" in mesh.axis_names else None)
    # The kernel tells nothing of what varies over which axis, hence no check of it.
    return jax.shard_map(function, in_specs=(spec,) * num_inputs, out_specs=spec, check_vma=False)


def _local_heads(num_heads: int) -> int:
    return num_heads // jax.sharding.get_abstract_mesh().shape.get("tensor", 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _fused(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    num_heads: int,
    causal: bool,
    interpret: bool,
) -> jax.Array:
    def local(*inputs: jax.Array) -> jax.Array:
        kernel = functools.partial(_forward_kernel, causal=causal)
        heads = _local_heads(num_heads)
        return _call(kernel, inputs, 1, num_products=2, num_heads=heads, interpret=interpret)[0]

    return _on_each_device(local, 3)(query, key, value)


def _fused_forward(query, key, value, num_heads, causal, interpret):
    return _fused(query, key, value, num_heads, causal, interpret), (query, key, value)


def _fused_backward(num_heads, causal, interpret, kept, grad):
    def local(*inputs: jax.Array) -> tuple[jax.Array, ...]:
        kernel = functools.partial(_backward_kernel, causal=causal)
        heads = _local_heads(num_heads)
        return _call(kernel, inputs, 3, num_products=5, num_heads=heads, interpret=interpret)

    return _on_each_device(local, 4)(*kept, grad)


_fused.defvjp(_fused_forward, _fused_backward)


def can_fuse(query: jax.Array, key: jax.Array) -> bool:
    """Whether the kernel takes these arrays, [b, Q, heads, E / heads] and [b, L, heads, E / heads].

    It does not for queries that are not the sequence itself (attention pooling, and the last layer
    where one token is pooled), on devices that
    are not TPUs, on several devices without a mesh in force (`jax.set_mesh`), where the mesh does
    not divide the batch or the heads, or where even one example is too long: above 1,024
    tokens for heads of 64 columns, and 432 for those of 104 (bigG/14).
    """
    if query.shape != key.shape:
        return False
    mesh = jax.sharding.get_abstract_mesh()
    here = core()
    # A kernel cannot be partitioned by the compiler: without a mesh that says how arrays lie, one
    # device is the only case that is sure.
    if here is None or (mesh.empty and jax.device_count() > 1):
        return False
    batch_size, length, num_heads, head_dim = query.shape
    shards = math.prod(mesh.shape.get(axis, 1) for axis in BATCH_AXES)
    heads_shards = mesh.shape.get("tensor", 1)
    if batch_size % shards or num_heads % heads_shards:
        return False
    blocks = choose_blocks(
        batch_size // shards,
        length,
        num_heads // heads_shards,
        head_dim,
        query.dtype.itemsize,
        budget=here.vmem_budget,
    )
    return blocks is not None


def fused_attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    causal: bool = False,
    interpret: bool = False,
) -> jax.Array:
    """Compute `bigclip.models.attention.attend` in one kernel; see `can_fuse`.

    Args:
        query: [b, L, heads, E / heads].
        key: like query.
        value: like query.
        causal: let position i see positions 0 to i only.
        interpret: run the kernel step by step as ordinary operations, on any device: for tests.

    Returns:
        Like query. Logits, softmax and sums are float32; no weight is kept for the backward pass.
    """
    rows = (x.reshape(*x.shape[:2], -1) for x in (query, key, value))
    mixed = _fused(*rows, query.shape[2], causal, interpret)
    return mixed.reshape(query.shape)
