"""Load a trained model and use it: `bigclip.load(path)`.

model = bigclip.load("runs/demo")
image_emb = model.embed_images(["cat.png"])          # [1, D]
text_emb = model.embed_texts(["a cat", "a dog"])     # [2, D]
print(model.score(image_emb, text_emb))              # [1, 2], larger is a better match
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from bigclip import checkpoints
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import Tokenizer
from bigclip.parallel import batch_sharding, make_mesh, num_batch_shards, shard_params
from bigclip.tasks import make_task

_BATCH_SIZE = 256  # of embedding; the last batch is padded, so that only one shape is compiled


class Model:
    """A trained model with its tokenizer and preprocessing. Made by `load`.

    Attributes:
        step: the training step of the checkpoint.
        manifest: all that the checkpoint tells of itself, plain data.
        task: the pure functions, see `bigclip.tasks.Task`.
        params: their parameters, on the mesh.
        preprocess: the evaluation transform.
        tokenizer: the tokenizer.
    """

    def __init__(self, manifest: dict[str, Any], task: Any, params: Any, mesh: Mesh):
        self.manifest, self.step = manifest, int(manifest["step"])
        self.task, self.params, self._mesh = task, params, mesh
        self.preprocess = Preprocess(**manifest["preprocess"])
        self.tokenizer = Tokenizer.from_dict(manifest["tokenizer"])
        self._embed_images = jax.jit(task.embed_images)
        self._embed_texts = jax.jit(task.embed_texts)
        self._score = jax.jit(task.score)

    def embed_images(self, images: Any) -> Any:
        """Embed pictures.

        Args:
            images: uint8 [I, H, W, 3] of the size that `preprocess` gives; or a list of Pillow
                images, arrays, encoded bytes or paths, which are preprocessed.

        Returns:
            What `task.embed_images` gives, on the host: for two towers float32 [I, D],
            L2-normalised.

        Raises:
            ValueError: for an array of another size.
        """
        size = self.preprocess.size
        if isinstance(images, np.ndarray | jax.Array) and images.ndim == 4:
            if images.shape[1:] != (size, size, 3) or images.dtype != np.uint8:
                raise ValueError(
                    f"images are {images.dtype} {images.shape}, this model takes uint8 "
                    f"[I, {size}, {size}, 3]. Give a list of pictures to have them preprocessed."
                )
        else:
            images = np.stack([self.preprocess(_opened(image)) for image in images])
        return self._in_batches(self._embed_images, images)

    def embed_texts(self, texts: Sequence[str]) -> Any:
        """Embed texts: for two towers float32 [T, D], L2-normalised, on the host."""
        return self._in_batches(self._embed_texts, self.tokenizer(list(texts)))

    def score(self, image_outputs: Any, text_outputs: Any) -> np.ndarray:
        """Score all pairs of what `embed_images` and `embed_texts` gave.

        Returns:
            float32 [I, T]; larger is a better match.
        """
        with jax.set_mesh(self._mesh):
            return np.asarray(self._score(self.params, image_outputs, text_outputs))

    def _in_batches(self, embed: Any, inputs: np.ndarray) -> Any:
        shards = num_batch_shards(self._mesh)
        size = -(-min(_BATCH_SIZE, max(len(inputs), 1)) // shards) * shards
        parts = []
        with jax.set_mesh(self._mesh):
            for start in range(0, max(len(inputs), 1), size):
                part = inputs[start : start + size]
                count = len(part)
                padded = np.zeros((size, *inputs.shape[1:]), inputs.dtype)
                padded[:count] = part
                outputs = embed(self.params, jax.device_put(padded, batch_sharding(self._mesh)))
                parts.append(jax.tree.map(lambda x, n=count: np.asarray(x)[:n], outputs))
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _opened(image: Any) -> Any:
    if isinstance(image, str | pathlib.PurePath | epath.Path):
        return epath.Path(image).read_bytes()
    return image


def load(
    path: str | epath.PathLike,
    *,
    step: int | None = None,
    ema: bool = False,
    dtype: str | None = None,
    mesh: Mesh | None = None,
) -> Model:
    """Load a model from a run, on any number of devices, from nothing but its folder.

    Args:
        path: a run's workdir, its `checkpoints` folder, or one checkpoint; local or `gs://`.
        step: which checkpoint; the newest by default.
        ema: whether to take the averaged parameters instead of the raw ones.
        dtype: of the towers' matrix products; that of the training by default.
        mesh: where to lay it; all devices in data parallel by default.

    Returns:
        The model.

    Raises:
        ConfigError: if there is no checkpoint, or none that this version can read.
    """
    manifest = checkpoints.read_manifest(path, step)
    place = checkpoints.step_path(path, step)
    mesh = mesh or make_mesh()
    block = dict(manifest["task"])
    if dtype is not None:
        block["dtype"] = dtype
    prepare = Preprocess(**manifest["preprocess"])
    task = make_task(block, mean=prepare.mean, std=prepare.std)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    checkpoints.check_params(place, shapes)
    params = checkpoints.restore_params(
        place,
        item="ema" if ema else "params",
        shardings=shard_params(shapes, task.rules, mesh),
    )
    return Model(manifest, task, params, mesh)
