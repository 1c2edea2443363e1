"""Checkpoints of random weights of any architecture, written without training or compiling."""

import math

import jax
import numpy as np

from bigclip import checkpoints, models
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer.training import train_tokenizer
from bigclip.tasks import make_task

# Longer than any context here, shorter, of unknown words, and empty.
TEXTS = ("red fox " * 40, "blue owl", "Owl\n  RED", "fox", "zebra, 7", "", "red red owl fox")

# Together they have every part that an architecture may have, in odd sizes.
GEOMETRIES = {
    "clip": models.architecture("tiny-clip", text={"vocab_size": 300}),
    "siglip": models.architecture("tiny-siglip", text={"vocab_size": 300}),
    "conv stem, mean, not causal": models.architecture(
        "tiny-clip",
        image={"stem": "conv", "pool": "mean", "activation": "gelu", "projection_bias": True},
        text={"vocab_size": 300, "causal": False, "activation": "gelu_tanh", "ln_eps": 1e-6},
    ),
    "pixels left over, causal and last": models.architecture(
        "tiny-clip",
        image={"image_size": 29, "pool": "mean", "patch_bias": True, "ln_pre": False},
        text={"vocab_size": 300, "pool": "last", "projection": False},
        embed_dim=40,
    ),
    "map and projection": models.architecture(
        "tiny-clip",
        image={"pool": "map", "activation": "gelu_tanh", "ln_pre": False},
        text={"vocab_size": 300, "causal": False, "pool": "last", "projection_bias": True},
    ),
}


def save_checkpoint(folder, arch, *, loss="softmax", towers=("image", "text")) -> None:
    """Write a folder that `bigclip.load` reads, with activations of the size that training gives.

    Args:
        folder: a new one.
        arch: an architecture, plain data.
        loss: of the task; "sigmoid" has a bias.
        towers: those that are saved.
    """
    tokenizer = train_tokenizer(
        ["red fox", "blue owl"] * 4, vocab_size=300, context_length=arch["text"]["context_length"]
    )
    prepare = Preprocess(size=arch["image"]["image_size"])
    block = {"name": "contrastive", "architecture": arch, "loss": loss, "dtype": "float32"}
    task = make_task(block, mean=prepare.mean, std=prepare.std)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    held = {name: part for name, part in shapes.items() if name in towers or name[:3] == "log"}
    params = jax.tree_util.tree_map_with_path(_Draw(), held)
    manifest = checkpoints.make_manifest(
        task=task.manifest,
        preprocess=prepare.to_dict(),
        tokenizer=tokenizer.to_dict(),
        config={},
        run_id="random",
    )
    manifest = checkpoints.at_step(manifest, step=3, examples_seen=24, has_ema=False)
    checkpoints.export(folder, params, manifest | {"towers": list(towers)})


class _Draw:
    def __init__(self):
        self._rng = np.random.default_rng(0)

    def __call__(self, path, leaf) -> np.ndarray:
        name = path[-1].key
        if name == "log_logit_scale":
            return np.float32(math.log(20))
        if name == "logit_bias":
            return np.float32(-7)
        normal = self._rng.standard_normal(leaf.shape, np.float32)
        if name == "kernel":
            # Inputs of a convolution [height, width, in, out], or of matrices [(depth,) in, out].
            inputs = leaf.shape[:-1] if leaf.ndim == 4 else leaf.shape[-2:-1]
            return normal * np.float32(math.prod(inputs) ** -0.5)
        return (1 if name == "scale" else 0) + np.float32(0.3) * normal
