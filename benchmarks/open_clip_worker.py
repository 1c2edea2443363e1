"""The side of open_clip: its model, loss, transform, optimizer settings and schedule.

Nothing of bigclip is imported here; what both sides share comes in files.
"""

import io
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL.Image
import torch

from benchmarks.torch_side import make_adamw, normalise
from benchmarks.workers import num_cpus, serve
from bigclip.interop.torchvision_import import import_torchvision

# Before open_clip, which imports torchvision.
import_torchvision()

import open_clip  # noqa: E402
from open_clip.transform import PreprocessCfg, image_transform_v2  # noqa: E402
from open_clip_train.scheduler import cosine_lr  # noqa: E402

_EMBED_BATCH = 256


class Pairs(torch.utils.data.Dataset):
    """Encoded pictures with one text each, through open_clip's training transform."""

    def __init__(self, path: str, image_size: int):
        with np.load(path) as arrays:
            self._bytes, self._ends = arrays["image_bytes"], arrays["image_ends"]
            self._text = torch.from_numpy(arrays["text"].astype(np.int64))
        config = PreprocessCfg(size=image_size)
        self.mean, self.std = config.mean, config.std
        self._transform = image_transform_v2(config, is_train=True)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        begin = self._ends[index - 1] if index else 0
        encoded = io.BytesIO(self._bytes[begin : self._ends[index]].tobytes())
        picture = PIL.Image.open(encoded).convert("RGB")
        return self._transform(picture), self._text[index]


class OpenClip:
    """One run in this process's memory."""

    def start(
        self,
        *,
        model: dict[str, Any],
        seed: int,
        batch_size: int,
        total_steps: int,
        warmup_steps: int,
        learning_rate: float,
        mean: list[float],
        std: list[float],
        pairs: str | None = None,
    ) -> dict[str, Any]:
        """Build a run with the defaults of `open_clip_train` for a ViT, in float32.

        Args:
            model: keyword arguments of `open_clip.CLIP`.
            seed: of the parameters and the data.
            batch_size: B.
            total_steps: length of the cosine.
            warmup_steps: linear warm-up.
            learning_rate: the peak.
            mean: pixel mean of batches that are given; open_clip's own with `pairs`.
            std: likewise.
            pairs: .npz of the training set, to train on by open_clip's own recipe. Without it,
                `steps` must be given batches.
        """
        num_threads = num_cpus()
        torch.set_num_threads(num_threads)
        torch.manual_seed(seed)
        self._model = open_clip.CLIP(**model, output_dict=True)
        self._loss = open_clip.ClipLoss()
        self._optimizer = make_adamw(self._model, learning_rate)
        self._schedule = cosine_lr(self._optimizer, learning_rate, warmup_steps, total_steps)
        self._next_step = 0
        self._own = None
        if pairs is not None:
            dataset = Pairs(pairs, model["vision_cfg"]["image_size"])
            mean, std = dataset.mean, dataset.std
            self._own = _endless(dataset, batch_size, seed=seed, num_workers=num_threads)
        self._mean, self._std = mean, std
        return {"num_params": sum(p.numel() for p in self._model.parameters())}

    def steps(self, *, count: int, batches: str | None = None) -> dict[str, Any]:
        """Train.

        Args:
            count: number of steps.
            batches: .npz of batches to train on, over and over, normalised before the clock
                starts; the recipe's own data by default, and then the wait for it counts.
        """
        if batches is not None:
            with np.load(batches) as arrays:
                image, text = arrays["image"], arrays["text"].astype(np.int64)
        self._model.train()
        seconds, losses = [], []
        for number in range(count):
            start = time.perf_counter()
            if batches is None:
                images, texts = next(self._own)
            else:
                row = number % len(image)
                images, texts = (
                    normalise(image[row], self._mean, self._std),
                    torch.from_numpy(text[row]),
                )
                start = time.perf_counter()
            losses.append(self._update(images, texts))
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "loss": float(np.mean(losses))}

    def embed(self, *, inputs: str, outputs: str) -> dict[str, Any]:
        """Embed `image` and `text` of an .npz into another."""
        self._model.eval()
        with np.load(inputs) as arrays:
            image, text = arrays["image"], torch.from_numpy(arrays["text"].astype(np.int64))
        with torch.no_grad():
            image_emb = [
                self._model.encode_image(normalise(part, self._mean, self._std), normalize=True)
                for part in np.split(image, range(_EMBED_BATCH, len(image), _EMBED_BATCH))
            ]
            text_emb = [
                self._model.encode_text(part, normalize=True) for part in text.split(_EMBED_BATCH)
            ]
        np.savez(
            outputs, image_emb=torch.cat(image_emb).numpy(), text_emb=torch.cat(text_emb).numpy()
        )
        return {}

    def _update(self, images: torch.Tensor, texts: torch.Tensor) -> float:
        """Do what `open_clip_train` does with a batch."""
        self._schedule(self._next_step)
        self._optimizer.zero_grad()
        loss = self._loss(**self._model(images, texts))
        loss.backward()
        self._optimizer.step()
        with torch.no_grad():
            self._model.logit_scale.clamp_(0, math.log(100))
        self._next_step += 1
        return loss.item()


def _endless(
    dataset: Pairs, batch_size: int, *, seed: int, num_workers: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=True,
        generator=torch.Generator().manual_seed(seed),
    )
    while True:
        yield from loader


if __name__ == "__main__":
    serve(OpenClip())
