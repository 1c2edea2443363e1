"""The losses against a NumPy float64 reference written from the papers' formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigclip.losses import pair_metrics, sigmoid_loss, softmax_loss


def unit(rng, shape):
    x = rng.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax_reference(image_emb, text_emb, scale):
    z = scale * image_emb @ text_emb.T

    def cross_entropy(rows):
        top = rows.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(rows - top).sum(axis=1)) + top[:, 0]
        return (log_sum - np.diag(rows)).mean()

    return (cross_entropy(z) + cross_entropy(z.T)) / 2


def sigmoid_reference(image_emb, text_emb, scale, bias):
    z = scale * image_emb @ text_emb.T + bias
    signs = 2 * np.eye(len(z)) - 1
    return np.logaddexp(0, -signs * z).sum() / len(z)


def numeric_gradient(fn, x, epsilon=1e-6):
    """Central differences in float64."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = epsilon
        gradient[index] = (fn(x + step) - fn(x - step)) / (2 * epsilon)
    return gradient


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_value_and_gradients(loss, seed):
    rng = np.random.default_rng(seed)
    image_emb, text_emb = unit(rng, (7, 5)), unit(rng, (7, 5))
    if loss == "softmax":
        ours, reference, scalars = softmax_loss, softmax_reference, (14.3,)
    else:
        ours, reference, scalars = sigmoid_loss, sigmoid_reference, (10.0, -10.0)
    arguments = [image_emb, text_emb, *map(np.float64, scalars)]
    value, gradients = jax.value_and_grad(
        lambda *x: ours(*x)[0], argnums=tuple(range(len(arguments)))
    )(*(jnp.asarray(x, jnp.float32) for x in arguments))
    # float32 has a relative precision of 6e-8; sums of 49 terms keep about 1e-6 of it.
    np.testing.assert_allclose(value, reference(*arguments), rtol=2e-6)
    for index, gradient in enumerate(gradients):

        def along(x, index=index):
            changed = list(arguments)
            changed[index] = x
            return reference(*changed)

        numeric = numeric_gradient(along, np.asarray(arguments[index]))
        np.testing.assert_allclose(gradient, numeric, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("scale", [100.0, 1000.0])
def test_no_overflow_at_large_scales(scale):
    rng = np.random.default_rng(0)
    image_emb, text_emb = unit(rng, (16, 8)), unit(rng, (16, 8))
    as_float32 = jnp.float32(image_emb), jnp.float32(text_emb)
    value, gradient = jax.value_and_grad(lambda s: softmax_loss(*as_float32, s)[0])(scale)
    np.testing.assert_allclose(value, softmax_reference(image_emb, text_emb, scale), rtol=1e-5)
    assert np.isfinite(gradient)
    value, _ = sigmoid_loss(*as_float32, jnp.float32(scale), jnp.float32(-10))
    expected = sigmoid_reference(image_emb, text_emb, scale, -10)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_initial_sigmoid_loss_is_about_the_bias():
    # SigLIP section 3.2: with bias -10 the many negatives cost next to nothing at the start.
    rng = np.random.default_rng(0)
    image_emb, text_emb = unit(rng, (64, 256)), unit(rng, (64, 256))
    value, _ = sigmoid_loss(
        jnp.float32(image_emb), jnp.float32(text_emb), jnp.float32(10), jnp.float32(-10)
    )
    assert 9 < value < 11


def test_pair_metrics():
    logits = jnp.array([[3.0, 1.0, 0.0], [5.0, 4.0, 0.0], [0.0, 0.0, 2.0]])
    metrics = pair_metrics(logits)
    assert metrics["positive_logit"] == 3.0
    assert metrics["negative_logit"] == 1.0
    np.testing.assert_allclose(metrics["batch_accuracy"], 2 / 3, rtol=1e-6)
