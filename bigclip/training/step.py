"""One update: forward in slices, objective on the global batch, gradient, optimizer."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bigclip.parallel import path_name
from bigclip.tasks.task import STATISTICS, Task
from bigclip.training.groups import Group, constants, is_statistic
from bigclip.training.micro_batches import forward_in_slices, step_keys
from bigclip.training.state import TrainState

Metrics = dict[str, jax.Array]


def loss_and_metrics(
    task: Task,
    params: Any,
    examples: Mapping[str, jax.Array],
    rngs: jax.Array,
    progress: jax.Array,
    *,
    micro_batch_size: int | None,
    frozen: Collection[str] = frozenset(),
) -> tuple[jax.Array, tuple[Metrics, dict[str, Any]]]:
    """Loss of a global batch; the objective's metrics, and new running statistics if any.

    Args:
        task: what learns.
        params: its parameters.
        examples: arrays [B, ...].
        rngs: keys [B].
        progress: part of the run that is done.
        micro_batch_size: see `forward_in_slices`.
        frozen: likewise.
    """
    outputs = forward_in_slices(
        task, params, examples, rngs, micro_batch_size=micro_batch_size, frozen=frozen
    )
    statistics = outputs.pop(STATISTICS, {})
    loss, metrics = task.objective(params, outputs, progress)
    return loss, (metrics, statistics)


def put_statistics(params: Any, statistics: Mapping[str, Any]) -> Any:
    """Replace the leaves of nested dicts that `statistics` has, at the same paths."""
    new = {
        name: put_statistics(params[name], value) if isinstance(value, Mapping) else value
        for name, value in statistics.items()
    }
    return {**params, **new}


def _norms(name: str, tree: Any) -> Metrics:
    """Norm of a tree and of each of its branches: of each tower and of the scalars.

    Running statistics do not count: they are measured, and not learned.
    """
    tree = jax.tree_util.tree_map_with_path(
        lambda path, x: None if is_statistic(path_name(path)) else x, tree
    )
    norms = {name: optax.tree.norm(tree)}
    for branch, values in tree.items():
        norms[f"{name}/{branch}"] = optax.tree.norm(values)
    return norms


def make_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    groups: Mapping[str, Group],
    *,
    rng: jax.Array,
    total_steps: int,
    micro_batch_size: int | None,
    ema_decay: float | None,
) -> Callable[[TrainState, Mapping[str, jax.Array]], tuple[TrainState, Metrics]]:
    """Build the step function, to be jitted with the state donated.

    Args:
        task: what learns.
        optimizer: of `make_optimizer`.
        groups: {path: group}, of the same; frozen parameters get no gradient, so that XLA drops
            the backward pass that only they would need. Running statistics are no frozen
            parameters: after each update they get their new values.
        rng: the run's key.
        total_steps: length of the run, for `progress`.
        micro_batch_size: see `forward_in_slices`.
        ema_decay: decay per step of the average of the parameters; None keeps none.

    Returns:
        (state, examples) -> (state, metrics); metrics are float32 scalars over the global batch.
    """

    frozen = constants(groups)

    def stop_frozen(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, x: jax.lax.stop_gradient(x) if groups[path_name(path)].freeze else x,
            params,
        )

    def step(state: TrainState, examples: Mapping[str, jax.Array]) -> tuple[TrainState, Metrics]:
        batch_size = next(iter(examples.values())).shape[0]
        rngs = step_keys(rng, state.step, batch_size)
        progress = state.step.astype(jnp.float32) / max(total_steps, 1)

        def loss_fn(params: Any) -> tuple[jax.Array, tuple[Metrics, dict[str, Any]]]:
            return loss_and_metrics(
                task,
                stop_frozen(params),
                examples,
                rngs,
                progress,
                micro_batch_size=micro_batch_size,
                frozen=frozen,
            )

        gradient = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (metrics, statistics)), grads = gradient(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = task.constrain(optax.apply_updates(state.params, updates))
        params = put_statistics(params, statistics)
        ema = state.ema
        if ema_decay is not None:
            # Corrected for the start, so that the first steps do not dwell on the initial values.
            decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
            ema = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, ema, params)
        metrics = {
            "loss": loss,
            **metrics,
            **_norms("grad_norm", grads),
            **_norms("param_norm", params),
            "update_norm": optax.tree.norm(updates),
        }
        return TrainState(state.step + 1, params, opt_state, ema), metrics

    return step
