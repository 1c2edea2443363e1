"""What a run carries from step to step, and where each part of it lives."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from bigclip.parallel import path_name, replicated, shard_params
from bigclip.tasks.task import Task


@flax.struct.dataclass
class TrainState:
    """Everything that the next step depends on, besides the batch.

    Attributes:
        step: int32 scalar, number of updates made.
        params: the task's parameters, float32.
        opt_state: the optimizer's state.
        ema: exponential moving average of the parameters, or None.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    ema: Any


def new_state(
    task: Task, optimizer: optax.GradientTransformation, rng: jax.Array, *, ema: bool
) -> TrainState:
    """Draw the parameters and begin at step 0. To be traced by `jax.eval_shape` or `jax.jit`."""
    params = task.init(rng)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        ema=jax.tree.map(jnp.copy, params) if ema else None,
    )


def shard_state(state: TrainState, task: Task, mesh: Mesh) -> TrainState:
    """Sharding of every array of a state.

    Moments lie like the parameter they belong to, found by the end of their path and their shape;
    what has another shape (factored moments, counters) is small and stays whole.

    Args:
        state: of ShapeDtypeStructs.
        task: for its partition rules.
        mesh: the mesh.

    Returns:
        A TrainState of NamedShardings.
    """
    params = shard_params(state.params, task.rules, mesh)
    lying = {
        path_name(path): (leaf.shape, sharding)
        for (path, leaf), sharding in zip(
            jax.tree_util.tree_leaves_with_path(state.params), jax.tree.leaves(params), strict=True
        )
    }
    whole = replicated(mesh)

    def like_its_parameter(path: tuple, leaf: jax.ShapeDtypeStruct) -> Any:
        parts = path_name(path).split("/")
        for start in range(len(parts)):
            shape, sharding = lying.get("/".join(parts[start:]), (None, whole))
            if shape == leaf.shape:
                return sharding
        return whole

    return TrainState(
        step=whole,
        params=params,
        opt_state=jax.tree_util.tree_map_with_path(like_its_parameter, state.opt_state),
        ema=None if state.ema is None else params,
    )
