"""Batch normalisation in training: one batch on any number of devices, slices, frozen towers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bigclip.config import ConfigError
from bigclip.models import STATISTICS
from bigclip.parallel import batch_sharding, make_mesh, path_name, shard_params
from bigclip.tasks import make_task
from bigclip.tasks.task import STATISTICS as OUTPUT
from bigclip.training.groups import Group, assign_groups, constants, group_table
from bigclip.training.jitted import jit_step, state_layout
from bigclip.training.micro_batches import step_keys
from bigclip.training.optimizer import make_optimizer
from bigclip.training.state import TrainState
from bigclip.training.step import loss_and_metrics, put_statistics

BATCH_SIZE = 16


@functools.cache
def task():
    return make_task(
        {
            "name": "contrastive",
            "architecture": "tiny-rn",
            "dtype": "float32",
            "overrides": {
                "image": {"image_size": 32, "stages": [1, 1, 1, 1]},
                "text": {"depth": 1},
            },
        },
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )


@functools.cache
def examples():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (BATCH_SIZE, 32, 32, 3), np.uint8),
        "text": rng.integers(1, 99, (BATCH_SIZE, 11), np.int32),
    }


@functools.cache
def drawn_params():
    """With blocks that do something: as initialised, they are their shortcuts alone."""
    params = jax.jit(task().init)(jax.random.key(1))

    def stir(path, leaf):
        return leaf + 0.5 if path[-1].key == "scale" else leaf

    return jax.tree_util.tree_map_with_path(stir, params)


KEYS = step_keys(jax.random.key(2), 3, BATCH_SIZE)
MESHES = {
    "1": {},
    "2": {"data": 2},
    "4": {"data": 4},
    "8": {"data": 8},
    "2 x 2 x 2": {"data": 2, "fsdp": 2, "tensor": 2},
}


@functools.cache
def value_and_gradient(mesh_name):
    sizes = MESHES[mesh_name]
    num_devices = int(np.prod(list(sizes.values()))) if sizes else 1
    mesh = make_mesh(**sizes, devices=jax.devices()[:num_devices])
    params = jax.device_put(drawn_params(), shard_params(drawn_params(), task().rules, mesh))
    batch = jax.device_put(examples(), batch_sharding(mesh))

    def loss_fn(params, examples):
        return loss_and_metrics(task(), params, examples, KEYS, 0.5, micro_batch_size=None)

    with jax.set_mesh(mesh):
        run = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
        (value, (_, statistics)), gradient = run(params, batch)
    return jax.device_get((value, statistics, gradient))


def assert_trees_close(ours, theirs, atol=1e-4):
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs))
    for (path, wanted), got in zip(
        jax.tree_util.tree_leaves_with_path(theirs), jax.tree.leaves(ours), strict=True
    ):
        scale = max(np.abs(wanted).max(), 1e-2 * largest)
        np.testing.assert_allclose(got / scale, wanted / scale, atol=atol, err_msg=str(path))


@pytest.mark.parametrize(
    "mesh_name",
    [
        pytest.param("2", marks=pytest.mark.slow),
        pytest.param("4", marks=pytest.mark.slow),
        pytest.param("8", marks=pytest.mark.slow),
        "2 x 2 x 2",
    ],
)
def test_the_batch_is_the_global_one_on_any_number_of_devices(mesh_name):
    value, statistics, gradient = value_and_gradient("1")
    got, got_statistics, got_gradient = value_and_gradient(mesh_name)
    np.testing.assert_allclose(got, value, rtol=1e-5)
    assert_trees_close(got_statistics, statistics, atol=1e-5)
    assert_trees_close(got_gradient, gradient)


def test_slices_are_normalised_one_by_one():
    @functools.partial(jax.jit, static_argnums=1)
    def run(rows, micro_batch_size):
        batch = {name: jnp.asarray(x)[rows] for name, x in examples().items()}
        return loss_and_metrics(
            task(), drawn_params(), batch, KEYS[rows], 0.5, micro_batch_size=micro_batch_size
        )

    @jax.jit
    def forward(rows):
        batch = {name: jnp.asarray(x)[rows] for name, x in examples().items()}
        return task().forward(drawn_params(), batch, KEYS[rows])

    value, (_, statistics) = run(np.arange(BATCH_SIZE), 8)
    outputs = [dict(forward(np.arange(start, start + 8))) for start in (0, 8)]
    measured = [one.pop(OUTPUT) for one in outputs]
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *outputs)
    expected, _ = task().objective(drawn_params(), joined, 0.5)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    mean = jax.tree.map(lambda *parts: sum(parts) / 2, *measured)
    assert_trees_close(statistics, jax.device_get(mean), atol=1e-5)
    # And that is another loss than the whole batch has.
    assert abs(value - value_and_gradient("1")[0]) > 1e-4


def named(tree):
    return {path_name(path): np.asarray(x) for path, x in jax.tree.leaves_with_path(tree)}


def one_step(groups, *, ema_decay=0.5):
    """The state before and after one step on one device, and its metrics."""
    mesh = make_mesh(devices=jax.devices()[:1])
    shapes = jax.eval_shape(task().init, jax.random.key(0))
    optimizer, assigned = make_optimizer(
        shapes, lambda step: 1.0, learning_rate=1e-2, weight_decay=0.1, groups=groups
    )
    rng = jax.random.key(0)
    _, _, layout = state_layout(task(), optimizer, mesh, rng=rng, ema=True)

    def begin(params):
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), params)

    with jax.set_mesh(mesh):
        state = jax.jit(begin, out_shardings=layout)(drawn_params())
        before = jax.device_get(state)
        step = jit_step(
            task(),
            optimizer,
            assigned,
            mesh=mesh,
            layout=layout,
            rng=rng,
            total_steps=10,
            micro_batch_size=None,
            ema_decay=ema_decay,
        )
        after, metrics = step(state, jax.device_put(examples(), batch_sharding(mesh)))
    return before, jax.device_get(after), jax.device_get(metrics)


def test_a_step_puts_in_what_it_measured_and_learns_the_rest():
    before, after, metrics = one_step([])
    old, new, ema = named(before.params), named(after.params), named(after.ema)
    measured = {
        f"image/{path}": x for path, x in named(value_and_gradient("1")[1]["image"]).items()
    }
    assert measured.keys() == {name for name in new if name.rsplit("/", 1)[-1] in STATISTICS}
    for name, wanted in measured.items():
        np.testing.assert_allclose(new[name], wanted, rtol=1e-4, atol=1e-4)
        # The average of the parameters follows them, as all others: 0.1 after the first step.
        np.testing.assert_allclose(ema[name], 0.1 * old[name] + 0.9 * new[name], rtol=1e-4)
    for name in new.keys() - measured.keys():
        assert not np.array_equal(new[name], old[name]), name
    # No moments of what is measured.
    moments = named(before.opt_state).keys()
    assert any("stem/bn_0/scale" in name for name in moments)
    assert not any("running" in name for name in moments)
    learnt = [x for name, x in new.items() if name not in measured]
    np.testing.assert_allclose(metrics["param_norm"], optax.tree.norm(learnt), rtol=1e-4)


def test_a_locked_tower_stays_bit_for_bit():
    before, after, metrics = one_step([{"pattern": "image/.*", "freeze": True}])
    old, new = named(before.params), named(after.params)
    for name, value in new.items():
        assert np.array_equal(value, old[name]) == name.startswith("image/"), name
    assert metrics["grad_norm/image"] == 0
    # It embeds in training as it does in evaluation.
    groups = assign_groups(
        before.params, [{"pattern": "image/.*", "freeze": True}], weight_decay=0.0
    )
    outputs = jax.jit(task().forward, static_argnames="frozen")(
        drawn_params(), examples(), KEYS, frozen=constants(groups)
    )
    assert OUTPUT not in outputs
    embedded = jax.jit(task().embed_images)(drawn_params(), examples()["image"])
    np.testing.assert_allclose(outputs["image_emb"], embedded, atol=1e-6)


def test_statistics_are_told_from_frozen_parameters():
    shapes = jax.eval_shape(task().init, jax.random.key(0))
    groups = assign_groups(
        shapes,
        [
            {"pattern": "image/stem/.*", "freeze": True},
            {"pattern": "image/stage_0/.*", "lr_mult": 0.1},
        ],
        weight_decay=0.2,
    )
    where = "bn_0/running_mean"
    assert groups[f"image/stem/{where}"] == Group(1.0, 0.0, freeze=True)
    assert groups[f"image/stage_0/block_00/{where}"] == Group(1.0, 0.0, freeze=True, measured=True)
    assert groups["image/stage_0/block_00/conv_0/kernel"] == Group(0.1, 0.2, freeze=False)
    assert groups["image/stage_1/block_00/bn_0/scale"] == Group(1.0, 0.0, freeze=False)
    stays = constants(groups)
    assert all(name.startswith("image/stem/") for name in stays)
    assert {f"image/stem/{where}", "image/stem/conv_0/kernel"} <= stays
    table = group_table(shapes, groups)
    assert set(table.columns[0].cells) == {"yes", "frozen", "statistics"}


def test_a_rate_for_statistics_is_a_mistake():
    shapes = jax.eval_shape(task().init, jax.random.key(0))
    with pytest.raises(ConfigError, match="running statistics alone.*can only be frozen"):
        assign_groups(shapes, [{"pattern": ".*/running_mean", "lr_mult": 0.1}], weight_decay=0.0)
    frozen = assign_groups(
        shapes, [{"pattern": ".*/running_(mean|var)", "freeze": True}], weight_decay=0.0
    )
    assert not any(group.measured for group in frozen.values())


def test_put_statistics_replaces_what_is_given_alone():
    params = {"image": {"bn": {"scale": 1, "running_mean": 2}, "conv": 3}, "text": 4}
    new = put_statistics(params, {"image": {"bn": {"running_mean": 5}}})
    assert new == {"image": {"bn": {"scale": 1, "running_mean": 5}, "conv": 3}, "text": 4}
    assert params["image"]["bn"]["running_mean"] == 2
