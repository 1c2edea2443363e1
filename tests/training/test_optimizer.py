"""Optimizers and groups, against optax's own recipes and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bigclip.config import ConfigError
from bigclip.training.groups import Group, assign_groups, group_table
from bigclip.training.optimizer import OPTIMIZERS, make_optimizer
from bigclip.training.schedules import make_schedule

SCHEDULE = make_schedule(
    total_steps=20, batch_size=1, epoch_examples=1, name="cosine", warmup_steps=5
)


def tree(seed):
    rng = np.random.default_rng(seed)

    def array(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return {
        "image": {"blocks": {"up": {"kernel": array(3, 16, 8), "bias": array(3, 8)}}},
        "text": {"token_embedding": array(10, 8), "ln_post": {"scale": array(8)}},
        "log_logit_scale": array(),
    }


def run(optimizer, num_steps=6):
    params = tree(0)
    state = optimizer.init(params)
    for step in range(num_steps):
        updates, state = jax.jit(optimizer.update)(tree(step + 1), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def assert_trees_close(got, expected):
    # The same float32 operations in another order of fusion: a few units in the last place.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, expected)


def test_adamw_equals_optax():
    ours, _ = make_optimizer(tree(0), SCHEDULE, learning_rate=0.1, weight_decay=0.2, clip_norm=1.0)
    mask = {
        "image": {"blocks": {"up": {"kernel": True, "bias": False}}},
        "text": {"token_embedding": True, "ln_post": {"scale": False}},
        "log_logit_scale": False,
    }
    reference = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(
            lambda step: 0.1 * SCHEDULE(step),
            b1=0.9,
            b2=0.98,
            eps=1e-6,
            weight_decay=0.2,
            mask=mask,
        ),
    )
    assert_trees_close(run(ours)[0], run(reference)[0])


def test_lion_equals_optax():
    ours, _ = make_optimizer(tree(0), SCHEDULE, name="lion", learning_rate=0.01)
    reference = optax.lion(lambda step: 0.01 * SCHEDULE(step), weight_decay=0.0)
    assert_trees_close(run(ours)[0], run(reference)[0])


def test_muon_makes_orthogonal_updates_layer_by_layer():
    ours, _ = make_optimizer(tree(0), lambda step: 1.0, name="muon", learning_rate=1.0)
    params = tree(0)
    updates, _ = ours.update(tree(1), ours.init(params), params)
    for layer in updates["image"]["blocks"]["up"]["kernel"]:
        singular = np.linalg.svd(layer, compute_uv=False)
        # Newton-Schulz in five steps brings singular values near a common one, not to it: for
        # the published coefficients they end within about [0.7, 1.2] of it.
        assert singular.max() / singular.min() < 2
    reference = optax.adam(1.0, b2=0.98, eps=1e-6, nesterov=True)
    expected, _ = reference.update(tree(1), reference.init(params), params)
    assert_trees_close(updates["text"], expected["text"])


def test_adafactor_keeps_factored_moments_only():
    params = {"kernel": jnp.ones((64, 128)), "bias": jnp.ones((4,))}
    optimizer, _ = make_optimizer(
        params,
        SCHEDULE,
        name="adafactor",
        learning_rate=0.1,
        options={"mu_dtype": "bfloat16"},
    )
    shapes = {leaf.shape for leaf in jax.tree.leaves(optimizer.init(params))}
    assert {(64,), (128,)} <= shapes
    large = [leaf for leaf in jax.tree.leaves(optimizer.init(params)) if leaf.size >= 64 * 128]
    assert [leaf.dtype for leaf in large] == [jnp.bfloat16]  # the first moment, and no second


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_each_optimizer_descends(name):
    target = tree(3)
    optimizer, _ = make_optimizer(target, lambda step: 1.0, name=name, learning_rate=0.1)

    def distance(params):
        pairs = zip(jax.tree.leaves(params), jax.tree.leaves(target), strict=True)
        return sum(((a - b) ** 2).sum() for a, b in pairs)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(distance)(params), state, params)
        return optax.apply_updates(params, updates), state

    params = tree(0)
    state, before = optimizer.init(params), distance(params)
    for _ in range(60):
        params, state = step(params, state)
    assert distance(params) < 0.5 * before


def test_frozen_parameters_have_no_state_and_stay():
    optimizer, groups = make_optimizer(
        tree(0),
        SCHEDULE,
        learning_rate=0.1,
        weight_decay=0.1,
        groups=[{"pattern": "image/.*", "freeze": True}],
    )
    params, state = run(optimizer)
    start = tree(0)
    jax.tree.map(np.testing.assert_array_equal, params["image"], start["image"])
    assert not np.array_equal(params["log_logit_scale"], start["log_logit_scale"])
    sizes = [leaf.size for leaf in jax.tree.leaves(state)]
    assert 3 * 16 * 8 not in sizes
    assert groups["image/blocks/up/kernel"] == Group(1.0, 0.0, True)


def test_factor_of_the_learning_rate():
    slow, _ = make_optimizer(
        tree(0),
        SCHEDULE,
        learning_rate=0.1,
        groups=[{"pattern": "text/.*", "lr_mult": 0.1}],
    )
    usual, _ = make_optimizer(tree(0), SCHEDULE, learning_rate=0.1)
    params, gradient = tree(0), tree(1)
    first, _ = slow.update(gradient, slow.init(params), params)
    second, _ = usual.update(gradient, usual.init(params), params)
    assert_trees_close(jax.tree.map(lambda x: 10 * x, first["text"]), second["text"])
    assert_trees_close(first["image"], second["image"])


def test_decay_by_group_and_by_name():
    groups = assign_groups(
        tree(0),
        [{"pattern": "text/token_embedding", "weight_decay": 0.0}],
        weight_decay=0.2,
    )
    assert groups["image/blocks/up/kernel"].weight_decay == 0.2
    assert groups["image/blocks/up/bias"].weight_decay == 0.0
    assert groups["text/ln_post/scale"].weight_decay == 0.0
    assert groups["log_logit_scale"].weight_decay == 0.0
    assert groups["text/token_embedding"].weight_decay == 0.0


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"pattern": "imgae/.*"}], "it matches no parameter"),
        ([{"pattern": ".*", "freeze": True}], "nothing to train"),
        ([{"patern": ".*"}], "Did you mean 'pattern'"),
        ([{"freeze": True}], "pattern is missing"),
    ],
)
def test_mistakes_in_groups(rules, message):
    with pytest.raises(ConfigError, match=message):
        assign_groups(tree(0), rules, weight_decay=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "adamv"}, "Did you mean 'adamw'"),
        ({"options": {"beta1": 0.9}}, "unknown key 'beta1' in config.optimizer.options"),
        ({"learning_rate": 0}, "must be positive"),
    ],
)
def test_mistakes_in_the_optimizer(options, message):
    with pytest.raises(ConfigError, match=message):
        make_optimizer(tree(0), SCHEDULE, **{"learning_rate": 0.1, **options})


def test_table_counts_every_parameter_once():
    groups = assign_groups(tree(0), [], weight_decay=0.1)
    table = group_table(tree(0), groups)
    counts = [int(cell.replace(",", "")) for cell in table.columns[3].cells]
    assert sum(counts) == sum(leaf.size for leaf in jax.tree.leaves(tree(0)))
