"""Weak scaling by the TPU compiler, no TPU: `python -m benchmarks.weak_scaling`.

The step of one configuration, compiled for ever larger pods with as many examples a chip on each.
Memory and traffic of a chip should not grow with the pod.
"""

import argparse
import pathlib
import sys
from typing import Any

from benchmarks import tables
from benchmarks.peers import OtherWork, describe, environment
from benchmarks.runs import read_config, write_json
from benchmarks.tpu_step import compile_row
from bigclip.config import ConfigError
from bigclip.planning.topology import make_pod


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Lay the pods out."""
    lines = []
    for topology, one in rows.items():
        sent = (one["collectives"] or {"by_kind": {}})["by_kind"]
        by_kind = ", ".join(f"{kind} {sent[kind]['bytes'] / 1e6:.0f}" for kind in sent)
        lines.append(
            (
                topology,
                one["num_chips"],
                f"{one['batch_size']:,}",
                tables.gibibytes(one["hbm_bytes"]) + ("" if one["fits"] else " (does not fit)"),
                tables.gibibytes(one["limit_bytes"]),
                tables.gibibytes(one["temporary_bytes"]),
                f"{sum(kind['bytes'] for kind in sent.values()) / 1e6:.0f}" if sent else "-",
                by_kind or "-",
                f"{one['hardware_flops'] / one['num_chips'] / 1e12:.1f}",
                f"{one['cpu_seconds']:.0f}",
            )
        )
    header = (
        "pod",
        "chips",
        "batch",
        "HBM GiB a chip",
        "of",
        "temporaries GiB",
        "MB sent by a chip a step",
        "of which",
        "TFLOP a step and chip",
        "compile CPU s",
    )
    return tables.markdown(header, lines)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    command = argparse.ArgumentParser(
        description="Weak scaling by the TPU compiler, without a TPU.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.add_argument("--config", default="configs/siglip.py:b16")
    command.add_argument(
        "--topologies", nargs="+", default=["v5e:4x4", "v5e:8x8", "v5e:16x16", "v4:8x8x16"]
    )
    command.add_argument("--examples_per_chip", type=int, default=128)
    command.add_argument("--json", type=pathlib.Path, help="also write the figures to this file")
    options = command.parse_args(argv)
    try:
        pods = {topology: make_pod(topology) for topology in options.topologies}
        config = read_config(options.config)
    except ConfigError as error:
        command.error(str(error))
    env, others = environment({}), OtherWork()
    rows = {}
    for topology, pod in pods.items():
        batch_size = options.examples_per_chip * len(pod.devices)
        request = {"config": {**config, "batch_size": batch_size}, "topology": topology}
        rows[topology] = {**compile_row("bigclip", request), "batch_size": batch_size}
        print(f"{topology}: {rows[topology]['seconds']:.0f} s", file=sys.stderr)
    env["other_cores"] = others.cores()
    print(
        f"\n## Weak scaling of {options.config} by the TPU compiler, "
        f"{options.examples_per_chip} examples a chip\n\n{describe(env)}\n\n{table(rows)}"
    )
    write_json(options.json, {"environment": env, "config": config, "rows": rows})


if __name__ == "__main__":
    main()
