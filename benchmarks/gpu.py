"""Steps and the loss alone on one GPU: `python -m benchmarks.gpu`; without a GPU it says so.

bfloat16 ViT-B/16 and ViT-L/14: examples/s and model FLOPs utilisation, beside open_clip with
torch.compile on the same card; and the softmax loss with its gradient at 64k to 1M examples,
beside Inf-CL's way of tiling in PyTorch. The sides run one after another, each alone on the card.
"""

import argparse
import pathlib
import sys
import tempfile
from typing import Any

from benchmarks import tables
from benchmarks.open_clip_model import open_clip_model
from benchmarks.peers import OtherWork, PeerMissing, describe, environment, find_packages
from benchmarks.published import LEARNING_RATE, MODELS, bigclip_config, write_random_batches
from benchmarks.runs import write_json
from benchmarks.workers import Worker
from bigclip.data.preprocess import CLIP_MEAN, CLIP_STD
from bigclip.losses.pairs import pair_flops

_BATCH_SIZES = {"ViT-B-16": 512, "ViT-L-14": 256, "tiny": 8}
_LOSS_BATCHES = (2**16, 2**18, 2**20)
_LOSS_DIM, _TORCH_TILE = 768, 8192
# A quarter of the card would be kept from PyTorch, whose turn comes later in another process.
_ON_GPU = {"JAX_PLATFORMS": "cuda", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
_ON_CPU = {"JAX_PLATFORMS": "cpu"}


def step_rows(
    model: str, options: argparse.Namespace, *, env: dict[str, str], peak: float | None, peer: bool
) -> list[dict[str, Any]]:
    """Measure the step of one model on every side."""
    arch, batch_size = MODELS[model], _BATCH_SIZES[model]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        path = pathlib.Path(temporary) / "batches.npz"
        batches = write_random_batches(arch, path, batch_size=batch_size, count=1)
        task = {"scan": options.scan, "remat": options.remat}
        config = bigclip_config(arch, batch_size=batch_size, dtype="bfloat16", **task)
        with Worker("bigclip_gpu_worker", env=env) as worker:
            found = worker.step(config=config, batches=batches, count=options.steps)
        flops = found["flops_per_example"] * batch_size
        rows.append({"name": "bigclip", **found})
        if peer:
            with Worker("open_clip_gpu_worker", python=options.peers_python) as worker:
                worker.start(device="cpu" if options.smoke else "cuda")
                found = worker.step(
                    model=open_clip_model(arch),
                    batches=batches,
                    count=options.steps,
                    learning_rate=LEARNING_RATE,
                    mean=CLIP_MEAN,
                    std=CLIP_STD,
                    compiled=not options.smoke,
                )
            rows.append({"name": "open_clip", **found})
    for row in rows:
        row |= {"model": model, "batch_size": batch_size}
        row["mfu"] = flops / row["seconds"] / peak if peak else None
    return rows


def loss_rows(
    options: argparse.Namespace, *, env: dict[str, str], peer: bool
) -> list[dict[str, Any]]:
    """Measure the loss alone at every batch size and precision on every side."""
    batches = (512,) if options.smoke else options.loss_batches
    count, rows = 1 if options.smoke else 3, []
    for precision in ("highest", "default"):
        for batch_size in batches:
            what = {"batch_size": batch_size, "dim": 32 if options.smoke else _LOSS_DIM}
            pairs = {"implementation": "gather", "precision": precision}
            with Worker("bigclip_gpu_worker", env=env) as worker:
                found = worker.loss(**what, pairs=pairs, count=count)
            rows.append({"name": "bigclip", "precision": precision, **what, **found})
            if peer:
                with Worker("open_clip_gpu_worker", python=options.peers_python) as worker:
                    worker.start(device="cpu" if options.smoke else "cuda")
                    found = worker.loss(
                        **what, tile=_TORCH_TILE, tf32=precision == "default", count=count
                    )
                rows.append({"name": "tiled torch", "precision": precision, **what, **found})
    return rows


def step_table(rows: list[dict[str, Any]]) -> str:
    """Lay the steps out."""
    lines = [
        (
            f"{row['model']}, {row['name']}",
            row["batch_size"],
            f"{row['batch_size'] / row['seconds']:.0f}",
            f"{100 * row['mfu']:.1f}" if row["mfu"] else "-",
            tables.gibibytes(row["peak_bytes"]),
            f"{row['first_seconds']:.0f}",
            f"{row['loss']:.3f}",
        )
        for row in rows
    ]
    header = ("step", "batch", "examples/s", "MFU %", "peak GiB", "first steps s", "loss")
    return tables.markdown(header, lines)


def loss_table(rows: list[dict[str, Any]]) -> str:
    """Lay the losses out; TFLOP/s by the products that any tiled loss needs."""
    lines = [
        (
            f"{row['name']}, {'float32' if row['precision'] == 'highest' else 'TF32'}",
            f"{row['batch_size']:,}",
            f"{row['seconds']:.3f}",
            f"{pair_flops(row['batch_size'], row['dim']) / row['seconds'] / 1e12:.1f}",
            tables.gibibytes(row["peak_bytes"]),
        )
        for row in rows
    ]
    return tables.markdown(("loss", "batch", "s", "TFLOP/s", "peak GiB"), lines)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    command = argparse.ArgumentParser(
        description="Steps and the loss alone on one GPU.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.add_argument(
        "--models", nargs="*", choices=_BATCH_SIZES, default=["ViT-B-16", "ViT-L-14"]
    )
    command.add_argument("--loss_batches", nargs="*", type=int, default=_LOSS_BATCHES)
    command.add_argument("--steps", type=int, default=20)
    command.add_argument("--remat", default="none", help="what bigclip computes again")
    command.add_argument(
        "--scan", action=argparse.BooleanOptionalAction, default=True, help="bigclip's layers"
    )
    command.add_argument("--smoke", action="store_true", help="tiny sizes on the CPU, to try it")
    command.add_argument(
        "--peers_python", default=sys.executable, help="interpreter that has open_clip"
    )
    command.add_argument("--json", type=pathlib.Path, help="also write the figures to this file")
    options = command.parse_args(argv)
    if options.smoke:
        options.models, options.steps = ["tiny"], 2
    env = _ON_CPU if options.smoke else _ON_GPU
    with Worker("bigclip_gpu_worker", env=env) as worker:
        device = worker.device()
    if not device:
        print("There is no GPU that JAX can use here, so there is nothing to measure.")
        return
    peers = {}
    try:
        peers["open_clip"] = find_packages("open_clip", options.peers_python)
        if not options.smoke:
            with Worker("open_clip_gpu_worker", python=options.peers_python) as worker:
                if not worker.start(device="cuda"):
                    raise PeerMissing("open_clip is not measured: its torch has no CUDA.")
    except PeerMissing as missing:
        print(missing, file=sys.stderr)
        peers = {}
    described, others = environment(peers), OtherWork()
    steps = []
    for model in options.models:
        steps += step_rows(model, options, env=env, peak=device["peak_flops"], peer=bool(peers))
    losses = loss_rows(options, env=env, peer=bool(peers))
    described["other_cores"], described["device"] = others.cores(), device["kind"]
    print(f"\n## On {device['kind']}\n\n{describe(described)}\n\n{step_table(steps)}")
    print(f"\n{loss_table(losses)}")
    write_json(options.json, {"environment": described, "steps": steps, "losses": losses})


if __name__ == "__main__":
    main()
