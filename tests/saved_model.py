"""A checkpoint without a run: tiny towers with random weights, for tests of what reads it."""

import jax
import numpy as np

from bigclip import checkpoints
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer.training import train_tokenizer
from bigclip.parallel import make_mesh, shard_params
from bigclip.tasks import make_task

STEP = 7
SCALARS = {"log_logit_scale": np.log(10), "logit_bias": -10}


def save_run(workdir, *, scale: float = 0.5) -> None:
    """Write one checkpoint of random parameters and of their average, which is `scale` times them.

    The mesh has data, fsdp and tensor axes of two devices each.
    """
    prepare = Preprocess(size=24)
    tokenizer = train_tokenizer(["red fox", "blue owl"] * 4, vocab_size=300, context_length=11)
    text = {"vocab_size": 300, "context_length": 11, "depth": 1}
    block = {
        "name": "contrastive",
        "architecture": "tiny-clip",
        "overrides": {"image": {"depth": 2}, "text": text},
        "loss": "sigmoid",
        "dtype": "float32",
        "scan": True,  # fewer arrays
    }
    task = make_task(block, mean=prepare.mean, std=prepare.std)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    layout = shard_params(shapes, task.rules, make_mesh(data=2, fsdp=2, tensor=2))
    rng = np.random.default_rng(0)  # nothing to compile
    drawn = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
    drawn |= {name: np.float32(value) for name, value in SCALARS.items()}
    params = jax.device_put(drawn, layout)
    manifest = checkpoints.make_manifest(
        task=task.manifest,
        preprocess=prepare.to_dict(),
        tokenizer=tokenizer.to_dict(),
        config={},
        run_id="r",
    )
    writer = checkpoints.Writer(workdir)
    state = {"params": params, "ema": jax.tree.map(lambda x: scale * x, params)}
    writer.save(
        STEP, state, checkpoints.at_step(manifest, step=STEP, examples_seen=56, has_ema=True)
    )
    writer.close()
