"""The step as it is compiled: which shardings its state has, and what it donates."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from bigclip.parallel import replicated
from bigclip.tasks.task import Task
from bigclip.training.groups import Group
from bigclip.training.state import TrainState, new_state, shard_state
from bigclip.training.step import make_step


def state_layout(
    task: Task, optimizer: optax.GradientTransformation, mesh: Mesh, *, rng: jax.Array, ema: bool
) -> tuple[Callable[[jax.Array], TrainState], TrainState, TrainState]:
    """Find what a run's state looks like, before any of it is made.

    Args:
        task: what learns.
        optimizer: of `make_optimizer`.
        mesh: where.
        rng: any key.
        ema: whether an average of the parameters is kept.

    Returns:
        (rng) -> state, to be jitted with the shardings; the state as ShapeDtypeStructs that carry
        their sharding; the shardings alone.
    """

    def create(rng: jax.Array) -> TrainState:
        return new_state(task, optimizer, rng, ema=ema)

    shapes = jax.eval_shape(create, rng)
    layout = shard_state(shapes, task, mesh)
    abstract = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        layout,
    )
    return create, abstract, layout


def jit_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    groups: Mapping[str, Group],
    *,
    mesh: Mesh,
    layout: TrainState,
    rng: jax.Array,
    total_steps: int,
    micro_batch_size: int | None,
    ema_decay: float | None,
) -> Any:
    """Jit `make_step` (see there): the state is donated, and keeps its shardings."""
    step = make_step(
        task,
        optimizer,
        groups,
        rng=rng,
        total_steps=total_steps,
        micro_batch_size=micro_batch_size,
        ema_decay=ema_decay,
    )
    return jax.jit(step, donate_argnums=0, out_shardings=(layout, replicated(mesh)))
