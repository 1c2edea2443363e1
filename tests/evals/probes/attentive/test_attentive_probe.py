"""The attentive probe: its training against a plain loop, and what it can see."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fake_sets import FakeSet, fake_model
from hypothesis import given, settings
from hypothesis import strategies as st

from bigclip.config import ConfigError
from bigclip.evals.probes.attentive import head as attentive_head
from bigclip.evals.probes.attentive.head import AttentiveHead
from bigclip.evals.probes.attentive.suite import AttentiveProbe
from bigclip.evals.probes.map_rows import map_rows

CLASSES, TOKENS, WIDTH = 3, 5, 8
HEAD = AttentiveHead(WIDTH, 2, CLASSES)


def needles(seed: int, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of which one, anywhere, says the class, and the others say another class faintly.

    The mean over tokens holds the class, but attention finds it more easily.
    """
    rng = np.random.default_rng(seed)
    class_of = rng.integers(0, CLASSES, num)
    tokens = 0.3 * rng.normal(size=(num, TOKENS, WIDTH))
    tokens[..., :CLASSES] += np.eye(CLASSES)[rng.integers(0, CLASSES, (num, TOKENS))]
    place = rng.integers(0, TOKENS, num)
    tokens[np.arange(num), place, :CLASSES] = np.eye(CLASSES)[class_of]
    tokens[np.arange(num), place, -1] += 3.0
    return tokens.astype(np.float16), class_of


@functools.cache
def trained() -> attentive_head.Trained:
    """Two heads, on several devices: of 8, the 4 that divide a minibatch of 12."""
    tokens, class_of = needles(1, 50)
    return attentive_head.train(
        HEAD,
        tokens,
        class_of,
        learning_rates=(1e-3, 1e-2),
        weight_decay=0.1,
        epochs=2,
        batch_size=12,
        seed=3,
    )


def assert_same(params, expected):
    """Compare weights, but not the bias of the keys: the softmax does not see it, so that its
    gradient is rounding, which Adam blows up to steps of the learning rate."""
    expected = attentive_head.to_arrays(expected)
    for name, value in attentive_head.to_arrays(params).items():
        if not name.endswith("key/bias"):
            np.testing.assert_allclose(value, expected[name], atol=1e-4, err_msg=name)


def test_equals_a_plain_loop_on_one_device():
    tokens, class_of = needles(1, 50)
    num_steps, rate = 2 * 50 // 12, 1e-2
    stacked, _ = attentive_head.start(HEAD, 2, TOKENS, 3)
    params = jax.tree.map(lambda leaf: leaf[1], stacked)
    optimizer = optax.adamw(
        optax.cosine_decay_schedule(rate, num_steps),
        weight_decay=0.1,
        mask=jax.tree.map(lambda x: x.ndim > 1, params),
    )
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, tokens, class_of):
        def loss_fn(params):
            logits = HEAD.apply({"params": params}, tokens)
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(12), class_of])

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    losses = []
    for number in range(num_steps):
        rows = attentive_head.batch_rows(number, 50, 12, seed=3)
        params, state, loss = step(params, state, tokens[rows], class_of[rows])
        losses.append(float(loss))
    assert_same(jax.tree.map(lambda leaf: leaf[1], trained().params), params)
    assert trained().loss[1] == pytest.approx(np.mean(losses[-4:]), rel=1e-4)


def test_is_the_same_again():
    again = trained.__wrapped__().params
    jax.tree.map(np.testing.assert_array_equal, again, trained().params)


@given(
    seed=st.integers(0, 2**32 - 1),
    num_rows=st.integers(1, 40),
    batch_size=st.integers(1, 60),
)
def test_every_epoch_takes_every_row_once(seed, num_rows, batch_size):
    num_steps = -(-3 * num_rows // batch_size)
    batches = [
        attentive_head.batch_rows(step, num_rows, batch_size, seed) for step in range(num_steps)
    ]
    assert {len(batch) for batch in batches} == {batch_size}
    stream = np.concatenate(batches)
    for epoch in range(3):
        taken = stream[epoch * num_rows : (epoch + 1) * num_rows]
        assert sorted(taken.tolist()) == list(range(num_rows))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_tokens_and_of_images_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    tokens, _ = needles(seed, 40)
    params = jax.tree.map(
        lambda leaf: leaf + rng.normal(scale=0.3, size=leaf.shape).astype(np.float32),
        trained().params,
    )
    order, rows = rng.permutation(TOKENS), rng.permutation(40)
    fn = attentive_head.predict_fn(HEAD)
    before = map_rows(fn, params, tokens, tile=64)
    after = map_rows(fn, params, tokens[:, order][rows], tile=64)
    assert before.shape == (40, 2)
    assert (after == before[rows]).mean() > 0.97  # but for ties within rounding


def make_sets(num_train=150):
    sets = []
    for seed, num in ((1, 60), (2, num_train)):
        tokens, class_of = needles(seed, num)
        sets.append(FakeSet({"tokens": tokens}, class_of.tolist()))
    return sets


OPTIONS = {"num_heads": 2, "learning_rates": (1e-7, 1e-2), "epochs": 8, "batch_size": 12}


def test_the_suite_learns_chooses_a_rate_and_gives_its_weights():
    test_set, train_set = make_sets()
    result = AttentiveProbe(test_set, train_set, **OPTIONS).evaluate(fake_model())
    assert result.metrics["top1"] > 0.85
    assert result.details["learning_rate"] == 1e-2
    sweep = result.details["sweep"]
    assert [entry["learning_rate"] for entry in sweep] == [1e-7, 1e-2]
    assert sweep[0]["val"] < sweep[1]["val"]
    assert sweep[0]["train_loss"] > sweep[1]["train_loss"]
    counts = result.counts
    assert counts["train_images"] + counts["val_images"] == 150
    assert 0.08 <= counts["val_images"] / 150 <= 0.12
    assert counts["images"] == 60
    # What is saved is what was tried.
    head, params = attentive_head.from_arrays(result.arrays, result.details["num_heads"])
    tokens = test_set._layers["tokens"]
    logits = head.apply({"params": params}, tokens)
    right = np.asarray(logits).argmax(axis=1) == [m["label"] for m in test_set.records.metadata]
    assert right.mean() == pytest.approx(result.metrics["top1"], abs=0.02)


def test_the_rate_is_chosen_on_the_validation_set():
    test_set, train_set = make_sets()
    tokens, class_of = needles(3, 60)
    # By labels that are all but never right, what has learned most is worst.
    wrong = FakeSet({"tokens": tokens}, ((class_of + 1) % CLASSES).tolist())
    result = AttentiveProbe(test_set, train_set, wrong, **OPTIONS).evaluate(fake_model())
    assert result.details["learning_rate"] == 1e-7
    assert result.counts["val_images"] == 60
    assert result.counts["train_images"] == 150


def test_mistakes_are_told():
    test_set, train_set = make_sets(num_train=30)
    for options, message in (
        ({"num_heads": 3}, "num_heads = 3 does not divide 8"),
        ({"max_bytes": 1000}, "more than max_bytes"),
        ({"layer": "pooled"}, "one vector per token"),
    ):
        for each in (test_set, train_set):
            each._layers["pooled"] = np.zeros((60, WIDTH), np.float32)
        with pytest.raises(ConfigError, match=message):
            AttentiveProbe(test_set, train_set, **options).evaluate(fake_model())
    with pytest.raises(ConfigError, match="held_out = 1.0: needs a number between 0 and 1"):
        AttentiveProbe(test_set, train_set, held_out=1.0)
    tokens, _ = needles(1, CLASSES)
    single = FakeSet({"tokens": tokens}, [0, 1, 2])
    with pytest.raises(ConfigError, match="no class has two records"):
        AttentiveProbe(test_set, single)
    AttentiveProbe(test_set, single, learning_rates=(1e-3,))  # nothing to choose
    with pytest.raises(ConfigError, match="num_heads = -2: needs a whole number"):
        AttentiveProbe(test_set, train_set, num_heads=-2)


@pytest.mark.parametrize(("width", "heads"), [(8, 1), (64, 1), (192, 3), (768, 12), (200, 2)])
def test_heads_have_about_64_columns(width, heads):
    assert attentive_head.num_heads_for(width) == heads
