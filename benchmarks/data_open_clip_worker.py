"""The side of open_clip: its webdataset reader, training transform and tokenizer.

Nothing of bigclip is imported here.
"""

import argparse
import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL.Image
import torch

from benchmarks.data_turns import CONTEXT_LENGTH, RATIO, SCALE, SHUFFLED, SIZE, pull
from benchmarks.workers import serve
from bigclip.interop.torchvision_import import import_torchvision

# Before open_clip, which imports torchvision.
import_torchvision()

import open_clip  # noqa: E402
import open_clip_train.data  # noqa: E402
from torchvision.transforms import functional  # noqa: E402

_EPOCHS = 1000  # as one: its loader would fill the shuffle buffer anew in each


class Data:
    """Batches of float32 pictures [B, 3, H, W], normalised, and int64 ids [B, L]."""

    def start(self, *, shards: list[str], records: int, workers: int, batch_size: int) -> dict:
        """Open the shards as `open_clip_train` does, with a smaller shuffle buffer.

        Args:
            shards: paths.
            records: in all of them.
            workers: processes of its loader.
            batch_size: B.
        """
        # Its 5,000 would still be growing when a turn is over, at the cost of reading.
        open_clip_train.data._SAMPLE_SHUFFLE_SIZE = SHUFFLED
        open_clip_train.data._SAMPLE_SHUFFLE_INITIAL = SHUFFLED
        self._transform = open_clip.image_transform(SIZE, is_train=True)
        crop = self._transform.transforms[0]
        if tuple(crop.scale) != SCALE or not np.allclose(crop.ratio, RATIO):
            raise ValueError(f"other crops than the others': {crop}")
        options = argparse.Namespace(
            train_data="::".join(shards * _EPOCHS),
            train_num_samples=records * _EPOCHS,
            train_data_upsampling_factors=None,
            dataset_resampled=False,
            seed=0,
            batch_size=batch_size,
            workers=workers,
            world_size=1,
        )
        tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT_LENGTH)
        self._info = open_clip_train.data.get_wds_dataset(
            options, self._transform, is_train=True, tokenizer=tokenizer
        )
        self._batch_size = batch_size
        self._batches = self._endless()
        return {"pid": os.getpid(), "notes": []}

    def turn(self, *, seconds: float) -> dict[str, Any]:
        """See `data_turns.pull`."""
        return pull(self._batches, seconds=seconds, batch_size=self._batch_size)

    def whole(self, *, pictures: str, outputs: str) -> dict[str, Any]:
        """Resize whole pictures as a crop is resized.

        Args:
            pictures: .npz with the encoded bytes of each.
            outputs: .npy to be written, uint8 [n, H, W, 3].
        """
        crop = self._transform.transforms[0]
        with np.load(pictures) as arrays:
            images = [PIL.Image.open(io.BytesIO(arrays[name].tobytes())) for name in arrays]
        resized = [
            functional.resized_crop(
                image.convert("RGB"), 0, 0, image.height, image.width, crop.size, crop.interpolation
            )
            for image in images
        ]
        np.save(outputs, np.stack([np.asarray(image) for image in resized]))
        return {}

    def _endless(self) -> Iterator[list[torch.Tensor]]:
        while True:
            yield from self._info.dataloader


if __name__ == "__main__":
    serve(Data())
