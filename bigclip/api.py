"""Load a trained model and use it: `bigclip.load(path)`.

model = bigclip.load("runs/demo")
image_emb = model.embed_images(["cat.png"])          # [1, D]
text_emb = model.embed_texts(["a cat", "a dog"])     # [2, D]
print(model.score(image_emb, text_emb))              # [1, 2], larger is a better match
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from bigclip import checkpoints
from bigclip.config import ConfigError, choose
from bigclip.data.pictures import prepared_batches
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import Tokenizer
from bigclip.parallel import (
    batch_sharding,
    make_mesh,
    num_batch_shards,
    replicated,
    shard_params,
)
from bigclip.tasks import Task, make_task

TOWERS = ("image", "text")
_BATCH_SIZE = 256  # of embedding; the last batch is padded, so that only one shape is compiled


class Model:
    """A trained model with its tokenizer and preprocessing. Made by `load`.

    What its methods return is whole and on the host, also where several processes share the mesh:
    there all of them call the same methods with the same arguments.

    Attributes:
        step: the training step of the checkpoint.
        manifest: all that the checkpoint tells of itself, plain data.
        task: the pure functions, see `bigclip.tasks.Task`.
        params: their parameters, on the mesh; of both towers, or of the one that was asked for.
        preprocess: the evaluation transform: picture -> uint8 [H, W, 3].
        tokenizer: the tokenizer.
    """

    def __init__(self, manifest: dict[str, Any], task: Task, params: Any, mesh: Mesh):
        self.task, self._mesh = task, mesh
        self.preprocess = Preprocess(**manifest["preprocess"])
        self.tokenizer = Tokenizer.from_dict(manifest["tokenizer"])
        whole = {"out_shardings": replicated(mesh)}  # so that every host can read the results
        self._embed_images = jax.jit(task.embed_images, **whole)
        self._embed_texts = jax.jit(task.embed_texts, **whole)
        self._image_features = jax.jit(task.image_features, static_argnums=2, **whole)
        self._score = jax.jit(task.score)
        self._take(manifest, params)

    def _take(self, manifest: dict[str, Any], params: Any) -> None:
        self.manifest, self.step, self.params = manifest, int(manifest["step"]), params
        self._score_params: Any = None

    def __repr__(self) -> str:
        names = " and ".join(name for name in TOWERS if self._has(name))
        count = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        return f"Model(step {self.step}, {names}, {count:,} parameters)"

    def with_params(self, manifest: dict[str, Any], params: Any) -> "Model":
        """Return this model with the parameters of another step; it shares what is compiled."""
        other = copy.copy(self)
        other._take(manifest, params)
        return other

    @property
    def image_layers(self) -> tuple[str, ...]:
        """The layers that `image_features` can give."""
        return self.task.image_layers

    @property
    def score_params(self) -> Any:
        """The parameters that `task.score` needs: those of no tower, on the host."""
        if self._score_params is None:
            inside = {branch for branches in self.task.towers.values() for branch in branches}
            rest = {name: part for name, part in self.params.items() if name not in inside}
            gather = jax.jit(lambda tree: tree, out_shardings=replicated(self._mesh))
            self._score_params = jax.tree.map(np.asarray, gather(rest))
        return self._score_params

    def embed_images(self, images: Any) -> Any:
        """Embed pictures.

        Args:
            images: uint8 [I, H, W, 3] of the size that `preprocess` gives; or one picture or
                several, each a Pillow image, a uint8 array, encoded bytes or a path (local or
                `gs://`), which are preprocessed.

        Returns:
            What `task.embed_images` gives, on the host: for two towers float32 [I, D],
            L2-normalised.

        Raises:
            ValueError: for what is no picture; says which one.
            ConfigError: for a model without image tower.
        """
        self._need("image")
        return self._in_batches(self._embed_images, self._prepared(images))

    def image_features(
        self, images: Any, layers: str | Sequence[str] = ("pooled",)
    ) -> dict[str, Any]:
        """Return layers of the image tower, for probes.

        Args:
            images: as for `embed_images`.
            layers: of `image_layers`; `bigclip.models.image_features` describes them.

        Returns:
            Layer -> float32 [I, E], or [I, P, E] for "tokens".

        Raises:
            ConfigError: for a layer that the tower does not have; as `embed_images`.
            ValueError: as `embed_images`.
        """
        self._need("image")
        layers = (layers,) if isinstance(layers, str) else tuple(layers)
        for layer in layers:
            choose(layer, dict.fromkeys(self.image_layers), "layers")

        def features(params: Any, batch: jax.Array) -> Any:
            return self._image_features(params, batch, layers)

        return self._in_batches(features, self._prepared(images))

    def tokenize(self, texts: str | Sequence[str]) -> np.ndarray:
        """Return the tokens of one text or several, int32 [T, L].

        Raises:
            ValueError: for what is no text; says which one.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"text {number} is {type(text).__name__} {text!r}, not str.")
        return self.tokenizer(texts)

    def embed_texts(self, texts: str | Sequence[str]) -> Any:
        """Embed one text or several: for two towers float32 [T, D], L2-normalised, on the host.

        Raises:
            ConfigError: for a model without text tower.
            ValueError: for what is no text.
        """
        self._need("text")
        tokens = self.tokenize(texts)
        starts = range(0, max(len(tokens), 1), _BATCH_SIZE)
        parts = (tokens[start : start + _BATCH_SIZE] for start in starts)
        return self._in_batches(self._embed_texts, parts)

    def score(self, image_outputs: Any, text_outputs: Any) -> np.ndarray:
        """Score all pairs of what `embed_images` and `embed_texts` gave.

        Returns:
            float32 [I, T]; larger is a better match. For two towers the cosine times the logit
            scale, plus the bias where there is one.
        """
        outputs = (image_outputs, text_outputs)
        images, texts = (np.asarray(x) if isinstance(x, list) else x for x in outputs)
        return np.asarray(self._score(self.score_params, images, texts))

    def rows_here(self, batch_size: int) -> np.ndarray:
        """Return which rows of a batch this process's devices embed, ascending.

        Only these need hold pictures in what this process gives to `embed_images`.
        """
        sharding = batch_sharding(self._mesh)
        size = self._padded(batch_size)
        parts = sharding.addressable_devices_indices_map((size,)).values()
        rows = np.unique([np.arange(size)[part] for part in parts])
        return rows[rows < batch_size]

    def save(self, folder: epath.PathLike) -> None:
        """Write these parameters, without the optimizer's state, as a folder that `load` reads.

        Args:
            folder: a new one, local or `gs://`; it appears when all is written.

        Raises:
            ConfigError: if the folder exists.
        """
        manifest = {**self.manifest, "towers": [name for name in TOWERS if self._has(name)]}
        checkpoints.export(folder, self.params, manifest)

    def _has(self, tower: str) -> bool:
        return all(branch in self.params for branch in self.task.towers[tower])

    def _need(self, tower: str) -> None:
        if not self._has(tower):
            raise ConfigError(
                f"this model has no {tower} tower: it was loaded with tower={_other(tower)!r}, or "
                "saved so. Load the whole checkpoint: bigclip.load(path)."
            )

    def _prepared(self, images: Any) -> Iterator[np.ndarray]:
        return prepared_batches(images, self.preprocess, batch_size=_BATCH_SIZE)

    def _padded(self, count: int) -> int:
        shards = num_batch_shards(self._mesh)
        return -(-max(count, 1) // shards) * shards

    def _in_batches(self, embed: Callable, batches: Iterable[np.ndarray]) -> Any:
        sharding = batch_sharding(self._mesh)
        parts, size = [], 0
        with jax.set_mesh(self._mesh):
            for part in batches:
                size = size or self._padded(len(part))  # the first is the largest
                padded = np.zeros((size, *part.shape[1:]), part.dtype)
                padded[: len(part)] = part
                batch = jax.make_array_from_callback(
                    padded.shape, sharding, lambda index, rows=padded: rows[index]
                )
                outputs = embed(self.params, batch)
                count = len(part)
                parts.append(jax.tree.map(lambda x, n=count: np.asarray(x)[:n], outputs))
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _other(tower: str) -> str:
    return TOWERS[1 - TOWERS.index(tower)]


def load(
    path: epath.PathLike,
    *,
    step: int | None = None,
    ema: bool = False,
    tower: str | None = None,
    dtype: str | None = None,
    mesh: Mesh | None = None,
) -> Model:
    """Load a model on any number of devices, from nothing but its folder.

    Args:
        path: a run's workdir, its `checkpoints` folder, one checkpoint, or a folder that
            `Model.save` wrote; local or `gs://`.
        step: which checkpoint of a run; the newest by default.
        ema: whether to take the averaged parameters instead of the raw ones.
        tower: "image" or "text" to load only that tower; both by default.
        dtype: of the towers' matrix products, "float32" or "bfloat16"; that of the training by
            default.
        mesh: where to lay it; all devices in data parallel by default.

    Returns:
        The model.

    Raises:
        ConfigError: if there is no checkpoint, or none that this version can read; if it holds no
            averaged parameters, or not that tower.
    """
    if tower is not None:
        choose(tower, dict.fromkeys(TOWERS), "tower")
    place = checkpoints.step_path(path, step)
    manifest = checkpoints.read_manifest(place)
    mesh = mesh or make_mesh()
    block = dict(manifest["task"])
    if dtype is not None:
        block["dtype"] = dtype
    prepare = Preprocess(**manifest["preprocess"])
    task = make_task(block, mean=prepare.mean, std=prepare.std)
    held = manifest.get("towers", list(TOWERS))
    if tower is not None and tower not in held:
        raise ConfigError(f"{place} was saved with the {held[0]} tower alone.")
    wanted = held if tower is None else [tower]
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    shardings = _branches(shard_params(shapes, task.rules, mesh), task.towers, wanted)
    checkpoints.check_params(place, _branches(shapes, task.towers, wanted), partial=True)
    item = "ema" if ema else "params"
    params = checkpoints.restore_params(place, item=item, shardings=shardings)
    return Model(manifest, task, params, mesh)


def _branches(tree: Mapping[str, Any], towers: Mapping[str, Sequence[str]], wanted) -> dict:
    """Leave away the branches of the towers that are not wanted."""
    away = {branch for name, parts in towers.items() if name not in wanted for branch in parts}
    return {name: part for name, part in tree.items() if name not in away}
