"""bigclip's training step without data: from the blocks of a configuration to a jitted function."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from bigclip.parallel import batch_sharding
from bigclip.tasks import Task
from bigclip.training.experiment import Experiment
from bigclip.training.jitted import jit_step, state_layout
from bigclip.training.outline import Rule, learning_rule, outline
from bigclip.training.state import TrainState

_LENGTHS = ("total_steps", "total_examples", "total_epochs")


class Parts(NamedTuple):
    """What the step is made of.

    Attributes:
        task: what learns.
        mesh: where.
        rule: the optimizer and its groups.
        batch_size: B.
        micro_batch_size: examples whose activations are held at once; None holds all.
        ema_decay: of the average of the parameters, or None.
        seed: of the parameters.
    """

    task: Task
    mesh: Mesh
    rule: Rule
    batch_size: int
    micro_batch_size: int | None
    ema_decay: float | None
    seed: int


def parts_without_data(
    config: Mapping[str, Any], *, devices: Sequence[jax.Device] | None = None
) -> Parts:
    """Read a whole configuration whose data need not be there.

    Args:
        config: plain data, the arguments of `experiment`.
        devices: of the mesh; this process's own by default.
    """
    blocks = {"schedule": None, "mesh": None, "checkpoints": None, "log": None}
    step = {"micro_batch_size": None, "ema_decay": None, "seed": 0}
    given = {**blocks, **step, **config}
    wanted = ("task", "data", "preprocess", "tokenizer", "optimizer", "batch_size")
    drawn = outline(
        **{key: given[key] for key in (*wanted, "micro_batch_size", *blocks)}, devices=devices
    )
    # No duration of these configurations is in epochs, so that any epoch will do.
    rule = learning_rule(
        drawn, **{key: given.get(key) for key in _LENGTHS}, epoch_examples=drawn.batch_size
    )
    return Parts(
        task=drawn.task,
        mesh=drawn.mesh,
        rule=rule,
        batch_size=drawn.batch_size,
        **{key: given[key] for key in step},
    )


def parts_of(run: Experiment) -> Parts:
    """Take the same out of a run that is ready to begin."""
    rule = Rule(run.total_steps, run.optimizer, run.groups, run.schedule)
    step = {key: run.config[key] for key in ("micro_batch_size", "ema_decay", "seed")}
    return Parts(run.task, run.mesh, rule, run.batch_size, **step)


class Step(NamedTuple):
    """A step to be called inside `jax.set_mesh(parts.mesh)`.

    Attributes:
        create: () -> TrainState, on the devices.
        update: (state, examples) -> (state, metrics), jitted; donates the state.
        state_shapes: of the state, with its shardings.
    """

    create: Callable[[], TrainState]
    update: Any
    state_shapes: TrainState


def make_step(parts: Parts) -> Step:
    """Jit the step as `bigclip.train` does."""
    rng = jax.random.key(parts.seed)
    init_rng = jax.random.fold_in(rng, 0)
    create, shapes, layout = state_layout(
        parts.task,
        parts.rule.optimizer,
        parts.mesh,
        rng=init_rng,
        ema=parts.ema_decay is not None,
    )
    update = jit_step(
        parts.task,
        parts.rule.optimizer,
        parts.rule.groups,
        mesh=parts.mesh,
        layout=layout,
        rng=jax.random.fold_in(rng, 1),
        total_steps=parts.rule.total_steps,
        micro_batch_size=parts.micro_batch_size,
        ema_decay=parts.ema_decay,
    )
    return Step(
        create=lambda: jax.jit(create, out_shardings=layout)(init_rng),
        update=update,
        state_shapes=shapes,
    )


def place(parts: Parts, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Lay a host's batch, `image` and `text`, on the devices."""
    sharding = batch_sharding(parts.mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, batch[name])
        for name in ("image", "text")
    }
