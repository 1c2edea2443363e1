"""Published sizes: their architectures, and how every side is started on one, without data."""

import contextlib
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks import big_vision_model, open_clip_model
from benchmarks.runs import Row
from benchmarks.transformers_model import transformers_model
from benchmarks.workers import Worker
from bigclip.data.preprocess import CLIP_MEAN, CLIP_STD
from bigclip.models import architecture

LEARNING_RATE, WEIGHT_DECAY = 5e-4, 0.2
_BETAS_EPS = {"b1": 0.9, "b2": 0.98, "eps": 1e-6}
_WARMUP_STEPS, _TOTAL_STEPS = 100, 1_000
_SMALL = {"width": 384, "num_heads": 6, "mlp_width": 1536}

# Two sizes of CLIP, each as OpenAI published it or open_clip's configuration of that name has it.
MODELS: dict[str, dict[str, Any]] = {
    "ViT-B-32": architecture("clip-vit-b-32"),
    "ViT-B-16": architecture("clip-vit-b-16"),
    "ViT-L-14": architecture("clip-vit-l-14"),
    "ViT-S-16": architecture("clip-vit-b-16", image=_SMALL, text=_SMALL, embed_dim=384),
    "tiny": architecture("tiny-clip"),
}


def bigclip_config(
    arch: Mapping[str, Any], *, batch_size: int, dtype: str, **task: Any
) -> dict[str, Any]:
    """Return a configuration of CLIP for `bigclip_step.parts_without_data`.

    Args:
        arch: an architecture.
        batch_size: B.
        dtype: of the towers' products.
        **task: further arguments of the task.
    """
    return {
        "task": {"name": "contrastive", "architecture": arch, "dtype": dtype, **task},
        "preprocess": {"size": arch["image"]["image_size"]},
        "tokenizer": {"kind": "clip_bpe", "context_length": arch["text"]["context_length"]},
        "data": {"source": {"kind": "webdataset", "shards": None}},
        "optimizer": {
            "name": "adamw",
            "learning_rate": LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
            "options": _BETAS_EPS,
        },
        "schedule": {"warmup_steps": _WARMUP_STEPS},
        "batch_size": batch_size,
        "total_steps": _TOTAL_STEPS,
    }


def write_random_batches(
    arch: Mapping[str, Any], path: pathlib.Path, *, batch_size: int, count: int
) -> str:
    """Write batches of noise: `image` uint8 [n, B, H, W, 3]; `text` int32 [n, B, L].

    Texts are of random length: ids, one end-of-text (the largest id, as CLIP has it), zeros.
    """
    rng = np.random.default_rng(0)
    size, length = arch["image"]["image_size"], arch["text"]["context_length"]
    end = arch["text"]["vocab_size"] - 1
    image = rng.integers(0, 256, (count, batch_size, size, size, 3), np.uint8)
    text = rng.integers(1, end, (count, batch_size, length), np.int32)
    ends = rng.integers(length // 4, length, (count, batch_size, 1))
    place = np.arange(length)
    text = np.where(place < ends, text, np.where(place == ends, end, 0)).astype(np.int32)
    np.savez(path, image=image, text=text)
    return str(path)


def start_side(
    side: str,
    arch: Mapping[str, Any],
    *,
    batch_size: int,
    workers: contextlib.ExitStack,
    folder: pathlib.Path,
    peers_python: str,
    big_vision: str | None,
    bigclip: Mapping[str, Any],
) -> Row:
    """Start one side in float32 with AdamW.

    Args:
        side: "bigclip", "open_clip", "transformers" or "big_vision".
        arch: the architecture.
        batch_size: B.
        workers: ends the process.
        folder: for files.
        peers_python: interpreter of the sides that run PyTorch.
        big_vision: path of its clone.
        bigclip: further arguments of bigclip's task.
    """
    python = peers_python if side in ("open_clip", "transformers") else sys.executable
    worker = workers.enter_context(Worker(f"{side}_worker", python=python))
    pixels = {"mean": CLIP_MEAN, "std": CLIP_STD}
    if side == "bigclip":
        path = folder / "config.json"
        config = bigclip_config(arch, batch_size=batch_size, dtype="float32", **bigclip)
        path.write_text(json.dumps(config))
        answer = worker.start(config=str(path), data=False)
    elif side == "open_clip":
        answer = worker.start(
            model=open_clip_model.open_clip_model(arch),
            seed=0,
            batch_size=batch_size,
            total_steps=_TOTAL_STEPS,
            warmup_steps=_WARMUP_STEPS,
            learning_rate=LEARNING_RATE,
            **pixels,
        )
    elif side == "transformers":
        answer = worker.start(
            model=transformers_model(arch), seed=0, learning_rate=LEARNING_RATE, **pixels
        )
    else:
        answer = worker.start(
            clone=big_vision,
            model=big_vision_model.big_vision_model(arch),
            optimizer={
                "optax_name": "scale_by_adam",
                "optax": _BETAS_EPS,
                "lr": LEARNING_RATE,
                "wd": WEIGHT_DECAY,
                "schedule": {"decay_type": "cosine", "warmup_steps": _WARMUP_STEPS},
            },
            image_size=arch["image"]["image_size"],
            context_length=arch["text"]["context_length"],
            batch_size=batch_size,
            total_steps=_TOTAL_STEPS,
            **pixels,
        )
    return Row(side, worker, answer["num_params"], own_data=False)


def differences(side: str, arch: Mapping[str, Any]) -> list[str]:
    """Tell in what a peer's model cannot be the same."""
    if side == "open_clip":
        return open_clip_model.differences(arch)
    return big_vision_model.differences(arch) if side == "big_vision" else []
