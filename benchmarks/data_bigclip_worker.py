"""The side of bigclip: `open_batches`, as a run opens them."""

import cProfile
import os
import pstats
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.data_turns import CONTEXT_LENGTH, RATIO, SCALE, SIZE, pull
from benchmarks.workers import serve
from bigclip.data.augment import Augmenter
from bigclip.data.augment_text import TextAugmenter
from bigclip.data.batches import open_batches
from bigclip.data.captions import CaptionChooser
from bigclip.data.examples import ExampleMaker
from bigclip.data.images import decode
from bigclip.data.order import Order
from bigclip.data.preprocess import Preprocess
from bigclip.data.random_chunks import RandomChunks
from bigclip.data.sources import open_source
from bigclip.data.tokenizer import clip_bpe

# Part of the work -> words in the files and functions that it is spent in; the first part fits.
PARTS = {
    "decode": ("imdecode", "images.py", "image_headers.py"),
    "crop and resize": ("resize", "resizing.py", "sepFilter2D", "crops.py", "augment.py"),
    "read": ("pread", "webdataset.py", "tars.py", "files.py", "records.py", "decoder.py", "json"),
    "tokens": (
        "tokenizer",
        "tokenizers",
        "cutters.py",
        "clip.py",
        "text_cleaning.py",
        "augment_text.py",
    ),
    "assembly": ("examples.py", "random_chunks.py"),
    "choice of captions": ("captions.py",),
    "order and random numbers": ("order.py", "shuffle", "repeat.py", "random", "numpy.array"),
}
_NUM_FUNCTIONS = 25
_AUGMENT = {"crop": "resized", "scale": SCALE, "ratio": RATIO}
_CAPTIONS = {"weights": {"txt": 1.0}}


class Data:
    """Batches of uint8 pictures [B, H, W, 3] and int32 ids [B, L]."""

    def start(
        self,
        *,
        shards: list[str],
        num_threads: int,
        num_workers: int,
        interpolation: str,
        batch_size: int,
    ) -> dict[str, Any]:
        """Open the shards.

        Args:
            shards: paths.
            num_threads: see `open_batches`.
            num_workers: likewise.
            interpolation: see `Augmenter`.
            batch_size: B.
        """
        self._source = open_source(kind="webdataset", shards=shards)
        self._preprocess = Preprocess(size=SIZE)
        self._tokenizer = clip_bpe(context_length=CONTEXT_LENGTH)
        self._augment = {**_AUGMENT, "interpolation": interpolation}
        self._batches = open_batches(
            self._source,
            preprocess=self._preprocess,
            tokenizer=self._tokenizer,
            batch_size=batch_size,
            seed=0,
            augment=self._augment,
            captions=_CAPTIONS,
            num_threads=num_threads,
            num_workers=num_workers,
        )
        self._batch_size = batch_size
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
        filter_ = self._augment["interpolation"]
        resize = Augmenter(self._preprocess, interpolation=filter_)  # which cuts nothing off
        with np.load(pictures) as arrays:
            images = [decode(arrays[name].tobytes()) for name in arrays]
        rng = np.random.default_rng(0)
        np.save(outputs, np.stack([resize(image, rng) for image in images]))
        return {}

    def profile(self, *, examples: int) -> dict[str, Any]:
        """Make examples in this thread, without and then with a profiler.

        Returns:
            CPU `microseconds` of an example without it, and the `shares` of `PARTS` and the most
            expensive `functions`, by it, which makes Python's own part look longer.
        """
        make = RandomChunks(
            self._source,
            order=Order(len(self._source), seed=0),
            maker=ExampleMaker(
                seed=0,
                augmenter=Augmenter(self._preprocess, **self._augment),
                chooser=CaptionChooser(**_CAPTIONS),
                text_augmenter=TextAugmenter(self._tokenizer),
            ),
            batch_size=examples,
            first_row=0,
            rows=examples,
        )

        def make_all():
            for number in range(make.chunks_per_batch):
                make(number)

        make_all()  # page cache, first calls
        start = time.thread_time()
        make_all()
        passed = time.thread_time() - start
        profiler = cProfile.Profile()
        profiler.runcall(make_all)
        functions = {
            f"{os.path.basename(file)}:{line} {name}": figures[2]  # seconds in the function itself
            for (file, line, name), figures in pstats.Stats(profiler).stats.items()
        }
        most = sorted(functions, key=functions.get, reverse=True)[:_NUM_FUNCTIONS]
        return {
            "microseconds": 1e6 * passed / examples,
            "shares": shares(functions),
            "functions": {name: 1e6 * functions[name] / examples for name in most},
        }


def shares(functions: Mapping[str, float]) -> dict[str, float]:
    """Divide the time of functions among `PARTS` and "rest"; the shares sum to 1.

    Args:
        functions: file and name -> seconds in the function itself.
    """
    sums = dict.fromkeys((*PARTS, "rest"), 0.0)
    for function, seconds in functions.items():
        for part, words in PARTS.items():
            if any(word in function for word in words):
                sums[part] += seconds
                break
        else:
            sums["rest"] += seconds
    total = sum(sums.values()) or 1.0
    return {part: value / total for part, value in sums.items()}


if __name__ == "__main__":
    serve(Data())
