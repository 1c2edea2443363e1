"""The loss and its gradient depend neither on the mesh, nor on micro-batches, nor on the way that
the pairs are computed."""

import functools

import jax
import numpy as np
import pytest
from step_gradient import value_and_gradient

from bigclip.parallel import make_mesh
from bigclip.tasks import make_task

BATCH_SIZE = 16
MESHES = {
    "1": {},
    "2 data": {"data": 2},
    "4 data": {"data": 4},
    "8 data": {"data": 8},
    "8 fsdp": {"data": 1, "fsdp": 8},
    "8 tensor": {"data": 1, "tensor": 8},
    "2 x 2 x 2": {"data": 2, "fsdp": 2, "tensor": 2},
    "replica 2 x data 2 x fsdp 2": {"replica": 2, "data": 2, "fsdp": 2},
}


@functools.cache
def task(loss, implementation="auto"):
    return make_task(
        {
            "name": "contrastive",
            "architecture": "tiny-clip" if loss == "softmax" else "tiny-siglip",
            "loss": loss,
            "dtype": "float32",
            # Uneven tiles.
            "pairs": {"implementation": implementation, "row_tile": 3, "column_tile": 1},
            # What is dropped is drawn per example, so it must not depend on the layout either.
            "overrides": {"image": {"patch_dropout": 0.3}},
        },
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


@functools.cache
def inputs(loss):
    rng = np.random.default_rng(0)
    arch = task(loss).manifest["architecture"]
    size, text = arch["image"]["image_size"], arch["text"]
    tokens = rng.integers(1, text["vocab_size"], (BATCH_SIZE, text["context_length"]), np.int32)
    return {
        "image": rng.integers(0, 256, (BATCH_SIZE, size, size, 3), np.uint8),
        "text": tokens,
    }


@functools.cache
def drawn_params(loss):
    """The way of computing the pairs has no parameters."""
    return jax.jit(task(loss).init)(jax.random.key(1))


@functools.cache
def found(loss, mesh_name, micro_batch_size, implementation="auto"):
    sizes = MESHES[mesh_name]
    num_devices = int(np.prod(list(sizes.values()))) if sizes else 1
    return value_and_gradient(
        task(loss, implementation),
        drawn_params(loss),
        inputs(loss),
        mesh=make_mesh(**sizes, devices=jax.devices()[:num_devices]),
        micro_batch_size=micro_batch_size,
    )


# Every mesh, every way of computing the pairs, and slices beside whole batches, with one loss or
# the other. The slow tests go through all combinations.
LAYOUTS = [
    *((name, None, "auto") for name in list(MESHES)[1:]),
    ("1", 8, "auto"),
    ("2 data", None, "gather"),
    ("8 data", 8, "ring"),
    ("2 x 2 x 2", 8, "ring"),
    ("replica 2 x data 2 x fsdp 2", 8, "gather"),
    ("replica 2 x data 2 x fsdp 2", None, "ring"),
]
QUICK = {
    ("softmax", "1", 8, "auto"),
    ("softmax", "8 tensor", None, "auto"),
    ("softmax", "2 x 2 x 2", None, "auto"),
    ("softmax", "8 data", 8, "ring"),
    ("softmax", "replica 2 x data 2 x fsdp 2", 8, "gather"),
    ("sigmoid", "4 data", None, "auto"),
    ("sigmoid", "8 fsdp", None, "auto"),
    ("sigmoid", "2 data", None, "gather"),
    ("sigmoid", "2 x 2 x 2", 8, "ring"),
    ("sigmoid", "replica 2 x data 2 x fsdp 2", None, "ring"),
}


@pytest.mark.parametrize(
    ("loss", "mesh_name", "micro_batch_size", "implementation"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
        for case in ((loss, *layout) for loss in ("softmax", "sigmoid") for layout in LAYOUTS)
    ],
)
def test_equals_one_device(loss, mesh_name, micro_batch_size, implementation):
    expected, expected_gradient = found(loss, "1", None)
    value, gradient = found(loss, mesh_name, micro_batch_size, implementation)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected_gradient))
    for (path, wanted), got in zip(
        jax.tree_util.tree_leaves_with_path(expected_gradient),
        jax.tree.leaves(gradient),
        strict=True,
    ):
        # Relative to the largest entry of each tensor: single entries may nearly cancel, and
        # sums in another order then differ by more than 1e-5 of what is left. The gradients of
        # the keys' biases cancel altogether (a softmax does not see them): hence the floor.
        scale = max(np.abs(wanted).max(), 1e-2 * largest)
        np.testing.assert_allclose(got / scale, wanted / scale, atol=1e-5, err_msg=str(path))
