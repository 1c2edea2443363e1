"""Run `forward` over a batch in slices, so that memory is that of one slice.

Because `forward` never lets one example see another and `objective` sees all outputs together,
the loss and its gradient are those of the whole batch: every negative is kept. The backward pass
computes each slice again (`jax.checkpoint`), which costs one more forward pass of the towers.
Where a tower normalises by the batch, it does so slice by slice: see `bigclip.tasks.task`.
Source of the idea: GradCache (arXiv 2101.06983); here the compiler keeps the books.
"""

from collections.abc import Collection
from typing import Any

import jax

from bigclip.parallel import num_batch_shards, shard_batch
from bigclip.tasks.task import STATISTICS, Examples, Outputs, Params, Task


def _cut(x: jax.Array, num_slices: int, num_shards: int) -> jax.Array:
    """[B, ...] -> [num_slices, B / num_slices, ...], each slice with a part of every device.

    Cutting B into consecutive slices would leave each to a few devices. This takes the i-th part
    of what every device holds, so that nothing moves between devices.
    """
    batch = x.shape[0]
    per_shard = batch // (num_slices * num_shards)
    x = x.reshape(num_shards, num_slices, per_shard, *x.shape[1:])
    return x.swapaxes(0, 1).reshape(num_slices, batch // num_slices, *x.shape[3:])


def _join(x: jax.Array, num_slices: int, num_shards: int) -> jax.Array:
    """Undo `_cut`."""
    size = x.shape[1]
    x = x.reshape(num_slices, num_shards, size // num_shards, *x.shape[2:])
    return x.swapaxes(0, 1).reshape(num_slices * size, *x.shape[3:])


def forward_in_slices(
    task: Task,
    params: Params,
    examples: Examples,
    rngs: jax.Array,
    *,
    micro_batch_size: int | None,
    frozen: Collection[str] = frozenset(),
) -> Outputs:
    """Compute `task.forward` for a whole batch.

    Args:
        task: the task.
        params: its parameters.
        examples: arrays [B, ...].
        rngs: keys [B], one per example, so that slices change no random number.
        micro_batch_size: examples per slice, over all devices; None runs the batch at once.
        frozen: paths of the parameters that do not train.

    Returns:
        The outputs, [B, ...], in the order of the examples; running statistics, which have no
        batch axis, as the mean over the slices.
    """
    batch_size = rngs.shape[0]
    if micro_batch_size is None or micro_batch_size == batch_size:
        return task.forward(params, examples, rngs, frozen=frozen)
    mesh = jax.sharding.get_abstract_mesh()
    num_shards = num_batch_shards(mesh) if mesh.axis_names else 1
    num_slices = batch_size // micro_batch_size

    def cut(x: jax.Array) -> jax.Array:
        return _cut(x, num_slices, num_shards)

    def one_slice(_: None, inputs: tuple[Any, jax.Array]) -> tuple[None, Outputs]:
        inputs = jax.tree.map(shard_batch, inputs)
        return None, task.forward(params, *inputs, frozen=frozen)

    _, outputs = jax.lax.scan(
        jax.checkpoint(one_slice, prevent_cse=False),
        None,
        (jax.tree.map(cut, examples), cut(rngs)),
    )
    outputs = dict(outputs)
    statistics = jax.tree.map(lambda x: x.mean(axis=0), outputs.pop(STATISTICS, None))
    joined = jax.tree.map(lambda x: shard_batch(_join(x, num_slices, num_shards)), outputs)
    return joined if statistics is None else {**joined, STATISTICS: statistics}


def step_keys(rng: jax.Array, step: jax.Array, batch_size: int) -> jax.Array:
    """Keys [B] of a step: a pure function of (seed, step, position in the global batch)."""
    keys = jax.random.split(jax.random.fold_in(rng, step), batch_size)
    return shard_batch(keys)
