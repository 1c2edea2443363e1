"""CLIP's ResNets: against openai/CLIP's definition with the same weights, and what they promise."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import openai_resnet
import pytest

from bigclip import models
from bigclip.models import architecture, embed_in_training, image_tower
from bigclip.models.remat import POLICIES

GOLDEN = Path(__file__).parents[1] / "goldens" / "models" / "tiny-rn.npz"


def drawn_params(arch, shapes):
    weights = {name: openai_resnet.draw(name, tuple(shape)) for name, shape in shapes.items()}
    return openai_resnet.to_bigclip(weights)


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN)


@pytest.fixture(scope="module")
def tiny(golden):
    """The architecture, its parameters, images and what the loss multiplies embeddings with."""
    arch = architecture("tiny-rn")
    params = drawn_params(arch, json.loads(str(golden["shapes"])))
    return arch, params, *openai_resnet.inputs(arch, num=6)


@functools.cache
def compiled(arch, training, dtype, remat):
    """The tower's two ways to run; compiling takes seconds, so each once."""
    tower = image_tower(json.loads(arch), dtype=dtype, remat=remat)
    if not training:
        return jax.jit(lambda params, images: tower.apply({"params": params}, images)[0])

    def loss(params, images, factors):
        emb, new = embed_in_training(tower, params, images, keys=None)
        return (emb * factors).sum(), (emb, new)

    return jax.jit(jax.grad(loss, has_aux=True))


def evaluated(arch, params, images):
    return compiled(json.dumps(arch), False, "float32", "none")(params, images)


def trained(arch, params, images, factors, *, dtype="float32", remat="none"):
    """(embeddings, statistics), gradient of sum(embeddings x factors)."""
    run = compiled(json.dumps(arch), True, dtype, remat)
    gradient, seen = run(params, images, factors)
    return seen, gradient


@pytest.fixture(scope="module")
def in_training(tiny):
    return trained(*tiny)


def assert_close(ours, theirs, rtol=1e-4):
    """Relative to the largest entry: sums in another order nearly cancel here and there."""
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=rtol * np.abs(theirs).max())


def assert_trees_close(ours, theirs, rtol=1e-4):
    ours = dict(jax.tree.leaves_with_path(ours))
    theirs = dict(jax.tree.leaves_with_path(theirs))
    assert ours.keys() == theirs.keys()
    largest = max(np.abs(leaf).max() for leaf in theirs.values())
    for path, wanted in theirs.items():
        # The gradient of the keys' bias cancels altogether, since a softmax does not see it.
        scale = max(np.abs(wanted).max(), 1e-3 * largest)
        np.testing.assert_allclose(ours[path] / scale, wanted / scale, atol=rtol, err_msg=str(path))


def test_outputs_equal_the_golden_of_openai(tiny, golden, in_training):
    arch, params, images, _ = tiny
    assert_close(evaluated(arch, params, images), golden["evaluation"])
    (emb, statistics), gradient = in_training
    assert_close(emb, golden["training"])
    names = sorted(json.loads(str(golden["shapes"])))
    paths = {name: openai_resnet.path(name).split("/") for name in names}

    def at(tree, name):
        for part in paths[name]:
            tree = tree[part]
        return np.asarray(tree)

    measured = [name for name in names if "running" in name]
    assert len(jax.tree.leaves(statistics)) == len(measured)
    assert_close(np.concatenate([at(statistics, name) for name in measured]), golden["statistics"])
    learnt = [name for name in names if "running" not in name]
    for name, wanted in zip(learnt, golden["gradient"], strict=True):
        ours = at(gradient, name)
        ours = ours.transpose(3, 2, 0, 1) if ours.ndim == 4 else ours
        ours = ours.T if name.startswith("attnpool") and name.endswith("weight") else ours
        probe = openai_resnet.draw(f"probe of {name}", ours.shape)
        scale = np.linalg.norm(ours) * np.linalg.norm(probe) + 0.1
        assert abs(np.sum(ours * probe) - wanted) < 1e-4 * scale, name


def live_parity(arch, num):
    """Compare both ways to run, with all statistics and gradients."""
    import torch

    torch.set_num_threads(2)
    model = openai_resnet.build(arch)
    params = openai_resnet.to_bigclip(openai_resnet.fill(model))
    images, factors = openai_resnet.inputs(arch, num=num)
    theirs = openai_resnet.outputs(model, images, factors)
    assert_close(evaluated(arch, params, images), theirs["embedding"]["evaluation"])
    (emb, statistics), gradient = trained(arch, params, images, factors)
    # Normalising again and again by a few examples blows up roundings, also PyTorch's own: the
    # measure is the same model in float64, and how far PyTorch's float32 is from it.
    model = openai_resnet.build(arch).double()
    openai_resnet.fill(model)
    exact = openai_resnet.outputs(model, *(x.astype(np.float64) for x in (images, factors)))
    wanted = exact["embedding"]["training"]
    rounding = np.abs(theirs["embedding"]["training"] - wanted).max() / np.abs(wanted).max()
    assert_close(emb, wanted, rtol=max(1e-4, 3 * rounding))
    assert_trees_close(statistics, openai_resnet.to_bigclip(exact["statistics"]))
    # They have no gradient of running statistics; ours is 0.
    for path, leaf in jax.tree.leaves_with_path(gradient):
        if path[-1].key in models.STATISTICS:
            assert not leaf.any()
    theirs, exact = (openai_resnet.to_bigclip(one["gradient"]) for one in (theirs, exact))
    error, rounding = (worst_error(tree, exact) for tree in (without_statistics(gradient), theirs))
    assert error < max(1e-4, 2 * rounding)


def worst_error(gradient, exact):
    """The largest error of a parameter's gradient, relative to it."""
    errors = []
    for (path, wanted), got in zip(
        jax.tree.leaves_with_path(exact), jax.tree.leaves(gradient), strict=True
    ):
        # Nothing but rounding: a softmax does not see the bias of the keys.
        if [part.key for part in path[-2:]] != ["key", "bias"]:
            errors.append(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
    return max(errors)


def without_statistics(tree):
    return {
        name: without_statistics(value) if isinstance(value, dict) else value
        for name, value in tree.items()
        if name not in models.STATISTICS
    }


def need_openai_clip():
    reason = "compares with openai/CLIP: pip install bigclip[peers]"
    pytest.importorskip("torch", reason=reason)
    try:
        openai_resnet.definition()
    except AttributeError:  # there is no package `clip`
        pytest.skip(reason)


@pytest.mark.peers
@pytest.mark.parametrize(
    "image",
    [
        {},
        {"image_size": 96, "stages": [2, 1, 3, 2], "width": 12, "num_heads": 3},
    ],
)
def test_odd_geometries_equal_openai_live(image):
    need_openai_clip()
    live_parity(architecture("tiny-rn", image=image, embed_dim=24), num=5)


@pytest.mark.peers
@pytest.mark.slow
def test_a_published_geometry_equals_openai_live():
    need_openai_clip()
    live_parity(architecture("clip-rn50"), num=4)


def test_the_type_of_the_computation(tiny, in_training):
    (exact, statistics), _ = in_training
    (rounded, measured), gradient = trained(*tiny, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves((measured, gradient))} == {jnp.dtype("float32")}
    # Forty roundings to 8 bits in a row, 2^-9 at most and independent: 1%. Where a channel has
    # hardly any variance over the 24 positions of the last stage, normalising by it, and then the
    # softmax of the pool, make five times that of it.
    assert np.linalg.norm(rounded - exact) < 0.1 * np.linalg.norm(exact)
    assert_trees_close(measured["stem"], statistics["stem"], rtol=0.01)


@pytest.mark.parametrize("policy", ["full", pytest.param("dots_no_batch", marks=pytest.mark.slow)])
def test_rematerialisation_changes_no_gradient(tiny, in_training, policy):
    (emb, statistics), gradient = in_training
    (again, measured), recomputed = trained(*tiny, remat=policy)
    assert_close(again, emb, rtol=1e-5)
    assert_trees_close(measured, statistics, rtol=1e-5)
    assert_trees_close(recomputed, gradient)


def test_rematerialisation_keeps_less():
    arch = architecture("tiny-rn")
    images = jax.ShapeDtypeStruct((8, 64, 64, 3), jnp.float32)

    def kept(policy):
        tower = image_tower(arch, remat=policy)
        params = jax.eval_shape(tower.init, jax.random.key(0), images)["params"]

        def pull_back(params, images):
            return jax.vjp(lambda p: embed_in_training(tower, p, images, keys=None)[0], params)[1]

        leaves = jax.tree.leaves(jax.eval_shape(pull_back, params, images))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    sizes = {policy: kept(policy) for policy in POLICIES}
    # All products have weights here: both policies keep the convolutions.
    assert sizes["full"] < sizes["dots_no_batch"] == sizes["dots"] < sizes["none"]


def test_running_statistics_are_constants_where_one_says_so(tiny):
    arch, params, images, factors = tiny
    expected = evaluated(arch, params, images)
    running = architecture(arch, image={"batch_norm": "running"})
    (emb, statistics), gradient = trained(running, params, images, factors)
    assert statistics == {}
    assert_close(emb, expected, rtol=1e-5)
    scales = [leaf for path, leaf in jax.tree.leaves_with_path(gradient) if path[-1].key == "scale"]
    assert all(scale.any() for scale in scales)  # the rest of the layer still learns


def test_an_embedding_depends_on_its_batch_only_in_training(tiny, in_training):
    arch, params, images, factors = tiny
    others = np.concatenate([images[:2], 2 * images[2:]])
    first, again = (np.asarray(evaluated(arch, params, x))[:2] for x in (images, others))
    assert_close(again, first, rtol=1e-6)
    (emb, _), _ = trained(arch, params, others, factors)
    first = np.asarray(in_training[0][0])[:2]
    assert np.abs(emb[:2] - first).max() > 0.01 * np.abs(first).max()


@pytest.mark.parametrize("remat", ["none", "full"])
def test_frozen_statistics_stay_layer_by_layer(tiny, remat):
    arch, params, images, _ = tiny
    tower = image_tower(arch, dtype="float32", remat=remat)
    paths = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree.leaves_with_path(params)
    }
    some = {path for path in paths if path.startswith(("stem/", "stage_1/block_01/"))}

    def measured(frozen):
        def embed(params):
            return embed_in_training(tower, params, images, keys=None, frozen=frozen)

        return jax.eval_shape(embed, params)[1]

    assert measured(paths) == {}
    new = measured(some)
    assert set(new) == {"stage_0", "stage_1", "stage_2", "stage_3"}
    assert set(new["stage_1"]) == {"block_00"}
    # One of the two is enough: a mean and a variance belong together.
    few = measured({"stem/bn_1/running_var"})
    assert set(few["stem"]) == {"bn_0", "bn_2"}


def test_named_layers(tiny):
    arch, params, images, _ = tiny
    tower = image_tower(arch, dtype="float32")
    names = models.layer_names(arch["image"])
    assert names[4:] == ("stage_0", "stage_1", "stage_2", "stage_3")
    seen = jax.jit(lambda p, x: models.image_features(tower, p, x, names))(params, images)
    assert {name: x.shape for name, x in seen.items()} == {
        "embedding": (6, 32),
        "projected": (6, 32),
        "pooled": (6, 32),
        "tokens": (6, 4, 256),
        "stage_0": (6, 32),
        "stage_1": (6, 64),
        "stage_2": (6, 128),
        "stage_3": (6, 256),
    }
    assert_close(seen["projected"], evaluated(arch, params, images), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(seen["embedding"], axis=1), 1, rtol=1e-5)
    assert_close(seen["tokens"].mean(axis=1), seen["stage_3"], rtol=1e-5)


def test_the_initialisation_is_the_published_one():
    arch = architecture("tiny-rn", image={"width": 16, "num_heads": 8})
    tower = image_tower(arch)
    images = jnp.zeros((1, 64, 64, 3))
    params = jax.jit(tower.init)(jax.random.key(0), images)["params"]
    for path, leaf in jax.tree.leaves_with_path(params):
        *parents, module, name = (part.key for part in path)
        if name == "running_mean" or (name == "bias" and parents[:1] != ["attention_pool"]):
            assert not leaf.any()
        elif name == "running_var":
            assert (leaf == 1).all()
        elif name == "scale":
            last = module == "bn_2" and parents[0] != "stem"
            assert (leaf == (0 if last else 1)).all()
        elif name == "kernel" and leaf.ndim == 4:  # PyTorch's default of a convolution
            limit = np.prod(leaf.shape[:3]) ** -0.5
            assert 0.9 * limit < np.abs(leaf).max() <= limit
        elif name in ("kernel", "position"):
            assert np.std(leaf) == pytest.approx(512**-0.5, rel=0.05)
        else:  # and of a dense layer's bias
            assert 0.9 * 512**-0.5 < np.abs(leaf).max() <= 512**-0.5


def test_blocks_of_a_stage_are_not_stacked(tiny):
    tree = {"image": tiny[1]}
    assert models.stack(tree)["image"] is not None
    assert jax.tree.structure(models.stack(tree)) == jax.tree.structure(tree)
    assert jax.tree.structure(models.unstack(tree)) == jax.tree.structure(tree)


def test_other_images_are_refused():
    tower = image_tower(architecture("tiny-rn"))
    with pytest.raises(ValueError, match=r"this tower takes \[b, 64, 64, 3\]"):
        jax.eval_shape(tower.init, jax.random.key(0), jnp.zeros((1, 96, 96, 3)))
