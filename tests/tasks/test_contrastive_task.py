import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.tasks import make_task
from bigclip.tasks.captions import caption_id
from bigclip.tasks.contrastive import normalise, normalise_pixels

PIXELS = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def block(**changes):
    return {"name": "contrastive", "architecture": "tiny-clip", "dtype": "float32", **changes}


@functools.cache
def drawn_params(**changes):
    """The same in several tests: an initialisation takes seconds to compile."""
    return jax.jit(make_task(block(**changes), **PIXELS).init)(jax.random.key(0))


def scalars(params):
    return {name: float(params[name]) for name in params if name.startswith("log")}


def test_the_scalars_start_as_published():
    assert scalars(drawn_params()) == pytest.approx({"log_logit_scale": np.log(1 / 0.07)})
    expected = {"log_logit_scale": np.log(10), "logit_bias": -10}
    assert scalars(drawn_params(loss="sigmoid")) == pytest.approx(expected)


def test_the_scale_is_clipped_as_published():
    params = {"log_logit_scale": jnp.float32(9.0), "x": jnp.float32(9.0)}
    clipped = make_task(block(), **PIXELS).constrain(params)
    assert float(clipped["log_logit_scale"]) == pytest.approx(np.log(100))
    assert float(clipped["x"]) == 9.0
    low = make_task(block(), **PIXELS).constrain({"log_logit_scale": jnp.float32(-1.0)})
    assert float(low["log_logit_scale"]) == 0.0
    # SigLIP does not clip.
    free = make_task(block(loss="sigmoid"), **PIXELS).constrain(params)
    assert float(free["log_logit_scale"]) == 9.0


def test_pixels_are_normalised_on_the_device():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    expected = (images / 255 - np.array(PIXELS["mean"])) / np.array(PIXELS["std"])
    got = jax.jit(lambda x: normalise_pixels(x, **PIXELS))(images)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_normalise():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]], jnp.bfloat16)
    got = normalise(x)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: normalise(x).sum())(jnp.zeros((1, 2)))).all()


def test_forward_lets_no_example_see_another():
    task = make_task(block(), **PIXELS)
    params, forward = drawn_params(), jax.jit(task.forward)
    rng = np.random.default_rng(0)
    examples = {
        "image": rng.integers(0, 256, (4, 24, 24, 3), np.uint8),
        "text": rng.integers(1, 99, (4, 11), np.int32),
    }
    keys = jax.random.split(jax.random.key(1), 4)
    together = forward(params, examples, keys)
    changed = {name: np.concatenate([x[:1], x[:0:-1]]) for name, x in examples.items()}
    other = forward(params, changed, keys)
    for name in together:
        # The same example beside others; another order of summation inside the matrix products.
        np.testing.assert_allclose(together[name][0], other[name][0], atol=1e-5)


def test_score_is_the_objectives_logit():
    task = make_task(block(loss="sigmoid"), **PIXELS)
    params = drawn_params(loss="sigmoid")
    rng = np.random.default_rng(0)
    image_emb, text_emb = (
        normalise(jnp.asarray(rng.normal(size=(6, 32)), jnp.float32)) for _ in range(2)
    )
    scores = task.score(params, image_emb, text_emb)
    outputs = {"image_emb": image_emb, "text_emb": text_emb}
    _, metrics = task.objective(params, outputs, 0.0)
    np.testing.assert_allclose(np.diag(scores).mean(), metrics["positive_logit"], rtol=1e-5)


def test_equal_captions_get_equal_numbers():
    rng = np.random.default_rng()
    tokens = rng.integers(0, 50_000, (4096, 16), np.int32)
    tokens[7], tokens[8] = tokens[3], tokens[3]
    tokens[8, 5] += 1  # nearly the same
    tokens[9] = tokens[3][::-1]  # the same words in another order
    ids = np.asarray(caption_id(jnp.asarray(tokens)))
    assert (ids[7] == ids[3]).all()
    # 4,096 captions of which two are equal; a collision of others has a chance of 2^-39.
    assert len(np.unique(ids, axis=0)) == 4095


def test_equal_captions_are_no_negatives_if_one_says_so():
    task = make_task(block(pairs={"duplicates": "mask"}), **PIXELS)
    params = drawn_params()  # which do not depend on how the pairs are taken
    rng = np.random.default_rng(0)
    examples = {
        "image": rng.integers(0, 256, (2, 24, 24, 3), np.uint8),
        "text": np.tile(rng.integers(1, 99, (1, 11), np.int32), (2, 1)),
    }
    outputs = jax.jit(task.forward)(params, examples, jax.random.split(jax.random.key(1), 2))
    # Two pictures of one caption: nothing is left to tell apart.
    assert float(task.objective(params, outputs, 0.0)[0]) == pytest.approx(0, abs=1e-6)
    plain = make_task(block(), **PIXELS)
    assert float(plain.objective(params, outputs, 0.0)[0]) >= np.log(2) - 1e-6


def test_rebuilt_from_its_manifest():
    task = make_task(block(loss="sigmoid", overrides={"image": {"depth": 2}}), **PIXELS)
    again = make_task(task.manifest, **PIXELS)
    assert again.manifest == task.manifest
    shapes = [jax.eval_shape(one.init, jax.random.key(0)) for one in (task, again)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "contrastiv"}, "Did you mean 'contrastive'"),
        ({"loss": "sigmoidal"}, "Did you mean 'sigmoid'"),
        ({"init_logit_bias": -10.0}, "the softmax loss has no bias"),
        ({"init_logit_scale": 200.0}, "at most max_logit_scale"),
        ({"pairs": {"implementation": "rong"}}, "config.task.pairs.implementation"),
        ({"pairs": {"tiles": 3}}, "unknown key 'tiles' in config.task.pairs"),
        ({"dtype": "float16"}, "config.task.dtype"),
        ({"remat": "everything"}, "none"),
        ({"scan": 1}, "config.task.scan must be True or False, not 1"),
        ({"init_logit_scale": "10"}, "init_logit_scale must be a number .* not '10'"),
        ({"init_logit_scale": 10**400}, "init_logit_scale must be a number from -1,000,000"),
        ({"init_logit_scale": True}, "init_logit_scale must be a number"),
        ({"max_logit_scale": float("nan")}, "max_logit_scale must be a number .* not nan"),
        ({"loss": "sigmoid", "init_logit_bias": []}, "init_logit_bias must be a number"),
        ({"loss": "sigmoid", "init_logit_bias": float("inf")}, "init_logit_bias.* not inf"),
    ],
)
def test_mistakes(changes, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(make_task(block(**changes), **PIXELS).init, jax.random.key(0))


def test_a_block_without_a_name():
    with pytest.raises(ConfigError, match="config.task.name is missing"):
        make_task({}, **PIXELS)
