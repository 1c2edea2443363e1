"""The losses against a NumPy float64 reference written from the papers' formulas.

Tolerance: float32 keeps 6e-8 of a number. A logit s x cos is off by about s x 6e-8, so at the
published scales (10 to 14) a value, or a gradient by its norm, is held to 1e-6, as the errors of
single entries are independent and average out. At a scale of 100 a single logit is off by 1e-5.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_references import compare, draw, sigmoid_reference, softmax_reference, unit

from bigclip.losses import PairOptions, sigmoid_loss, softmax_loss
from bigclip.parallel import make_mesh

MESHES = {
    "1": {},
    "2": {"data": 2},
    "4": {"data": 2, "fsdp": 2},
    "8": {"data": 8},
    "replica x data x fsdp": {"replica": 2, "data": 2, "fsdp": 2},
    "data x tensor": {"data": 4, "tensor": 2},
}


def mesh_of(name):
    sizes = MESHES[name]
    return make_mesh(**sizes, devices=jax.devices()[: int(np.prod(list(sizes.values())))])


# Uneven tiles on purpose: 40 rows on 8 devices in tiles of 3 and 2, and tiles larger than all.
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("implementation", ["dense", "gather", "ring"])
@pytest.mark.parametrize("mesh_name", MESHES)
def test_value_and_gradients_are_the_reference_s(mesh_name, implementation, loss):
    options = PairOptions(implementation=implementation, row_tile=3, column_tile=2)
    compare(loss, draw(40, 24), options, mesh=mesh_of(mesh_name), tolerance=1e-6)


@pytest.mark.parametrize("implementation", ["gather", "ring"])
@pytest.mark.parametrize(
    ("batch_size", "row_tile", "column_tile"),
    # One row each; an odd number each; one tile and a rest; tiles far larger than the batch.
    [(8, 1, 1), (24, 2, 1), (56, 4, 3), (16, 1024, 512)],
)
def test_any_tile_fits_any_batch(batch_size, row_tile, column_tile, implementation):
    options = PairOptions(implementation=implementation, row_tile=row_tile, column_tile=column_tile)
    compare("softmax", draw(batch_size, 16), options, mesh=mesh_of("8"), tolerance=1e-6)


@given(
    data=st.data(),
    loss=st.sampled_from(["softmax", "sigmoid"]),
    implementation=st.sampled_from(["dense", "gather", "ring"]),
    duplicates=st.sampled_from(["negative", "mask", "positive"]),
    mesh_name=st.sampled_from(["1", "2", "4"]),
)
@settings(max_examples=12, deadline=None)
def test_property_all_ways_are_one(data, loss, implementation, duplicates, mesh_name):
    mesh = mesh_of(mesh_name)
    per_device = data.draw(st.integers(1, 7), label="examples per device")
    options = PairOptions(
        implementation=implementation,
        row_tile=data.draw(st.integers(1, 9), label="row_tile"),
        column_tile=data.draw(st.integers(1, 9), label="column_tile"),
        duplicates=duplicates,
    )
    seed = data.draw(st.integers(0, 2**32 - 1), label="seed")
    # A loss near zero has small gradients of large terms: what is lost is lost of the terms.
    compare(
        loss,
        draw(per_device * mesh.size, 8, seed=seed, num_captions=4),
        options,
        mesh=mesh,
        tolerance=2e-6,
        absolute=2e-7,
    )


@pytest.mark.parametrize("implementation", ["dense", "gather", "ring"])
@pytest.mark.parametrize("scale", [100.0, 1000.0])
def test_no_overflow_at_large_scales(scale, implementation):
    image_emb, text_emb = (
        unit(np.random.default_rng(), (16, 8)),
        unit(np.random.default_rng(), (16, 8)),
    )
    options = PairOptions(implementation=implementation, row_tile=2, column_tile=1)
    with jax.set_mesh(mesh_of("8")):
        (value, _), gradients = jax.jit(
            jax.value_and_grad(
                lambda *x: softmax_loss(*x, pairs=options), argnums=(0, 1, 2), has_aux=True
            )
        )(image_emb, text_emb, np.float32(scale))
        loss, _ = jax.jit(lambda *x: sigmoid_loss(*x, pairs=options))(
            image_emb, text_emb, scale, np.float32(-10)
        )
    expected, _ = softmax_reference(image_emb, text_emb, scale)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    np.testing.assert_allclose(
        loss, sigmoid_reference(image_emb, text_emb, scale, -10)[0], rtol=1e-5
    )


def test_a_hopeless_and_a_perfect_batch():
    # Logits of -100 for all true pairs; and of 100 where all others are at 0.
    same = jnp.eye(8)
    ring = PairOptions(implementation="ring", row_tile=1, column_tile=1)
    loss = jax.jit(lambda *x: softmax_loss(*x, pairs=ring))
    with jax.set_mesh(mesh_of("8")):
        value, metrics = loss(same, -same, 100.0)
        np.testing.assert_allclose(value, 100 + np.log(7 + np.exp(-100)), rtol=1e-6)
        assert metrics["batch_accuracy"] == 0
        value, metrics = loss(same, same, 100.0)
        assert metrics["batch_accuracy"] == 1
    assert 0 <= value < 1e-30


def test_initial_sigmoid_loss_is_about_the_bias():
    # SigLIP section 3.2: with bias -10 the many negatives cost next to nothing at the start.
    rng = np.random.default_rng()
    value, _ = sigmoid_loss(
        unit(rng, (64, 256)), unit(rng, (64, 256)), jnp.float32(10), jnp.float32(-10)
    )
    assert 9 < value < 11


@pytest.mark.parametrize("implementation", ["dense", "ring"])
def test_metrics(implementation):
    rng = np.random.default_rng()
    image_emb, text_emb = unit(rng, (16, 6)), unit(rng, (16, 6))
    text_emb[::2] = image_emb[::2]
    logits = 10.0 * image_emb @ text_emb.T
    options = PairOptions(implementation=implementation, row_tile=1, column_tile=1)
    with jax.set_mesh(mesh_of("8")):
        for bias, (_, metrics) in (
            (0.0, jax.jit(lambda *x: softmax_loss(*x, pairs=options))(image_emb, text_emb, 10.0)),
            (
                -3.0,
                jax.jit(lambda *x: sigmoid_loss(*x, pairs=options))(
                    image_emb, text_emb, 10.0, -3.0
                ),
            ),
        ):
            own = np.diag(logits)
            expected = {
                "positive_logit": own.mean() + bias,
                "negative_logit": (logits.sum() - own.sum()) / (16 * 15) + bias,
                "batch_accuracy": (logits.argmax(axis=1) == np.arange(16)).mean(),
            }
            for name, value in expected.items():
                np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-5)


def test_duplicates_need_to_be_known():
    emb = unit(np.random.default_rng(), (4, 3))
    with pytest.raises(ValueError, match="needs a caption_id"):
        softmax_loss(emb, emb, 1.0, pairs=PairOptions(duplicates="mask"))
