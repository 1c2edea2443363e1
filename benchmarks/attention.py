"""One attention layer by the TPU compiler, no TPU: `python -m benchmarks.attention`.

Projections, attention and their gradients for the layers of well-known towers, in bfloat16, with
the layer computed again in the backward pass, written three ways: bigclip's plain formula,
`jax.nn.dot_product_attention`, and bigclip's kernel. What differs is the traffic of main memory,
by which such layers are bound.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks import tables
from benchmarks.peers import OtherWork, describe, environment
from benchmarks.runs import write_json
from bigclip.config import ConfigError
from bigclip.models import architecture
from bigclip.models.attention import attend
from bigclip.models.fused_attention import fused_attend
from bigclip.planning.accesses import bytes_accessed
from bigclip.planning.compiled import Compiled, compile_traced
from bigclip.planning.hlo import read_program
from bigclip.planning.topology import Pod, make_pod, use_cpu

LAYERS = (
    ("siglip-b-16-224", "image"),
    ("siglip-b-16-224", "text"),
    ("siglip-so400m-14-224", "image"),
    ("clip-vit-l-14", "image"),
    ("clip-vit-l-14", "text"),
)


def _library(query: jax.Array, key: jax.Array, value: jax.Array, *, causal: bool) -> jax.Array:
    return jax.nn.dot_product_attention(query, key, value, is_causal=causal)


WAYS: dict[str, Callable[..., jax.Array]] = {
    "plain": attend,
    "jax.nn.dot_product_attention": _library,
    "fused": fused_attend,
}


def _num_tokens(arch: dict[str, Any], tower: str) -> int:
    fields = arch[tower]
    if tower == "text":
        return fields["context_length"]
    return (fields["image_size"] // fields["patch_size"]) ** 2 + (fields["pool"] == "class")


def compile_layer(
    way: str, arch: dict[str, Any], tower: str, pod: Pod, examples_per_chip: int
) -> Compiled:
    """Compile one layer and its gradients.

    Args:
        way: a key of `WAYS`.
        arch: an architecture.
        tower: "image" or "text".
        pod: for which chips.
        examples_per_chip: b.
    """
    fields = arch[tower]
    width, num_heads = fields["width"], fields["num_heads"]
    causal = fields.get("causal", False)
    mesh = Mesh(np.asarray(pod.devices), ("data",))
    rows, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    shape = (examples_per_chip * len(pod.devices), _num_tokens(arch, tower), width)
    x = jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=rows)
    kernel = jax.ShapeDtypeStruct((width, width), jnp.bfloat16, sharding=whole)

    @jax.checkpoint
    def layer(x: jax.Array, kernels: list[jax.Array]) -> jax.Array:
        split = [(x @ one).reshape(*x.shape[:2], num_heads, -1) for one in kernels[:3]]
        mixed = WAYS[way](*split, causal=causal)
        return x + mixed.reshape(x.shape) @ kernels[3]

    def gradients(x: jax.Array, kernels: list[jax.Array], grad: jax.Array) -> Any:
        y, pull_back = jax.vjp(layer, x, kernels)
        return y, pull_back(grad)

    with jax.set_mesh(mesh):
        return compile_traced(jax.jit(gradients).trace(x, [kernel] * 4, x))


def _row(compiled: Compiled, pod: Pod) -> dict[str, Any]:
    moved = bytes_accessed(read_program(compiled.text))
    return {
        "bytes_accessed": moved,
        "temporary_bytes": compiled.memory.temporaries,
        "compute_seconds": compiled.flops.bfloat16_flops / len(pod.devices) / pod.chip.peak_flops,
        "memory_seconds": moved / pod.chip.hbm_bytes_per_second,
        "compile_seconds": compiled.seconds,
    }


def table(rows: dict[tuple[str, str], dict[str, dict[str, Any]]]) -> str:
    """Lay the layers out; rows are {(architecture, tower): {way: figures}}."""
    lines = [
        (
            f"{name} {tower}",
            way,
            f"{one['bytes_accessed'] / 1e9:.2f}",
            f"{one['bytes_accessed'] / sides['fused']['bytes_accessed']:.1f}",
            f"{one['temporary_bytes'] / 2**20:.0f}",
            f"{1e3 * one['compute_seconds']:.2f}",
            f"{1e3 * one['memory_seconds']:.2f}",
            f"{one['compile_seconds']:.0f}",
        )
        for (name, tower), sides in rows.items()
        for way, one in sides.items()
    ]
    header = (
        "layer",
        "attention",
        "GB accessed",
        "x fused",
        "temporaries MiB",
        "ms of products",
        "ms of memory",
        "compile s",
    )
    return tables.markdown(header, lines)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    command = argparse.ArgumentParser(
        description="One attention layer by the TPU compiler, without a TPU.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.add_argument("--topology", default="v5e:2x2")
    command.add_argument("--examples_per_chip", type=int, default=128)
    command.add_argument("--json", type=pathlib.Path, help="also write the figures to this file")
    options = command.parse_args(argv)
    use_cpu()
    try:
        pod = make_pod(options.topology)
    except ConfigError as error:
        command.error(str(error))
    env, others = environment({}), OtherWork()
    rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for name, tower in LAYERS:
        arch = architecture(name)
        rows[name, tower] = {}
        for way in WAYS:
            compiled = compile_layer(way, arch, tower, pod, options.examples_per_chip)
            rows[name, tower][way] = _row(compiled, pod)
            print(f"{name} {tower} {way}: {compiled.seconds:.0f} s", file=sys.stderr)
    env["other_cores"] = others.cores()
    print(
        f"\n## One attention layer on {options.topology}, {options.examples_per_chip} examples a "
        f"chip\n\n{describe(env)}\n\n{table(rows)}"
    )
    told = {f"{name} {tower}": sides for (name, tower), sides in rows.items()}
    write_json(options.json, {"environment": env, "rows": told})


if __name__ == "__main__":
    main()
