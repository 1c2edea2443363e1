"""What the pairs cost: products counted in the traced program, and the choice by size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.losses import (
    PairOptions,
    choose_implementation,
    pair_bytes,
    pair_flops,
    sigmoid_loss,
    softmax_loss,
)
from bigclip.parallel import make_mesh

DIM = 48
BATCH_SIZE = 64


def count_flops(jaxpr):
    """FLOPs of the matrix products of a traced program, loops by their length."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            left = eqn.invars[0].aval.shape
            depth = np.prod([left[axis] for axis in contracted], dtype=int)
            total += 2 * depth * eqn.outvars[0].aval.size
            continue
        times = 1
        if eqn.primitive.name == "scan":
            times = eqn.params["length"]
        elif eqn.primitive.name == "shard_map":
            times = eqn.params["mesh"].size  # its body is one device's
        assert eqn.primitive.name != "while", "a loop of unknown length"
        for inner in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
        ):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                total += times * count_flops(getattr(inner, "jaxpr", inner))
    return total


def traced_flops(loss_fn, implementation, *, gradient):
    options = PairOptions(implementation=implementation, row_tile=3, column_tile=2)
    scalars = (10.0,) if loss_fn is softmax_loss else (10.0, -10.0)

    def value(*arguments):
        return loss_fn(*arguments, pairs=options)[0]

    fn = jax.grad(value, argnums=(0, 1, 2)) if gradient else value
    emb = jnp.zeros((BATCH_SIZE, DIM))
    with jax.set_mesh(make_mesh()):
        return count_flops(jax.make_jaxpr(fn)(emb, emb, *scalars).jaxpr)


@pytest.mark.parametrize("loss_fn", [softmax_loss, sigmoid_loss])
@pytest.mark.parametrize("implementation", ["gather", "ring"])
def test_forward_and_backward_cost_four_products(implementation, loss_fn):
    expected = pair_flops(BATCH_SIZE, DIM)
    assert expected == 4 * 2 * BATCH_SIZE**2 * DIM
    # The mean of all logits, a metric, costs one product of two vectors.
    slack = 2 * DIM
    measured = traced_flops(loss_fn, implementation, gradient=True)
    assert expected <= measured <= expected + slack
    forward = traced_flops(loss_fn, implementation, gradient=False)
    assert expected / 4 <= forward <= expected / 4 + slack


def test_the_dense_form_costs_three():
    # It keeps the logits, so that the backward pass computes none again.
    measured = traced_flops(softmax_loss, "dense", gradient=True)
    assert measured <= 0.75 * pair_flops(BATCH_SIZE, DIM) + 2 * DIM


def choice(batch_size, num_devices, **options):
    return choose_implementation(
        batch_size=batch_size, dim=768, num_devices=num_devices, options=PairOptions(**options)
    )


def test_auto_goes_by_size():
    assert choice(256, 1) == "dense"
    assert choice(32_768, 256) == "dense"
    # 64 GiB of logits on one device: in tiles; nothing to gather there.
    assert choice(131_072, 1) == "gather"
    # 384 MiB of gathered texts and their gradients.
    assert choice(65_536, 256) == "ring"
    assert choice(1_048_576, 256) == "ring"
    assert choice(1_048_576, 256, implementation="gather") == "gather"


def test_the_ring_does_not_grow_with_the_batch():
    sizes = [
        pair_bytes("ring", batch_size=batch, dim=768, num_devices=256, options=PairOptions())
        for batch in (2**20, 2**24)
    ]
    assert sizes[0] == sizes[1] < 32 * 2**20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"implementation": "rings"}, "implementation.*did you mean 'ring'"),
        ({"duplicates": "drop"}, "duplicates"),
        ({"precision": "bf16"}, "precision"),
        ({"row_tile": 0}, "row_tile must be a positive integer"),
        ({"column_tile": 2.5}, "column_tile must be a positive integer"),
    ],
)
def test_mistakes_in_the_block_are_named(options, message):
    with pytest.raises(ConfigError, match=f"(?i){message}"):
        PairOptions(**options)
