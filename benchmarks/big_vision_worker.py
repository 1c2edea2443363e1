"""The side of big_vision: its towers, its sigmoid loss, its optimizer, in one process."""

import time
from typing import Any

import jax
import numpy as np

from benchmarks.big_vision_step import big_vision_step
from benchmarks.workers import serve


class BigVision:
    """One run in this process's memory."""

    def start(self, *, mean: list[float], std: list[float], **arguments: Any) -> dict[str, Any]:
        """Build the step; `arguments` are those of `big_vision_step`."""
        self._step = step = big_vision_step(**arguments, devices=jax.devices())
        self._scale, self._shift = 1 / (255 * np.asarray(std)), np.asarray(mean) / np.asarray(std)
        self._rng = jax.random.key(1)
        with step.context():
            self._state = step.create()
        return {"num_params": sum(x.size for x in jax.tree.leaves(self._state["params"]))}

    def steps(self, *, count: int, batches: str) -> dict[str, Any]:
        """Train for some steps on an .npz of batches, normalised before the clock starts."""
        with np.load(batches) as arrays:
            image, text = arrays["image"], arrays["text"]
        seconds, losses = [], []
        for number in range(count):
            row = number % len(image)
            pixels = (image[row] * self._scale - self._shift).astype(np.float32)
            start = time.perf_counter()
            batch = jax.device_put(
                {"image": pixels, "labels": text[row]},
                {name: one.sharding for name, one in self._step.batch_shapes.items()},
            )
            with self._step.context():
                self._state, measured = self._step.update(self._state, self._rng, batch)
            losses.append(float(measured["training_loss"]))
            # The loss is there before the parameters are.
            jax.block_until_ready(self._state)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "loss": float(np.mean(losses))}


if __name__ == "__main__":
    serve(BigVision())
