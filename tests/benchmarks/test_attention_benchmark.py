"""The layer of which attention is compared: its sizes, and the table."""

import pytest

from benchmarks import attention
from bigclip.models import architecture
from bigclip.planning.topology import make_pod


@pytest.mark.tpu_compiler
def test_all_ways_compute_the_same_products():
    pod, arch = make_pod("v5e:2x2"), architecture("tiny-clip")
    compiled = {
        way: attention.compile_layer(way, arch, "text", pod, examples_per_chip=8)
        for way in attention.WAYS
    }
    batch_size, length, width = 32, arch["text"]["context_length"], arch["text"]["width"]
    # Four projections and two products of attention, forwards; all but the last projection again
    # in the backward pass, and their gradients take twice as much. The kernel's backward pass
    # computes its logits once more.
    projection, product = 2 * batch_size * length * width**2, 2 * batch_size * length**2 * width
    expected = (4 + 3 + 8) * projection + (2 + 2 + 4) * product
    found = {way: one.flops.flops for way, one in compiled.items()}
    assert found["plain"] == found["jax.nn.dot_product_attention"] == expected
    assert found["fused"] == expected + product


def test_the_layers_are_those_of_known_architectures():
    assert all(tower in architecture(name) for name, tower in attention.LAYERS)


def test_the_table_holds_every_way_against_the_kernel():
    row = {
        "bytes_accessed": 2e9,
        "temporary_bytes": 2**20,
        "compute_seconds": 1e-3,
        "memory_seconds": 2e-3,
        "compile_seconds": 3.0,
    }
    rows = {("clip-vit-l-14", "text"): {"plain": row, "fused": {**row, "bytes_accessed": 1e9}}}
    lines = attention.table(rows).splitlines()
    assert lines[2] == "| clip-vit-l-14 text | plain | 2.00 | 2.0 | 1 | 1.00 | 2.00 | 3 |"
    assert lines[3] == "| clip-vit-l-14 text | fused | 1.00 | 1.0 | 1 | 1.00 | 2.00 | 3 |"
