"""Compile for a pod that is not there: the very train step, and the objective alone."""

import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from bigclip.parallel import batch_sharding, replicated
from bigclip.planning.flops import Counted, traced_flops
from bigclip.tasks import Task
from bigclip.tasks.task import STATISTICS
from bigclip.training.jitted import jit_step, state_layout
from bigclip.training.outline import Rule
from bigclip.training.state import TrainState

_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_SIZE = r"(\d+(?:\.\d+)?)\s*([BKMGTP]?)"
# "... required for HLO temporaries (1.16T) exceeds available HBM (15.75G)", and
# "Used 18.23G of 15.75G hbm. Exceeded hbm capacity by 2.48G."
_TEMPORARIES = re.compile(rf"\({_SIZE}\) exceeds available HBM \({_SIZE}\)")
_USED = re.compile(rf"[Uu]sed {_SIZE}i?B? of {_SIZE}i?B? hbm")


class Memory(NamedTuple):
    """What the compiler says of one device's memory, in bytes.

    Attributes:
        arguments: what the caller passes, with the padding of its layout.
        outputs: what the program gives back.
        aliased: the outputs that lie where a donated argument lay, and cost nothing more.
        temporaries: what lives only while the program runs; the largest sum at any moment.
        code: the program itself.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """All of it, the donated state once."""
        return self.arguments + self.outputs - self.aliased + self.temporaries + self.code


class Compiled(NamedTuple):
    """A program of the TPU compiler, or why there is none.

    Attributes:
        text: its HLO, or "" where it did not fit.
        memory: of one device; None where it did not fit.
        asked_bytes: where it did not fit, what it wanted.
        limit_bytes: where it did not fit, what there is.
        flops: of its matrix products, over all devices.
        seconds: that the compiler took.
    """

    text: str
    memory: Memory | None
    asked_bytes: int
    limit_bytes: int
    flops: Counted
    seconds: float

    @property
    def fits(self) -> bool:
        """Whether the compiler found room for it."""
        return self.memory is not None


def read_oom(message: str) -> tuple[int, int] | None:
    """Read an out-of-memory error of the compiler: bytes asked for, and bytes there are.

    Returns:
        None if the message is about something else.
    """
    if "RESOURCE_EXHAUSTED" not in message or "hbm" not in message.lower():
        return None
    for pattern in (_USED, _TEMPORARIES):
        found = pattern.search(message)
        if found:
            asked, unit, limit, limit_unit = found.groups()
            return int(float(asked) * _UNITS[unit]), int(float(limit) * _UNITS[limit_unit])
    return (0, 0)


def compile_traced(traced: Any) -> Compiled:
    """Compile `jitted.trace(...)`; an out-of-memory error is an answer, others are raised."""
    flops = traced_flops(traced.jaxpr.jaxpr)
    since = time.perf_counter()
    try:
        compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        oom = read_oom(str(error))
        if oom is None:
            raise
        return Compiled("", None, *oom, flops, time.perf_counter() - since)
    seconds = time.perf_counter() - since
    stats = compiled.memory_analysis()
    memory = Memory(
        arguments=stats.argument_size_in_bytes,
        outputs=stats.output_size_in_bytes,
        aliased=stats.alias_size_in_bytes,
        temporaries=stats.temp_size_in_bytes,
        code=stats.generated_code_size_in_bytes,
    )
    return Compiled(compiled.as_text(), memory, 0, 0, flops, seconds)


def abstract_examples(task: Task, mesh: Mesh, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """A global batch as the loop makes it: uint8 pictures and int32 tokens, sharded.

    Returns:
        image [B, H, W, 3], and text [B, L], or [B, C, L] for a task of several captions.
    """
    arch = task.manifest["architecture"]
    side, length = arch["image"]["image_size"], arch["text"]["context_length"]
    captions = () if task.num_captions is None else (task.num_captions,)
    shapes = {
        "image": ((batch_size, side, side, 3), jnp.uint8),
        "text": ((batch_size, *captions, length), jnp.int32),
    }
    return {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=batch_sharding(mesh))
        for name, (shape, dtype) in shapes.items()
    }


def abstract_state(
    task: Task, rule: Rule, mesh: Mesh, *, seed: int, ema: bool
) -> tuple[TrainState, TrainState]:
    """The run's state as ShapeDtypeStructs with shardings, and the shardings alone."""
    # The key is made before the mesh is in force: its devices can run nothing.
    rng = jax.random.fold_in(jax.random.key(seed), 0)
    _, abstract, layout = state_layout(task, rule.optimizer, mesh, rng=rng, ema=ema)
    return abstract, layout


def compile_step(
    task: Task,
    rule: Rule,
    mesh: Mesh,
    *,
    batch_size: int,
    micro_batch_size: int | None,
    ema_decay: float | None,
    seed: int,
) -> Compiled:
    """Compile the train step: what `bigclip.train` jits, with its shardings and donation."""
    abstract, layout = abstract_state(task, rule, mesh, seed=seed, ema=ema_decay is not None)
    examples = abstract_examples(task, mesh, batch_size)
    rng = jax.random.fold_in(jax.random.key(seed), 1)
    with jax.set_mesh(mesh):
        step = jit_step(
            task,
            rule.optimizer,
            rule.groups,
            mesh=mesh,
            layout=layout,
            rng=rng,
            total_steps=rule.total_steps,
            micro_batch_size=micro_batch_size,
            ema_decay=ema_decay,
        )
        return compile_traced(step.trace(abstract, examples))


def compile_objective(
    task: Task,
    params: Any,
    outputs: Mapping[str, jax.ShapeDtypeStruct],
    mesh: Mesh,
) -> Compiled:
    """Compile a task's objective and its gradient alone.

    The gradient is taken by all outputs, and by the scalars among the parameters.

    Args:
        task: the task.
        params: ShapeDtypeStructs; only what the objective reads takes part.
        outputs: of `task.forward` for the global batch.
        mesh: where.
    """
    whole, rows = replicated(mesh), batch_sharding(mesh)
    leaves, treedef = jax.tree.flatten(params)
    scalars = [index for index, leaf in enumerate(leaves) if leaf.ndim == 0]

    def value(values: list, outputs: Mapping[str, jax.Array], rest: list) -> tuple:
        filled = list(rest)
        for index, leaf in zip(scalars, values, strict=True):
            filled[index] = leaf
        return task.objective(treedef.unflatten(filled), outputs, jnp.float32(0))

    def place(tree: Any, sharding: Any) -> Any:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    gradient = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)
    values = [leaves[index] for index in scalars]
    with jax.set_mesh(mesh):
        jitted = jax.jit(gradient, out_shardings=(whole, (whole, rows)))
        return compile_traced(
            jitted.trace(place(values, whole), place(outputs, rows), place(leaves, whole))
        )


def abstract_outputs(
    task: Task, params: Any, examples: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of what `task.forward` gives for a global batch, as `task.objective` takes it."""
    batch_size = next(iter(examples.values())).shape[0]
    rngs = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch_size))

    def bare(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)

    outputs = jax.eval_shape(task.forward, bare(params), bare(dict(examples)), rngs)
    return {name: value for name, value in outputs.items() if name != STATISTICS}
