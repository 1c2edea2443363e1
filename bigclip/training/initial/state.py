"""The state that a run begins with, read onto its mesh."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from bigclip import checkpoints
from bigclip.models.positions import resize_image_positions, resize_text_positions
from bigclip.parallel import path_name, replicated
from bigclip.tasks.task import Task
from bigclip.training.initial.origins import Origin
from bigclip.training.initial.plan import Start
from bigclip.training.state import TrainState, new_state


def initial_state(
    start: Start,
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    layout: TrainState,
    rng: jax.Array,
    ema: bool,
) -> TrainState:
    """Read a checkpoint's parameters onto the mesh and begin at step 0.

    Each device gets its part of each array; no host holds more of it than its devices do, but for
    tables of positions that are resized. What is drawn is what a run without checkpoint would have
    drawn; the average of the parameters begins as a copy of them.

    Args:
        start: of `plan_start`.
        task: what learns.
        optimizer: of `make_optimizer`.
        mesh: where.
        layout: sharding of the state.
        rng: the key that `task.init` draws with.
        ema: whether an average of the parameters is kept.
    """
    shardings = {
        path_name(path): sharding
        for path, sharding in jax.tree_util.tree_leaves_with_path(layout.params)
    }
    shapes = jax.tree_util.tree_leaves_with_path(jax.eval_shape(task.init, rng))
    rows = {path_name(path): leaf.shape[0] for path, leaf in shapes if leaf.ndim}
    saved = _restore(start, shardings, mesh)
    read: dict[str, Any] = {}
    for name, origin in start.origins.items():
        if origin.kind == "resize":
            read[name] = _resized(name, saved[origin.names[0]], rows[name], start, mesh)
        elif origin.kind != "fresh":
            read[name] = tuple(saved[part] for part in origin.names)
    # What stays as it is becomes the run's own without a copy.
    kept = {name for name, origin in start.origins.items() if origin.kind == "same"}
    as_it_is = {name: value for name, value in read.items() if name in kept}
    to_change = {name: value for name, value in read.items() if name not in kept}

    def create(as_it_is: Any, to_change: Any, rng: jax.Array) -> TrainState:
        values = as_it_is | to_change

        def init(rng: jax.Array) -> Any:
            return jax.tree_util.tree_map_with_path(
                lambda path, drawn: _take(path_name(path), drawn, values, start), task.init(rng)
            )

        return new_state(task._replace(init=init), optimizer, rng, ema=ema)

    return jax.jit(create, out_shardings=layout, donate_argnums=0)(as_it_is, to_change, rng)


def _take(name: str, drawn: jax.Array, values: Mapping[str, Any], start: Start) -> jax.Array:
    origin = start.origins[name]
    if origin.kind == "fresh":
        return drawn
    if origin.kind == "resize":
        return values[name]
    if origin.kind == "stack":
        return jnp.stack(values[name])
    (value,) = values[name]
    if origin.kind == "layer":
        return value[origin.index]
    if origin.kind == "match":
        shared = jnp.take(value, np.maximum(start.rows, 0), axis=0)
        return jnp.where((start.rows >= 0)[:, None], shared, drawn)
    return value


def _restore(
    start: Start, shardings: Mapping[str, NamedSharding], mesh: Mesh
) -> dict[str, jax.Array]:
    """Read what is needed of the checkpoint: {its name: float32 array}."""
    wanted: dict[str, jax.ShapeDtypeStruct] = {}
    for name, origin in start.origins.items():
        for part in origin.names:
            shape = start.saved[part]
            sharding = _sharding(origin, shardings[name], shape, mesh)
            wanted[part] = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)
    return checkpoints.restore_named(start.place, wanted, item=start.options.weights)


def _sharding(
    origin: Origin, sharding: NamedSharding, shape: tuple[int, ...], mesh: Mesh
) -> Sharding:
    """Lay an array of the checkpoint as the parameter lies that is made of it."""
    if origin.kind == "resize":
        return replicated(mesh)
    spec = tuple(sharding.spec)
    if origin.kind == "layer":
        spec = (None, *spec)
    elif origin.kind == "stack":
        spec = spec[1:]
    elif origin.kind == "match":
        # The checkpoint's vocabulary may not divide as the run's does.
        spec = tuple(
            axis if axis is not None and size % mesh.shape[axis] == 0 else None
            for axis, size in zip(spec, shape, strict=True)
        )
    return NamedSharding(mesh, PartitionSpec(*spec))


def _resized(name: str, table: jax.Array, num_rows: int, start: Start, mesh: Mesh) -> jax.Array:
    whole = np.asarray(table)
    if name.startswith("text/"):
        new = resize_text_positions(whole, num_rows, method=start.options.text_positions)
    else:
        new = resize_image_positions(whole, num_rows)
    return jax.make_array_from_callback(new.shape, replicated(mesh), lambda index: new[index])
