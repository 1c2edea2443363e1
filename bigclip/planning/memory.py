"""One device's memory, split by what it is for."""

import math
from typing import Any

import jax

from bigclip.planning.compiled import Compiled
from bigclip.training.state import TrainState


def sharded_bytes(tree: Any) -> int:
    """Bytes on one device of arrays that are described with their shardings, unpadded."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def split_memory(
    step: Compiled, objective: Compiled, state: TrainState, examples: Any, *, limit: int
) -> dict[str, int]:
    """Split the step's memory on one device, in bytes.

    The state is donated: the compiler lists it both as an argument and as an output, and as
    aliased once; so total = arguments + outputs - aliased + temporaries + code counts it once.

    Args:
        step: the train step.
        objective: the objective and its gradient alone, compiled for the same outputs.
        state: ShapeDtypeStructs with their shardings.
        examples: likewise, a global batch.
        limit: what a program may use.

    Returns:
        parameters: float32 parameters, this device's shard.
        optimizer: the optimizer's state and the moving average (EMA), this device's shard.
        batch: pictures and tokens.
        loss: temporaries of the objective compiled alone, at most all temporaries.
        activations: the step's other temporaries: what the backward pass keeps, what the layer
            at work holds, and gradients that wait for the optimizer.
        other: padding of the state's layout, outputs that are not donated, the program.
        total: the sum of all of the above.
        limit: as given.

        Where the step did not fit, the compiler tells the total alone; what is neither state nor
        batch nor loss is then called activations, and other is 0.
    """
    parameters = sharded_bytes(state.params)
    optimizer = sharded_bytes((state.opt_state, state.ema, state.step))
    batch = sharded_bytes(examples)
    known = parameters + optimizer + batch
    if step.memory is not None:
        temporaries, total = step.memory.temporaries, step.memory.total
    else:
        total = max(step.asked_bytes, known)
        temporaries = total - known
    alone = objective.memory.temporaries if objective.memory else objective.asked_bytes
    loss = min(alone, temporaries)
    return {
        "parameters": parameters,
        "optimizer": optimizer,
        "batch": batch,
        "activations": temporaries - loss,
        "loss": loss,
        "other": total - known - temporaries,
        "total": total,
        "limit": limit,
    }
