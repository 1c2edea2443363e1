"""The side of bigclip: the step of `bigclip.train`, asked for a few steps at a time."""

import json
import pathlib
import time
from typing import Any

import jax
import numpy as np

from benchmarks.bigclip_step import make_step, parts_of, parts_without_data, place
from benchmarks.workers import serve
from bigclip.config import call
from bigclip.training.experiment import experiment

_EMBED_BATCH = 256  # the last one is padded, so that only one shape is compiled


class Bigclip:
    """One run in this process's memory, without a workdir."""

    def start(self, *, config: str, data: bool = True) -> dict[str, Any]:
        """Build a run.

        Args:
            config: JSON file of a configuration.
            data: whether to open its data; else `steps` must be given batches.
        """
        settings = json.loads(pathlib.Path(config).read_text())
        self._batches, self._open_batches = None, None
        if data:
            run = call(experiment, settings, "")
            self._open_batches = run.open_batches
            self._parts = parts_of(run)
        else:
            self._parts = parts_without_data(settings)
        step = make_step(self._parts)
        with jax.set_mesh(self._parts.mesh):
            self._state = step.create()
        self._step = step.update
        self._embed_images = jax.jit(self._parts.task.embed_images)
        self._embed_texts = jax.jit(self._parts.task.embed_texts)
        return {"num_params": sum(x.size for x in jax.tree.leaves(self._state.params))}

    def steps(self, *, count: int, batches: str | None = None) -> dict[str, Any]:
        """Train.

        Args:
            count: number of steps.
            batches: .npz of batches to train on, over and over; the run's own data by default,
                and then the wait for it counts.
        """
        given = None if batches is None else _read_batches(batches)
        if given is None and self._batches is None:
            self._batches = self._open_batches(0)
        seconds, losses = [], []
        for number in range(count):
            start = time.perf_counter()
            batch = next(self._batches) if given is None else given[number % len(given)]
            examples = place(self._parts, batch)
            with jax.set_mesh(self._parts.mesh):
                self._state, metrics = self._step(self._state, examples)
            losses.append(float(metrics["loss"]))
            # The loss is there before the parameters are.
            jax.block_until_ready(self._state)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "loss": float(np.mean(losses))}

    def embed(self, *, inputs: str, outputs: str, weights: str = "params") -> dict[str, Any]:
        """Embed `image` and `text` of an .npz into another, with "params" or "ema"."""
        params = self._state.params if weights == "params" else self._state.ema
        with np.load(inputs) as arrays:
            image, text = arrays["image"], arrays["text"]
        with jax.set_mesh(self._parts.mesh):
            image_emb = _in_batches(lambda x: self._embed_images(params, x), image)
            text_emb = _in_batches(lambda x: self._embed_texts(params, x), text)
        np.savez(outputs, image_emb=image_emb, text_emb=text_emb)
        return {}


def _read_batches(path: str) -> list[dict[str, np.ndarray]]:
    with np.load(path) as arrays:
        image, text = arrays["image"], arrays["text"]
    return [{"image": image[i], "text": text[i]} for i in range(len(image))]


def _in_batches(embed: Any, inputs: np.ndarray) -> np.ndarray:
    parts = []
    for start in range(0, len(inputs), _EMBED_BATCH):
        part = inputs[start : start + _EMBED_BATCH]
        padded = np.zeros((_EMBED_BATCH, *inputs.shape[1:]), inputs.dtype)
        padded[: len(part)] = part
        parts.append(np.asarray(embed(padded))[: len(part)])
    return np.concatenate(parts)


if __name__ == "__main__":
    serve(Bigclip())
