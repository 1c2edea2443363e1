"""The mean over captions against single-caption losses in NumPy float64.

Tolerance: as for one caption (`test_contrastive`), a norm or a sum of terms is held to 1e-6 of its
size by float32's 6e-8 a number; C = 3 means add three of them, and 1e-5 leaves room.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pair_references import sigmoid_reference, softmax_reference, unit

from bigclip.losses import PairOptions, mean_over_captions, sigmoid_loss, softmax_loss
from bigclip.parallel import batch_sharding, make_mesh

B, C, D = 24, 3, 16
MESHES = {
    "1": {},
    "2": {"data": 2},
    "4": {"data": 2, "fsdp": 2},
    "8": {"data": 8},
    "data x tensor": {"data": 4, "tensor": 2},
}


def mesh_of(name):
    sizes = MESHES[name]
    return make_mesh(**sizes, devices=jax.devices()[: int(np.prod(list(sizes.values())))])


def inputs(loss):
    rng = np.random.default_rng(0)
    scalars = {"scale": 9.5} if loss == "softmax" else {"scale": 9.5, "bias": -4.25}
    ids = rng.integers(0, 10, (B, C))  # equal captions, other ones for each c
    return unit(rng, (B, D)), unit(rng, (B, C, D)), scalars, np.stack([ids, ids], axis=2)


def one_caption(loss, options):
    ours = softmax_loss if loss == "softmax" else sigmoid_loss

    def loss_fn(shared, text_emb, caption_id):
        scalars = (shared[name] for name in ("scale", "bias") if name in shared)
        return ours(shared["image_emb"], text_emb, *scalars, pairs=options, caption_id=caption_id)

    return loss_fn


def expected(loss, duplicates):
    """Value, and gradients with their sizes, of the mean of C references."""
    image_emb, text_emb, scalars, ids = inputs(loss)
    reference = softmax_reference if loss == "softmax" else sigmoid_reference
    found = [
        reference(
            image_emb,
            text_emb[:, c],
            *scalars.values(),
            caption_id=ids[:, c],
            duplicates=duplicates,
        )
        for c in range(C)
    ]
    value = np.mean([one for one, _ in found])
    image, texts, *rest = zip(*(grads for _, grads in found), strict=True)
    text_grad = np.stack([grad for grad, _ in texts], axis=1) / C
    shared = {}
    for name, each in zip(("image_emb", *scalars), (image, *rest), strict=True):
        grads, sizes = zip(*each, strict=True)
        shared[name] = (np.mean(grads, axis=0), np.mean(sizes))
    return value, shared, (text_grad, np.linalg.norm(text_grad))


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    ("mesh_name", "implementation", "duplicates"),
    [
        ("1", "dense", "negative"),
        ("1", "gather", "positive"),
        ("2", "ring", "mask"),
        ("4", "dense", "mask"),
        ("8", "gather", "negative"),
        ("8", "ring", "positive"),
        ("data x tensor", "dense", "positive"),
    ],
)
def test_value_and_gradients_are_the_mean_of_single_captions(
    mesh_name, implementation, duplicates, loss
):
    # Uneven tiles.
    options = PairOptions(
        implementation=implementation, row_tile=5, column_tile=2, duplicates=duplicates
    )
    loss_fn, mesh = one_caption(loss, options), mesh_of(mesh_name)
    image_emb, text_emb, scalars, ids = inputs(loss)
    ids = None if duplicates == "negative" else jnp.asarray(ids, jnp.int32)
    shared = {"image_emb": jnp.asarray(image_emb), **jax.tree.map(jnp.float32, scalars)}
    shared["image_emb"] = jax.device_put(shared["image_emb"], batch_sharding(mesh))
    text_emb = jax.device_put(text_emb, batch_sharding(mesh))

    def fn(shared, text_emb):
        value, metrics = mean_over_captions(loss_fn, shared, text_emb, ids)
        return 2 * value + 7 * metrics["positive_logit"], metrics  # the metrics are constants

    with jax.set_mesh(mesh):
        differentiate = jax.jit(jax.value_and_grad(fn, argnums=(0, 1), has_aux=True))
        (value, metrics), (grad, text_grad) = differentiate(shared, text_emb)
        plain = jax.jit(lambda *inputs: fn(*inputs)[0])(shared, text_emb)
        singles = [
            jax.jit(loss_fn)(shared, text_emb[:, c], None if ids is None else ids[:, c])[1]
            for c in range(C)
        ]
    wanted, wanted_grad, wanted_text = expected(loss, duplicates)
    np.testing.assert_allclose((value - 7 * metrics["positive_logit"]) / 2, wanted, rtol=1e-5)
    np.testing.assert_allclose(plain, value, rtol=1e-5)
    for got, (want, size) in [(text_grad, wanted_text)] + [
        (grad[name], wanted_grad[name]) for name in grad
    ]:
        assert np.linalg.norm(np.float64(got) / 2 - want) <= 1e-5 * size
    for name, got in metrics.items():
        mean = np.mean([one[name] for one in singles])
        np.testing.assert_allclose(got, mean, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_pairs_of_one_caption_are_held_at_a_time():
    loss_fn = one_caption("softmax", PairOptions(implementation="dense"))
    batch_size = 1024

    def temporaries(num_captions):
        def fn(shared, text_emb):
            return mean_over_captions(loss_fn, shared, text_emb, None)[0]

        emb = jax.ShapeDtypeStruct((batch_size, 8), jnp.float32)
        shared = {"image_emb": emb, "scale": jax.ShapeDtypeStruct((), jnp.float32)}
        text_emb = jax.ShapeDtypeStruct((batch_size, num_captions, 8), jnp.float32)
        compiled = jax.jit(jax.grad(fn, argnums=(0, 1))).lower(shared, text_emb).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    one, four = temporaries(1), temporaries(4)
    logits = 4 * batch_size**2
    assert one >= logits
    assert four - one < logits / 2
