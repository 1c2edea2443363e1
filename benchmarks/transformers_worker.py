"""The side of transformers: its `CLIPModel` with its own loss, and PyTorch's AdamW.

Nothing of bigclip is imported here; what both sides share comes in files.
"""

import time
from typing import Any

import numpy as np
import torch

from benchmarks.torch_side import make_adamw, normalise
from benchmarks.workers import num_cpus, serve
from bigclip.interop.torchvision_import import import_torchvision

# Before transformers, which imports it where it is installed.
import_torchvision()

import transformers  # noqa: E402


class Transformers:
    """One run in this process's memory."""

    def start(
        self,
        *,
        model: dict[str, Any],
        seed: int,
        learning_rate: float,
        mean: list[float],
        std: list[float],
    ) -> dict[str, Any]:
        """Build the model in float32; the learning rate stays, as its trainer leaves it to one.

        Args:
            model: keyword arguments of `CLIPConfig`.
            seed: of the parameters.
            learning_rate: of AdamW.
            mean: pixel mean.
            std: pixel deviation.
        """
        torch.set_num_threads(num_cpus())
        torch.manual_seed(seed)
        self._model = transformers.CLIPModel(transformers.CLIPConfig(**model))
        self._model.train()
        self._optimizer = make_adamw(self._model, learning_rate)
        self._mean, self._std = mean, std
        return {"num_params": sum(p.numel() for p in self._model.parameters())}

    def steps(self, *, count: int, batches: str) -> dict[str, Any]:
        """Train for some steps on an .npz of batches, normalised before the clock starts."""
        with np.load(batches) as arrays:
            image, text = arrays["image"], arrays["text"].astype(np.int64)
        seconds, losses = [], []
        for number in range(count):
            row = number % len(image)
            pixels = normalise(image[row], self._mean, self._std)
            tokens = torch.from_numpy(text[row])
            start = time.perf_counter()
            losses.append(self._update(pixels, tokens))
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "loss": float(np.mean(losses))}

    def _update(self, pixels: torch.Tensor, tokens: torch.Tensor) -> float:
        self._optimizer.zero_grad()
        loss = self._model(input_ids=tokens, pixel_values=pixels, return_loss=True).loss
        loss.backward()
        self._optimizer.step()
        return loss.item()


if __name__ == "__main__":
    serve(Transformers())
