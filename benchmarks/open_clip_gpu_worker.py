"""The side of PyTorch on a GPU: open_clip's compiled step, and a tiled loss alone.

Nothing of bigclip is imported here; what both sides share comes in files.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.tiled_torch_loss import tiled_softmax_loss
from benchmarks.torch_side import make_adamw, normalise
from benchmarks.workers import serve
from bigclip.interop.torchvision_import import import_torchvision

# Before open_clip, which imports torchvision.
import_torchvision()

import open_clip  # noqa: E402

_WARM_STEPS = 3


class OpenClipGpu:
    """Measures one thing after another."""

    def start(self, *, device: str) -> dict[str, Any]:
        """Choose "cuda" or "cpu"; `kind` is the device's name, {} where there is none."""
        if device == "cuda" and not torch.cuda.is_available():
            return {}
        self._device = torch.device(device)
        kind = torch.cuda.get_device_name() if device == "cuda" else device
        return {"kind": kind}

    def step(
        self,
        *,
        model: dict[str, Any],
        batches: str,
        count: int,
        learning_rate: float,
        mean: list[float],
        std: list[float],
        compiled: bool,
    ) -> dict[str, Any]:
        """Train on the first batch of an .npz, which stays on the device, in bfloat16 autocast.

        Args:
            model: keyword arguments of `open_clip.CLIP`.
            batches: see `published.write_random_batches`.
            count: steps, after some to compile.
            learning_rate: of AdamW.
            mean: pixel mean.
            std: pixel deviation.
            compiled: whether to `torch.compile` the model, as its `--torchcompile` does.
        """
        clip = open_clip.CLIP(**model, output_dict=True).to(self._device)
        clip.train()
        loss_fn, optimizer = open_clip.ClipLoss(), make_adamw(clip, learning_rate)
        with np.load(batches) as arrays:
            pixels = normalise(arrays["image"][0], mean, std).to(self._device)
            tokens = torch.from_numpy(arrays["text"][0].astype(np.int64)).to(self._device)
        forward = torch.compile(clip) if compiled else clip

        def update() -> torch.Tensor:
            optimizer.zero_grad()
            with torch.autocast(self._device.type, torch.bfloat16):
                loss = loss_fn(**forward(pixels, tokens))
            loss.backward()
            optimizer.step()
            return loss

        start = time.perf_counter()
        for _ in range(_WARM_STEPS):
            loss = update()
        self._wait()
        first, start = time.perf_counter() - start, time.perf_counter()
        for _ in range(count):
            loss = update()
        self._wait()
        seconds = (time.perf_counter() - start) / count
        return {"seconds": seconds, "first_seconds": first, "loss": loss.item(), **self._peak()}

    def loss(
        self, *, batch_size: int, dim: int, tile: int, tf32: bool, count: int
    ) -> dict[str, Any]:
        """Measure the tiled softmax loss and its gradient by both embeddings and the scale."""
        torch.backends.cuda.matmul.allow_tf32 = tf32
        generator = torch.Generator().manual_seed(0)
        drawn = [torch.randn(batch_size, dim, generator=generator) for _ in range(2)]
        embs = [
            torch.nn.functional.normalize(x, dim=1).to(self._device).requires_grad_() for x in drawn
        ]
        scale = torch.tensor(100.0, device=self._device, requires_grad=True)

        def gradient() -> None:
            tiled_softmax_loss(*embs, scale, tile=tile).backward()
            for leaf in (*embs, scale):
                leaf.grad = None

        return {"seconds": self._seconds(gradient, count), **self._peak()}

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def _seconds(self, fn: Callable[[], None], count: int) -> float:
        fn()
        self._wait()
        start = time.perf_counter()
        for _ in range(count):
            fn()
        self._wait()
        return (time.perf_counter() - start) / count

    def _peak(self) -> dict[str, Any]:
        known = self._device.type == "cuda"
        return {"peak_bytes": torch.cuda.max_memory_allocated() if known else None}


if __name__ == "__main__":
    serve(OpenClipGpu())
