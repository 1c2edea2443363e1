"""Named layers of a frozen image tower."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigclip import models


@pytest.fixture(scope="module")
def towers():
    """One tower unrolled and scanned, with the same parameters; and pixels."""
    arch = models.architecture("tiny-clip")
    how = {"embed_dim": arch["embed_dim"], "dtype": jnp.float32}
    size = arch["image"]["image_size"]
    pixels = jax.random.normal(jax.random.key(1), (3, size, size, 3))
    unrolled = models.ImageTower(**arch["image"], **how)
    scanned = models.ImageTower(**arch["image"], **how, scan=True, remat="full")
    params = jax.jit(unrolled.init)(jax.random.key(0), pixels)["params"]
    return (unrolled, params), (scanned, models.stack(params)), pixels, arch["image"]


@pytest.fixture(scope="module")
def features(towers):
    """All layers of the unrolled tower."""
    (tower, params), _, pixels, image = towers
    names = models.layer_names(image)
    return jax.jit(lambda p, x: models.image_features(tower, p, x, names))(params, pixels)


def test_layers_are_those_of_the_tower(towers, features):
    (tower, params), _, pixels, image = towers
    named = {"embedding", "projected", "pooled", "tokens"}
    assert features.keys() == named | {f"block_{index:02d}" for index in range(image["depth"])}
    emb, inner = tower.apply({"params": params}, pixels, with_tokens=True)
    np.testing.assert_allclose(features["projected"], emb, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features["pooled"], inner["pooled"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features["tokens"], inner["tokens"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(features["embedding"], axis=1), 1, rtol=1e-5)
    projected = features["pooled"] @ params["projection"]["kernel"]
    np.testing.assert_allclose(features["projected"], projected, rtol=1e-4, atol=1e-5)


def test_a_block_does_not_depend_on_those_after_it(towers, features):
    (tower, params), _, pixels, _ = towers
    short = tower.clone(depth=1)
    seen = jax.jit(lambda p, x: models.image_features(short, p, x, ("block_00",)))(params, pixels)
    np.testing.assert_allclose(features["block_00"], seen["block_00"], rtol=1e-5, atol=1e-6)
    assert not np.allclose(features["block_00"], features["block_01"], atol=1e-3)


def test_scanned_layers_are_the_same(towers, features):
    _, (tower, params), pixels, image = towers
    names = models.layer_names(image)
    scanned = jax.jit(lambda p, x: models.image_features(tower, p, x, names))(params, pixels)
    for name in names:
        np.testing.assert_allclose(scanned[name], features[name], rtol=2e-5, atol=2e-6)
