"""What a tower promises beside its numbers: scan, remat, precision, pooling, randomness, meshes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from model_inputs import inputs, random_params

from bigclip.config import ConfigError
from bigclip.models import ImageTower, TextTower, architecture, stack, unstack
from bigclip.models.attention import attend
from bigclip.models.image import choose_patches
from bigclip.models.remat import POLICIES
from bigclip.models.stems import ConvStem, PatchStem

NAMES = ["tiny-clip", "tiny-siglip", "tiny-convstem-8"]


def towers(arch, **how):
    how = {"embed_dim": arch["embed_dim"], "dtype": "float32", **how}
    return ImageTower(**arch["image"], **how), TextTower(**arch["text"], **how)


def small(name):
    """Small enough to compile in a second, whatever the table says."""
    if name.startswith("tiny-convstem"):
        return architecture(
            name,
            image={"depth": 2, "width": 64, "num_heads": 2},
            text={"vocab_size": 50, "depth": 1},
        )
    return architecture(name, image={"depth": 2}, text={"depth": 2})


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    """An architecture, unrolled float32 parameters of both towers, and inputs."""
    arch = small(request.param)
    images, tokens = inputs(arch, num=4)
    params = tuple(map(random_params, towers(arch), (images, tokens)))
    return arch, params, (images, tokens)


def embed(arch, params, batch, **how):
    def both(params, batch):
        pairs = zip(towers(arch, **how), params, batch, strict=True)
        return [tower.apply({"params": p}, x)[0] for tower, p, x in pairs]

    return jax.jit(both)(params, batch)


def assert_trees_close(a, b, *, rtol):
    """Compare leaf by leaf, relative to the largest element of each leaf.

    A softmax does not see the biases of the keys: their gradients are what rounding leaves of
    larger terms, and are compared relative to the largest gradient of all.
    """
    assert jax.tree.structure(a) == jax.tree.structure(b)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(b))
    pairs = zip(jax.tree_util.tree_leaves_with_path(b), jax.tree.leaves(a), strict=True)
    for (path, y), x in pairs:
        is_key_bias = "['key']['bias']" in jax.tree_util.keystr(path)
        scale = largest if is_key_bias else np.abs(y).max()
        np.testing.assert_allclose(x, y, rtol=0, atol=rtol * scale + 1e-12)


def with_tokens(tower):
    return jax.jit(functools.partial(tower.apply, with_tokens=True))


def test_outputs_are_float32_embeddings_and_named_intermediates(case):
    arch, params, batch = case
    image_tower, text_tower = towers(arch, dtype="bfloat16")
    emb, middle = with_tokens(image_tower)({"params": params[0]}, batch[0])
    num_patches = (arch["image"]["image_size"] // arch["image"]["patch_size"]) ** 2
    assert emb.shape == (4, arch["embed_dim"])
    assert emb.dtype == middle["pooled"].dtype == jnp.float32
    assert middle["tokens"].shape == (4, num_patches, arch["image"]["width"])
    assert middle["tokens"].dtype == jnp.bfloat16
    emb, middle = with_tokens(text_tower)({"params": params[1]}, batch[1])
    assert emb.shape == (4, arch["embed_dim"])
    assert emb.dtype == middle["pooled"].dtype == jnp.float32
    assert middle["tokens"].shape == (*batch[1].shape, arch["text"]["width"])
    assert middle["tokens"].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("scan", "remat", "depth"),
    [(False, "none", 2), (False, "full", 1), (True, "none", 1), (True, "full", 3)],
)
@pytest.mark.parametrize("name", ["tiny-clip", "tiny-siglip"])
def test_a_pooled_token_alone_is_as_good_as_all(name, depth, remat, scan):
    # The class token, the first end of text under a causal mask, and the last token without one.
    arch = architecture(name, image={"depth": depth}, text={"depth": depth})
    batch = inputs(arch, num=3)
    for tower, x in zip(towers(arch, scan=scan, remat=remat), batch, strict=True):
        params = {"params": random_params(tower, x)}

        def gradient(params, asked, tower=tower, x=x):
            def loss(params):
                emb, inner = tower.apply(params, x, with_tokens=asked)
                assert set(inner) == ({"pooled", "tokens"} if asked else {"pooled"})
                return jnp.mean((emb - 1) ** 2), emb

            return jax.jit(jax.grad(loss, has_aux=True))(params)

        (alone, emb), (beside, all_emb) = gradient(params, False), gradient(params, True)
        # The same sums in another order.
        assert_trees_close(emb, all_emb, rtol=1e-5)
        assert_trees_close(alone, beside, rtol=1e-4)


def test_scanned_layers_equal_unrolled_ones(case):
    arch, params, batch = case

    def run(scan, params):
        def loss(params):
            image_emb, text_emb = embed(arch, params, batch, scan=scan)
            value = jnp.mean(image_emb**2) + jnp.mean((text_emb - 1) ** 2)
            return value, (image_emb, text_emb)

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    gradient, embs = run(False, params)
    scanned_gradient, scanned_embs = run(True, stack_both(params))
    # The same sums in the same order, but compiled differently: some float32 roundings apart.
    assert_trees_close(scanned_embs, embs, rtol=1e-5)
    assert_trees_close(unstack_both(scanned_gradient), gradient, rtol=1e-4)


def stack_both(params):
    return tuple(stack(tree) for tree in params)


def unstack_both(params):
    return tuple(unstack(tree) for tree in params)


def test_stack_and_unstack_are_inverse(case):
    arch, params, _ = case
    stacked = stack(dict(zip(("image", "text"), params, strict=True)))
    assert "blocks" in stacked["image"]
    assert stacked["image"]["blocks"]["mlp"]["up"]["kernel"].ndim == 3
    again = unstack(stacked)
    assert f"block_{arch['image']['depth'] - 1:02d}" in again["image"]
    for tree, original in zip((again["image"], again["text"]), params, strict=True):
        jax.tree.map(np.testing.assert_array_equal, tree, original)


def test_stack_names_the_missing_layer():
    with pytest.raises(ValueError, match="block_01 is missing"):
        stack({"tower": {"block_00": {"a": jnp.zeros(2)}, "block_02": {"a": jnp.zeros(2)}}})


@pytest.mark.parametrize("scan", [False, True])
def test_remat_policies_do_not_change_gradients(scan):
    arch = architecture("tiny-clip", image={"depth": 2})
    images, _ = inputs(arch, num=2)
    params = {"params": random_params(towers(arch, scan=scan)[0], images)}

    def gradient(policy):
        tower = towers(arch, scan=scan, remat=policy)[0]
        loss = jax.grad(lambda p: jnp.mean(tower.apply(p, images)[0] ** 2))
        return jax.jit(loss)(params)

    plain = gradient("none")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(plain))
    for policy in set(POLICIES) - {"none"}:
        # Recomputed values may be fused differently: float32 roundings.
        assert_trees_close(gradient(policy), plain, rtol=1e-4)


def test_remat_full_keeps_less_than_none():
    arch = architecture("tiny-clip", image={"depth": 8})
    images, _ = inputs(arch, num=8)

    def kept_bytes(policy):
        tower = towers(arch, remat=policy)[0]
        params = jax.eval_shape(tower.init, jax.random.key(0), images)["params"]
        _, vjp = jax.eval_shape(
            lambda p: jax.vjp(lambda p: tower.apply({"params": p}, images)[0], p), params
        )
        return sum(leaf.size for leaf in jax.tree.leaves(vjp))

    assert kept_bytes("full") < kept_bytes("dots_no_batch") < kept_bytes("dots")
    assert kept_bytes("dots") < kept_bytes("none")


def test_unknown_remat_policy_lists_the_valid_ones():
    arch = architecture("tiny-clip")
    tower = towers(arch, remat="dots_nobatch")[0]
    with pytest.raises(ConfigError, match="'dots_no_batch'.*dots, dots_no_batch, full, none"):
        tower.init(jax.random.key(0), inputs(arch, num=1)[0])


def test_bfloat16_is_close_to_float32(case):
    arch, params, batch = case
    exact = embed(arch, params, batch)
    rounded = embed(arch, params, batch, dtype="bfloat16")
    for x, y in zip(rounded, exact, strict=True):
        # A bfloat16 has 8 bits: 2^-9 relative error a rounding. Some ten roundings a block over
        # up to three blocks, independent, in the residual stream: sqrt(30) / 512 = 1%; allow 3%.
        error = np.linalg.norm(x - y, axis=1) / np.linalg.norm(y, axis=1)
        assert (error < 0.03).all()
        assert (error > 0).all()  # it did compute in bfloat16


@pytest.mark.parametrize("causal", [False, True])
def test_attend_equals_jax(causal):
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, v = (3 * jax.random.normal(key, (2, 7, 3, 5)) for key in keys)
    expected = jax.nn.dot_product_attention(q, k, v, is_causal=causal)
    np.testing.assert_allclose(attend(q, k, v, causal=causal), expected, rtol=1e-5, atol=1e-5)


def test_one_query_sees_what_its_position_may_see():
    q, k, v = (jax.random.normal(jax.random.key(i), (3, 7, 2, 8)) for i in range(3))
    at = jnp.array([0, 4, 6])
    every = attend(q, k, v, causal=True)
    query = jnp.take_along_axis(q, at[:, None, None, None], axis=1)
    one = attend(query, k, v, causal=True, at=at)
    np.testing.assert_allclose(one[:, 0], every[np.arange(3), at], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="where its queries stand"):
        attend(query, k, v, causal=True)


def test_attend_survives_huge_logits():
    x = 1e4 * jax.random.normal(jax.random.key(0), (1, 4, 2, 8))

    def total(x):
        return attend(x, x, x, causal=True).sum()

    assert np.isfinite(total(x))
    assert np.isfinite(jax.grad(total)(x)).all()


def test_causal_text_does_not_see_later_tokens():
    arch = architecture("tiny-clip")
    _, tokens = inputs(arch, num=1)
    tower = towers(arch)[1]
    params = {"params": random_params(tower, tokens)}
    eot = arch["text"]["vocab_size"] - 1
    tokens = np.array([[5, 6, 7, eot, 0, 0, 0, 0, 0, 0, 0]], np.int32)
    behind, before = tokens.copy(), tokens.copy()
    behind[0, 4:] = [9, 8, eot, eot, 3, 2, 1]
    before[0, 1] = 9
    emb = jax.jit(tower.apply)(params, tokens)[0]
    np.testing.assert_array_equal(jax.jit(tower.apply)(params, behind)[0], emb)
    assert np.abs(jax.jit(tower.apply)(params, before)[0] - emb).max() > 1e-3


def test_siglip_text_sees_all_tokens():
    arch = architecture("tiny-siglip")
    _, tokens = inputs(arch, num=1)
    tower = towers(arch)[1]
    params = {"params": random_params(tower, tokens)}
    other = tokens.copy()
    other[0, 0] += 1
    assert (
        np.abs(
            jax.jit(tower.apply)(params, other)[0] - jax.jit(tower.apply)(params, tokens)[0]
        ).max()
        > 1e-3
    )


def test_text_pooling_takes_the_first_end_of_text_or_the_last_position():
    arch = architecture("tiny-clip")
    eot = arch["text"]["vocab_size"] - 1
    tokens = np.array([[3, eot, 4, eot, 0, 0, 0, 0, 0, 0, 0]], np.int32)
    for name, position in (("tiny-clip", 1), ("tiny-siglip", -1)):
        tower = towers(architecture(name))[1]
        params = {"params": random_params(tower, tokens)}
        _, middle = with_tokens(tower)(params, tokens)
        np.testing.assert_allclose(middle["pooled"], middle["tokens"][:, position], rtol=1e-5)


def test_mean_pooling_is_the_mean_of_the_tokens():
    arch = small("tiny-convstem-8")
    images, _ = inputs(arch, num=2)
    tower = towers(arch)[0]
    _, middle = with_tokens(tower)({"params": random_params(tower, images)}, images)
    np.testing.assert_allclose(middle["pooled"], middle["tokens"].mean(axis=1), atol=1e-5)


def test_patch_dropout_depends_on_the_example_alone():
    arch = architecture("tiny-clip", image={"patch_dropout": 0.5, "image_size": 48})
    images, _ = inputs(arch, num=4)
    tower = towers(arch)[0]
    params = {"params": random_params(tower, images)}
    keys = jax.random.split(jax.random.key(1), 4)
    whole, middle = with_tokens(tower)(params, images, keys=keys)
    assert middle["tokens"].shape[1] == 18  # half of 36
    # In another order and in another micro-batch, every example drops the same patches.
    order = np.array([2, 0])
    part, _ = jax.jit(tower.apply)(params, images[order], keys=keys[order])
    np.testing.assert_allclose(part, whole[order], atol=1e-5)
    other, _ = jax.jit(tower.apply)(params, images, keys=jax.random.split(jax.random.key(2), 4))
    assert np.abs(other - whole).max() > 1e-3
    # Without keys nothing is dropped.
    assert with_tokens(tower)(params, images)[1]["tokens"].shape[1] == 36


def test_kept_patches_have_their_own_pixels_and_positions():
    arch = architecture(
        "tiny-clip", image={"patch_dropout": 0.5, "image_size": 48, "patch_size": 8}
    )
    images, _ = inputs(arch, num=2)
    tower = towers(arch)[0]
    params = {"params": random_params(tower, images)}
    keys = jax.random.split(jax.random.key(1), 2)
    kept = choose_patches(keys, 36, num_kept=18)

    def first_emb(params, images):
        return tower.apply(params, images, keys=keys)[0][0].sum()

    by_params, by_pixels = jax.jit(jax.grad(first_emb, argnums=(0, 1)))(params, images)
    rows = np.abs(by_params["params"]["position"][1:]).max(axis=1)
    assert np.flatnonzero(rows).tolist() == kept[0].tolist()
    blocks = np.abs(by_pixels[0]).reshape(6, 8, 6, 8, 3).max(axis=(1, 3, 4)).ravel()
    assert np.flatnonzero(blocks).tolist() == kept[0].tolist()


def test_gradients_of_positions_add_in_float32():
    # In bfloat16 a sum of equal numbers stands still after 256 of them.
    arch = architecture("tiny-clip", image={"patch_dropout": 0.5, "depth": 1})
    images, _ = inputs(arch, num=1)
    tower = towers(arch, dtype="bfloat16")[0]
    params = {"params": random_params(tower, images)}

    def gradient(num):
        batch = jnp.repeat(images, num, axis=0)
        keys = jnp.repeat(jax.random.split(jax.random.key(1), 1), num)
        loss = jax.grad(lambda p: tower.apply(p, batch, keys=keys)[0][:, 0].sum())
        return jax.jit(loss)(params)["params"]["position"][1:]

    one, many = gradient(1), gradient(2_048)
    # bfloat16 has 8 bits, and one step of it between the two programs' roundings is no sum.
    np.testing.assert_allclose(many / 2_048, one, rtol=0, atol=0.02 * np.abs(one).max())


def test_kept_patches_are_a_random_subset_in_order():
    kept = np.array(choose_patches(jax.random.split(jax.random.key(0), 2), 10, num_kept=6))
    assert kept.shape == (2, 6)
    assert (np.diff(kept) > 0).all()
    assert kept.min() >= 0
    assert kept.max() < 10
    assert kept[0].tolist() != kept[1].tolist()


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_kept_patches_are_mapped_as_all_are(stem):
    how = {"width": 16, "patch_size": 8, "init_scheme": "clip", "dtype": jnp.float32}
    module = PatchStem(**how, bias=True) if stem == "patch" else ConvStem(**how, ln_eps=1e-5)
    images = jax.random.normal(jax.random.key(0), (3, 32, 32, 3))
    params = module.init(jax.random.key(1), images)
    kept = choose_patches(jax.random.split(jax.random.key(2), 3), 16, num_kept=5)
    whole, part = module.apply(params, images), module.apply(params, images, kept)
    expected = np.stack([rows[own] for rows, own in zip(whole, kept, strict=True)])
    np.testing.assert_allclose(part, expected, atol=1e-6)  # sums of 192 products


@pytest.mark.parametrize(
    ("which", "shape", "dtype", "message"),
    [
        (0, (1, 32, 32, 3), np.float32, "takes .b, 24, 24, 3"),
        (1, (1, 12), np.int32, "12 tokens.*takes 11"),
    ],
)
def test_wrong_sizes_are_told(which, shape, dtype, message):
    tower = towers(architecture("tiny-clip"))[which]
    with pytest.raises(ValueError, match=message):
        tower.init(jax.random.key(0), np.zeros(shape, dtype))


@pytest.mark.parametrize("scan", [False, True])
def test_sharded_over_eight_devices_equals_one(case, scan):
    arch, params, (images, tokens) = case
    params = stack_both(params) if scan else params
    batch = (np.concatenate([images, images]), np.concatenate([tokens, tokens]))
    expected = embed(arch, params, batch, scan=scan)
    mesh = jax.make_mesh(
        (2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 3
    )
    with jax.set_mesh(mesh):
        over_batch = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
        got = embed(arch, params, jax.device_put(batch, over_batch), scan=scan)
        assert got[0].sharding.spec[0] == ("data", "fsdp")
    assert_trees_close(got, expected, rtol=1e-5)
