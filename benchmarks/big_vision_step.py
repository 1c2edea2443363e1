"""big_vision's SigLIP training step, from a clone: its two towers, its optimizer, its update.

big_vision is no package, and its update is a function inside its trainer's `main`, between flags,
logs and data. So the very source of that function is taken out of the clone's file and compiled
with the names that it uses there. Nothing of bigclip is imported here.

Two things must be supplied from outside: jax has dropped `jax.tree_map` and its sisters, which
the trainer calls; and `big_vision.utils` imports TensorFlow for its file system, which no step
needs, so that an empty module stands in and TensorFlow's memory does not count.
"""

import ast
import contextlib
import functools
import importlib
import pathlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

_TRAINER = "big_vision/trainers/proj/image_text/siglip.py"
_RULES = (("act_batch", "data"),)  # the trainer's default


class BigVisionStep(NamedTuple):
    """A step to be called inside `context()`.

    Attributes:
        create: () -> train state, on the devices.
        state_shapes: of the train state, with its shardings.
        batch_shapes: {"image", "labels"} of the global batch, with their shardings.
        update: (train state, rng, batch) -> (train state, measurements), jitted by the trainer.
        context: the mesh and the rules in force around the trainer's calls.
    """

    create: Callable[[], Any]
    state_shapes: Any
    batch_shapes: dict[str, jax.ShapeDtypeStruct]
    update: Any
    context: Callable[[], contextlib.AbstractContextManager]


def big_vision_step(
    clone: str,
    *,
    model: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    image_size: int,
    context_length: int,
    batch_size: int,
    total_steps: int,
    devices: Sequence[jax.Device],
) -> BigVisionStep:
    """Build the step on a mesh of one axis, parameters on every device, as by default.

    Args:
        clone: path of a clone of https://github.com/google-research/big_vision.
        model: keyword arguments of its `two_towers.Model`, plain data.
        optimizer: the keys of a configuration that its `optax.make` reads, plain data.
        image_size: H = W.
        context_length: L.
        batch_size: B.
        total_steps: length of the schedule.
        devices: of the mesh.

    Raises:
        FileNotFoundError: `clone` holds no big_vision.
    """
    modules = _import(clone)
    config = ml_collections.ConfigDict(dict(optimizer))
    towers = modules["models.proj.image_text.two_towers"].Model(**model)
    mesh = jax.sharding.Mesh(np.asarray(devices), ("data",))
    replicated, by_example = (
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        for axes in ((), ("data",))
    )
    batch = {
        "image": jax.ShapeDtypeStruct(
            (batch_size, image_size, image_size, 3), jnp.float32, sharding=by_example
        ),
        "labels": jax.ShapeDtypeStruct(
            (batch_size, context_length), jnp.int32, sharding=by_example
        ),
    }

    def init(rng: jax.Array) -> Any:
        one = (jnp.zeros((1, *shape.shape[1:]), shape.dtype) for shape in batch.values())
        return towers.init(rng, *one)["params"]

    params = jax.eval_shape(init, jax.random.key(0))
    tx, _ = modules["optax"].make(
        config,
        params,
        sched_kw={"total_steps": total_steps, "batch_size": batch_size, "data_size": 1},
    )
    shapes = {"params": params, "opt": jax.eval_shape(tx.init, params)}
    sharding = modules["sharding"].infer_sharding(shapes, strategy=[(".*", "replicate")], mesh=mesh)

    def create() -> Any:
        made = jax.jit(init, out_shardings=sharding["params"])(jax.random.key(0))
        return {"params": made, "opt": jax.jit(tx.init, out_shardings=sharding["opt"])(made)}

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        # The trainer writes `with mesh`, which jax is about to drop.
        with jax.set_mesh(mesh), nn.logical_axis_rules(_RULES):
            yield

    return BigVisionStep(
        create=create,
        state_shapes=jax.tree.map(
            lambda one, where: jax.ShapeDtypeStruct(one.shape, one.dtype, sharding=where),
            shapes,
            sharding,
        ),
        batch_shapes=batch,
        update=_update_fn(
            clone,
            {
                "functools": functools,
                "jax": jax,
                "jnp": jnp,
                "optax": optax,
                "bv_optax": modules["optax"],
                "config": config,
                "model": towers,
                "tx": tx,
                "train_state_sharding": sharding,
                "repl_sharding": replicated,
            },
        ),
        context=context,
    )


def _import(clone: str) -> dict[str, types.ModuleType]:
    """Import what the step needs."""
    if not (pathlib.Path(clone) / _TRAINER).is_file():
        raise FileNotFoundError(f"{clone} holds no {_TRAINER}: it is no clone of big_vision.")
    for name in ("tree_map", "tree_leaves"):
        if not hasattr(jax, name):
            setattr(jax, name, getattr(jax.tree_util, name))
    importlib.import_module("flax.training.checkpoints")  # looks for TensorFlow, too
    if clone not in sys.path:
        sys.path.insert(0, clone)
    wanted = ("models.proj.image_text.two_towers", "optax", "sharding")
    with _empty_tensorflow():
        return {name: importlib.import_module(f"big_vision.{name}") for name in wanted}


@contextlib.contextmanager
def _empty_tensorflow() -> Iterator[None]:
    """Let `import tensorflow.io.gfile` succeed with nothing behind it."""
    names = ("tensorflow", "tensorflow.io", "tensorflow.io.gfile")
    before = {name: sys.modules.get(name) for name in names}
    for name in names:
        sys.modules[name] = types.ModuleType(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
    try:
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def _update_fn(clone: str, names: dict[str, Any]) -> Any:
    """Compile the trainer's `update_fn` with the names that it uses."""
    path = pathlib.Path(clone) / _TRAINER
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == "update_fn"
    ]
    if len(functions) != 1:
        raise ValueError(f"{path} has {len(functions)} functions update_fn, not one.")
    exec(compile(ast.Module(functions, type_ignores=[]), str(path), "exec"), names)
    return names["update_fn"]
