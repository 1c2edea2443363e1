"""Say what a checkpoint holds, without reading its arrays.

    python -m bigclip.inspect runs/demo

prints what its manifest tells, and the tree of the parameters: names, shapes, types, and how they
were laid on the devices of the run. `--json` prints the same for programs, `--all` lists the
optimizer's state, too.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bigclip import checkpoints
from bigclip.config import ConfigError

_LONG = 60  # characters of a value; a tokenizer holds a whole vocabulary


def describe(path: str, step: int | None = None) -> dict[str, Any]:
    """Describe a checkpoint as plain data.

    Args:
        path: as for `bigclip.load`.
        step: which checkpoint of a run; the newest by default.

    Returns:
        "path", "manifest" and "arrays": name -> {"shape", "dtype", "bytes", "mesh" (axis ->
        devices), "spec" (mesh axes of each dimension)}.

    Raises:
        ConfigError: if there is no checkpoint that this version can read.
    """
    place = checkpoints.step_path(path, step)
    arrays = {}
    for name, leaf in checkpoints.arrays(place).items():
        dtype = np.dtype(leaf.dtype)
        mesh, spec = _layout(leaf.sharding)
        arrays[name] = {
            "shape": list(leaf.shape),
            "dtype": str(dtype),
            "bytes": math.prod(leaf.shape) * dtype.itemsize,
            "mesh": mesh,
            "spec": spec,
        }
    return {
        "path": str(place),
        "manifest": checkpoints.read_manifest(place),
        "arrays": arrays,
    }


def _layout(sharding: Any) -> tuple[dict[str, int], list[Any]]:
    """Axis -> devices, and the axes of each dimension; empty where Orbax has kept neither."""
    if not hasattr(sharding, "axis_names"):
        return {}, []
    spec = [list(part) if isinstance(part, tuple) else part for part in sharding.partition_spec]
    sizes = (int(size) for size in np.ravel(sharding.shape))
    return dict(zip(sharding.axis_names, sizes, strict=True)), spec


def show(found: Mapping[str, Any], console: Console, *, all_arrays: bool = False) -> None:
    """Print what `describe` gave.

    Args:
        found: the description.
        console: where to.
        all_arrays: list every array, not the parameters alone.
    """
    manifest, arrays = found["manifest"], found["arrays"]
    console.print(f"[bold]{escape(found['path'])}[/]", highlight=False)
    console.print(_manifest_table(manifest))
    branches: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        branches.setdefault(name.split("/")[0], {})[name] = array
    shown = {"params", *(branches if all_arrays else ())}
    for branch in sorted(branches, key=lambda name: (name != "params", name)):
        if branch in shown:
            console.print(_array_table(branch, branches[branch]))
        else:
            console.print(f"{branch}: {_sums(branches[branch].values())}", highlight=False)
    if len(shown) < len(branches):
        console.print("[dim]--all lists these, too[/]")
    meshes = {json.dumps(array["mesh"]) for array in arrays.values() if array["mesh"]}
    for mesh in sorted(meshes):
        sizes = ", ".join(f"{axis} {size}" for axis, size in json.loads(mesh).items())
        console.print(f"saved from the mesh {sizes}; it loads on any other", highlight=False)


def _manifest_table(manifest: Mapping[str, Any]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    seen = manifest.get("examples_seen")
    rows = {
        "step": f"{manifest['step']:,}" + (f", {seen:,} examples seen" if seen else ""),
        "run": manifest.get("run_id"),
        "towers": ", ".join(manifest.get("towers") or ("image", "text")),
        "average (EMA)": "yes" if manifest.get("has_ema") else "no",
        **_flat("task.", manifest["task"]),
        **{f"preprocess.{k}": v for k, v in manifest["preprocess"].items()},
        **{f"tokenizer.{k}": v for k, v in manifest["tokenizer"].items()},
        **manifest["versions"],
    }
    for name, value in rows.items():
        table.add_row(name, escape(_short(value)))
    return table


def _flat(prefix: str, block: Mapping[str, Any]) -> dict[str, Any]:
    rows = {}
    for name, value in block.items():
        if isinstance(value, Mapping):
            rows |= _flat(f"{prefix}{name}.".replace("task.architecture.", ""), value)
        else:
            rows[prefix + name] = value
    return rows


def _array_table(branch: str, arrays: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title=f"{branch}: {_sums(arrays.values())}", title_justify="left", box=None)
    table.add_column("name", overflow="fold")
    table.add_column("shape", justify="right")
    table.add_column("type")
    table.add_column("sharded over")
    for name, array in arrays.items():
        shape = " x ".join(map(str, array["shape"])) or "scalar"
        table.add_row(escape(name.split("/", 1)[-1]), shape, array["dtype"], _spec(array["spec"]))
    return table


def _spec(spec: list[Any]) -> str:
    parts = ["+".join(part) if isinstance(part, list) else part or "-" for part in spec]
    return ", ".join(parts) if any(part != "-" for part in parts) else "-"


def _sums(arrays: Any) -> str:
    arrays = list(arrays)
    count = sum(math.prod(array["shape"]) for array in arrays)
    size = sum(array["bytes"] for array in arrays)
    return f"{len(arrays):,} arrays, {count:,} values, {size / 2**20:,.1f} MiB"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= _LONG:
        return text
    items = f"{len(value):,} " + ("characters" if isinstance(value, str) else "entries")
    return f"{text[:_LONG]}... ({items})"


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(
        prog="python -m bigclip.inspect",
        description="Say what a checkpoint holds, without reading its arrays.",
        epilog="example:  python -m bigclip.inspect runs/demo",
    )
    parser.add_argument("path", help="a run, one of its checkpoints, or an exported folder")
    parser.add_argument("--step", type=int, help="which checkpoint of a run; default the newest")
    parser.add_argument("--all", action="store_true", help="list the optimizer's arrays, too")
    parser.add_argument("--json", action="store_true", help="all of it, for programs")
    args = parser.parse_args(arguments)
    try:
        found = describe(args.path, args.step)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        show(found, Console(), all_arrays=args.all)
    return 0


if __name__ == "__main__":
    sys.exit(main())
