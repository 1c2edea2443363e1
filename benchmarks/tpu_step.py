"""SigLIP's training step by the TPU compiler, no TPU: `python -m benchmarks.tpu_step`.

bigclip's configuration against big_vision's own towers and update, compiled for the same pod and
batch. Nothing runs: memory, traffic and compile time are what the compiler says and takes.
"""

import argparse
import pathlib
import sys
from typing import Any

from benchmarks import tables
from benchmarks.big_vision_model import differences
from benchmarks.peers import OtherWork, PeerMissing, describe, environment, find_big_vision
from benchmarks.runs import read_config, write_json
from benchmarks.workers import Worker
from bigclip.config import ConfigError
from bigclip.models import architecture
from bigclip.planning.topology import make_pod

# big_vision as its models are by default; and the leanest that its options allow: layers scanned
# and computed again, the image tower in bfloat16 (its text tower has no such option).
BIG_VISION = {
    "big_vision": {},
    "big_vision, scan": {"image_dtype": "bfloat16", "scan": True},
}


def architecture_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the architecture of a configuration, as data."""
    task = config["task"]
    return architecture(task["architecture"], **(task.get("overrides") or {}))


def big_vision_request(config: dict[str, Any]) -> dict[str, Any]:
    """Describe a configuration of SigLIP to `Compiler.big_vision`, as its own would have it."""
    optimizer = config["optimizer"]
    return {
        "arch": architecture_of(config),
        "optimizer": {
            "optax_name": "big_vision.scale_by_adafactor",
            "optax": {"beta2_cap": optimizer["options"]["b2_cap"]},
            "lr": optimizer["learning_rate"],
            "wd": optimizer["weight_decay"],
            "grad_clip_norm": optimizer["clip_norm"],
            "schedule": {
                "decay_type": "cosine",
                "warmup_steps": config["schedule"]["warmup_steps"],
            },
        },
        "batch_size": config["batch_size"],
        "total_steps": config["total_examples"] // config["batch_size"],
    }


def compile_row(side: str, request: dict[str, Any]) -> dict[str, Any]:
    """Compile in a process of its own; see `Compiler`."""
    with Worker("tpu_compiler") as worker:
        found = getattr(worker, side)(**request)
        return {**found, "compiler_bytes": worker.peak_memory()["bytes"]}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Lay the rows out; ratios are to the first."""
    ours = next(iter(rows.values()))
    lines = []
    for name, one in rows.items():
        gigabytes = "-" if one["bytes_accessed"] is None else f"{one['bytes_accessed'] / 1e9:.0f}"
        lines.append(
            (
                name,
                tables.gibibytes(one["hbm_bytes"]) + ("" if one["fits"] else " (does not fit)"),
                f"{one['hbm_bytes'] / ours['hbm_bytes']:.1f}",
                tables.gibibytes(one["temporary_bytes"]),
                gigabytes,
                f"{one['hardware_flops'] / one['num_chips'] / 1e12:.1f}",
                f"{one['seconds']:.0f}",
                f"{one['cpu_seconds']:.0f}",
                f"{one['cpu_seconds'] / ours['cpu_seconds']:.1f}",
                tables.gibibytes(one["compiler_bytes"]),
            )
        )
    first = next(iter(rows))
    header = (
        "side",
        "HBM GiB a chip",
        f"HBM / {first}'s",
        "temporaries GiB",
        "GB accessed a step",
        "TFLOP a step and chip",
        "compile s",
        "compile CPU s",
        f"CPU s / {first}'s",
        "compiler's RSS GiB",
    )
    return tables.markdown(header, lines)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    command = argparse.ArgumentParser(
        description="SigLIP's training step by the TPU compiler, without a TPU.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.add_argument("--config", default="configs/siglip.py:b16", help="a SigLIP")
    command.add_argument("--topology", default="v5e:16x16")
    command.add_argument("--batch_size", type=int, default=32_768)
    command.add_argument(
        "--remat", nargs="+", help="a row of bigclip with each of these policies; else its own"
    )
    command.add_argument("--big_vision", help="path of a clone; left out without one")
    command.add_argument("--json", type=pathlib.Path, help="also write the figures to this file")
    options = command.parse_args(argv)
    try:
        make_pod(options.topology)  # or the word for what is missing
        config = read_config(options.config)
    except ConfigError as error:
        command.error(str(error))
    config["batch_size"] = options.batch_size
    peers = {}
    try:
        peers["big_vision"] = find_big_vision(options.big_vision)
    except PeerMissing as missing:
        print(missing, file=sys.stderr)
    env, others = environment(peers), OtherWork()
    requests = {}
    for policy in options.remat or [config["task"]["remat"]]:
        task = {**config["task"], "remat": policy}
        requests[f"bigclip, remat {policy}"] = ("bigclip", {"config": {**config, "task": task}})
    if peers:
        request = {**big_vision_request(config), "clone": options.big_vision}
        for name, settings in BIG_VISION.items():
            requests[name] = ("big_vision", {**request, "settings": settings})
    rows = {}
    for name, (side, request) in requests.items():
        rows[name] = compile_row(side, {**request, "topology": options.topology})
        print(f"{name}: {rows[name]['seconds']:.0f} s", file=sys.stderr)
    env["other_cores"] = others.cores()
    print(
        f"\n## {options.config} by the TPU compiler, {options.topology}, batch "
        f"{options.batch_size:,}\n\n{describe(env)}\n\n{table(rows)}"
    )
    print("".join(f"\n- {note}" for note in (differences(architecture_of(config)))))
    write_json(options.json, {"environment": env, "config": config, "rows": rows})


if __name__ == "__main__":
    main()
