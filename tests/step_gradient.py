"""The loss of a step and its gradient, on a mesh, for the tests that compare layouts."""

from typing import Any

import jax
from jax.sharding import Mesh

from bigclip.parallel import batch_sharding, shard_params
from bigclip.tasks import Task
from bigclip.training.micro_batches import step_keys
from bigclip.training.step import loss_and_metrics


def value_and_gradient(
    task: Task, params: Any, examples: dict[str, Any], *, mesh: Mesh, micro_batch_size: int | None
) -> tuple[Any, Any]:
    """Return the loss of a global batch and its gradient, fetched from the devices."""
    batch_size = len(examples["image"])
    params = jax.device_put(params, shard_params(params, task.rules, mesh))
    examples = jax.device_put(examples, batch_sharding(mesh))

    def loss_fn(params: Any, examples: Any) -> jax.Array:
        keys = step_keys(jax.random.key(2), 3, batch_size)
        return loss_and_metrics(
            task, params, examples, keys, 0.5, micro_batch_size=micro_batch_size
        )[0]

    with jax.set_mesh(mesh):
        return jax.device_get(jax.jit(jax.value_and_grad(loss_fn))(params, examples))
