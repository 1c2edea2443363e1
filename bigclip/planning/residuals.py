"""What the backward pass keeps of each example: read off the traced forward pass.

`jax.vjp` returns a function whose leaves are the arrays that it keeps. Traced for two batch
sizes, their difference is what one more example costs, for any tower and any rematerialisation.
The compiler then fuses some of it away and adds padding: for SigLIP B/16 without
rematerialisation it took a tenth more than this.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractDevice, AbstractMesh

from bigclip.tasks import make_task

# Where it is traced for decides which attention the towers take.
_ONE_CHIP = AbstractMesh((1,), ("data",), abstract_device=AbstractDevice("TPU v5 lite", 1, "tpu"))


@functools.cache
def _kept_bytes(arguments: str, num_captions: int | None) -> int:
    task = make_task(
        json.loads(arguments), mean=(0.5,) * 3, std=(0.5,) * 3, num_captions=num_captions
    )
    arch = task.manifest["architecture"]
    side, length = arch["image"]["image_size"], arch["text"]["context_length"]
    texts = (length,) if num_captions is None else (num_captions, length)
    params = jax.eval_shape(task.init, jax.random.key(0))

    def kept(batch_size: int) -> int:
        examples = {
            "image": jax.ShapeDtypeStruct((batch_size, side, side, 3), jnp.uint8),
            "text": jax.ShapeDtypeStruct((batch_size, *texts), jnp.int32),
        }
        rngs = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch_size))

        def pull_back(params: Any, examples: Any, rngs: Any) -> Any:
            return jax.vjp(lambda trained: task.forward(trained, examples, rngs), params)[1]

        with jax.sharding.use_abstract_mesh(_ONE_CHIP):
            leaves = jax.tree.leaves(jax.eval_shape(pull_back, params, examples, rngs))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    return kept(3) - kept(2)


def kept_bytes(
    manifest: Mapping[str, Any], *, remat: str | None = None, num_captions: int | None = None
) -> int:
    """Bytes that the backward pass keeps of one example, over all layers of both towers.

    Args:
        manifest: of a task: its name and arguments.
        remat: another policy than the manifest's.
        num_captions: see `Task.num_captions`.
    """
    task = dict(manifest)
    if remat is not None:
        task["remat"] = remat
    return _kept_bytes(json.dumps(task, sort_keys=True), num_captions)
