"""Initialisation schemes against the published tables, statistically."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bigclip.models import ImageTower, TextTower, architecture

# Wide enough for the standard deviation of a matrix to be known to some percent.
SIZES = {"width": 256, "depth": 4, "num_heads": 4, "mlp_width": 1024}


@pytest.fixture(scope="module", params=["clip", "siglip"])
def tree(request):
    name = f"tiny-{request.param}"
    arch = architecture(name, image=SIZES, text={**SIZES, "vocab_size": 512}, embed_dim=256)
    how = {"embed_dim": 256, "scan": True}
    size = arch["image"]["image_size"]
    key = jax.random.key(0)
    image_tower, text_tower = ImageTower(**arch["image"], **how), TextTower(**arch["text"], **how)
    image = jax.jit(image_tower.init)(key, jnp.zeros((1, size, size, 3)))
    text = jax.jit(text_tower.init)(key, jnp.zeros((1, 11), jnp.int32))
    return request.param, {"image": image["params"], "text": text["params"]}


def spread(leaf):
    return float(np.std(np.asarray(leaf, np.float64)))


def test_deviations_are_the_published_ones(tree):
    scheme, params = tree
    width, depth, mlp, patch = 256, 4, 1024, 8 * 8 * 3
    xavier = (2 / (2 * width)) ** 0.5
    expected = {
        "clip": {
            "query": width**-0.5,
            "out": width**-0.5 * (2 * depth) ** -0.5,
            "up": (2 * width) ** -0.5,
            "down": width**-0.5 * (2 * depth) ** -0.5,
            "up_bias": (width * 3) ** -0.5,  # uniform within 1 / sqrt(width)
            "patch": (3 * patch) ** -0.5,  # uniform within 1 / sqrt(fan in)
            "tokens": 0.02,
            "text_position": 0.01,
            "text_projection": width**-0.5,
        },
        "siglip": {
            "query": xavier,
            "out": xavier,
            "up": (2 / (width + mlp)) ** 0.5,
            "down": (2 / (width + mlp)) ** 0.5,
            "up_bias": 1e-6,
            "patch": patch**-0.5,
            "tokens": width**-0.5,
            "text_position": width**-0.5,
            "text_projection": width**-0.5,
        },
    }[scheme]
    for tower in ("image", "text"):
        blocks = params[tower]["blocks"]
        for name in ("query", "key", "value"):
            kernel = blocks["attention"][name]["kernel"]
            assert spread(kernel) == pytest.approx(expected["query"], rel=0.03)
        assert spread(blocks["attention"]["out"]["kernel"]) == pytest.approx(
            expected["out"], rel=0.03
        )
        assert spread(blocks["mlp"]["up"]["kernel"]) == pytest.approx(expected["up"], rel=0.03)
        assert spread(blocks["mlp"]["down"]["kernel"]) == pytest.approx(expected["down"], rel=0.03)
        assert spread(blocks["mlp"]["up"]["bias"]) == pytest.approx(expected["up_bias"], rel=0.1)
        assert not np.any(blocks["attention"]["query"]["bias"])
    image, text = params["image"], params["text"]
    assert spread(image["stem"]["kernel"]) == pytest.approx(expected["patch"], rel=0.03)
    assert spread(image["position"]) == pytest.approx(width**-0.5, rel=0.1)
    assert spread(text["token_embedding"]) == pytest.approx(expected["tokens"], rel=0.03)
    assert spread(text["position"]) == pytest.approx(expected["text_position"], rel=0.1)
    assert spread(text["projection"]["kernel"]) == pytest.approx(
        expected["text_projection"], rel=0.03
    )
    if scheme == "clip":
        assert spread(image["class_token"]) == pytest.approx(width**-0.5, rel=0.2)
    else:
        # Xavier over [1, E]: uniform within sqrt(6 / (1 + E)).
        assert spread(image["map_head"]["probe"]) == pytest.approx(
            (2 / (1 + width)) ** 0.5, rel=0.2
        )


def test_scanned_layers_differ(tree):
    _, params = tree
    kernel = params["image"]["blocks"]["mlp"]["up"]["kernel"]
    correlation = np.corrcoef(kernel.reshape(kernel.shape[0], -1))
    # Independent layers of 256 x 1024 elements correlate by about 1 / 512.
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.02
