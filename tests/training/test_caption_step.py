"""A step with two captions an example is the mean of two steps with one each, on any mesh, in
slices too, and by every way of computing the pairs."""

import functools

import jax
import numpy as np
import pytest
from step_gradient import value_and_gradient

from bigclip.parallel import make_mesh
from bigclip.tasks import make_task

B, C = 16, 2
MESHES = {
    "1": {},
    "2 data": {"data": 2},
    "4": {"data": 2, "fsdp": 2},
    "8 data": {"data": 8},
    "2 x 2 x 2": {"data": 2, "fsdp": 2, "tensor": 2},
}


@functools.cache
def task(loss, implementation, duplicates, num_captions):
    block = {
        "name": "contrastive",
        "architecture": "tiny-clip" if loss == "softmax" else "tiny-siglip",
        "loss": loss,
        "dtype": "float32",
        # Uneven tiles.
        "pairs": {
            "implementation": implementation,
            "duplicates": duplicates,
            "row_tile": 3,
            "column_tile": 1,
        },
    }
    return make_task(block, mean=(0.5,) * 3, std=(0.5,) * 3, num_captions=num_captions)


@functools.cache
def drawn_params(loss):
    return jax.jit(task(loss, "dense", "negative", None).init)(jax.random.key(1))


@functools.cache
def inputs(loss):
    rng = np.random.default_rng(0)
    arch = task(loss, "dense", "negative", None).manifest["architecture"]
    size, text = arch["image"]["image_size"], arch["text"]
    tokens = rng.integers(1, text["vocab_size"], (B, C, text["context_length"]), np.int32)
    tokens[5] = tokens[3]  # so that there are equal captions
    return {"image": rng.integers(0, 256, (B, size, size, 3), np.uint8), "text": tokens}


@functools.cache
def expected(loss, duplicates):
    """The mean of C single-caption losses and gradients, dense, on one device, in one piece."""
    given, mesh = inputs(loss), make_mesh(devices=jax.devices()[:1])
    each = [
        value_and_gradient(
            task(loss, "dense", duplicates, None),
            drawn_params(loss),
            {**given, "text": given["text"][:, c]},
            mesh=mesh,
            micro_batch_size=None,
        )
        for c in range(C)
    ]
    return jax.tree.map(lambda *x: np.mean(x, axis=0), *each)


@pytest.mark.parametrize(
    ("loss", "mesh_name", "micro_batch_size", "implementation", "duplicates"),
    [
        ("softmax", "1", None, "auto", "negative"),
        ("softmax", "2 data", 8, "gather", "mask"),
        ("softmax", "2 x 2 x 2", 8, "auto", "negative"),
        ("softmax", "8 data", None, "ring", "mask"),
        ("sigmoid", "1", 8, "gather", "mask"),
        ("sigmoid", "4", None, "auto", "negative"),
        ("sigmoid", "8 data", 8, "ring", "negative"),
    ],
)
def test_two_captions_are_the_mean_of_one_each(
    loss, mesh_name, micro_batch_size, implementation, duplicates
):
    sizes = MESHES[mesh_name]
    num_devices = int(np.prod(list(sizes.values()))) if sizes else 1
    mesh = make_mesh(**sizes, devices=jax.devices()[:num_devices])
    value, gradient = value_and_gradient(
        task(loss, implementation, duplicates, C),
        drawn_params(loss),
        inputs(loss),
        mesh=mesh,
        micro_batch_size=micro_batch_size,
    )
    wanted_value, wanted_gradient = expected(loss, duplicates)
    np.testing.assert_allclose(value, wanted_value, rtol=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(wanted_gradient))
    for (path, wanted), got in zip(
        jax.tree_util.tree_leaves_with_path(wanted_gradient), jax.tree.leaves(gradient), strict=True
    ):
        # Relative to the largest entry of each tensor, with a floor: as in `test_sharded_step`,
        # whose sums in another order are these.
        scale = max(np.abs(wanted).max(), 1e-2 * largest)
        np.testing.assert_allclose(got / scale, wanted / scale, atol=1e-5, err_msg=str(path))
