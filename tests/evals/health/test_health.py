"""The health of embeddings against dense formulae, and what must not change it."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_sets import FakeSet, fake_model
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from bigclip.config import ConfigError
from bigclip.evals.health import geometry
from bigclip.evals.health.map2d import map_2d
from bigclip.evals.health.pair_logits import pair_logits
from bigclip.evals.health.suite import Health

DIM = 6


def unit(seed, num, *, dim=DIM, shift=0.0):
    emb = np.random.default_rng(seed).normal(size=(num, dim)) + shift
    return (emb / np.linalg.norm(emb, axis=1, keepdims=True)).astype(np.float32)


def dense_uniformity(emb):
    return np.log(np.mean(np.exp(-2 * pdist(emb.astype(np.float64)) ** 2)))


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num=st.integers(2, 150),
    layout=st.sampled_from([(64, 1), (128, 3)]),
)
def test_geometry_equals_dense_formulae_under_rotation_and_order(seed, num, layout):
    rng = np.random.default_rng(seed)
    image_emb, text_emb = unit(seed, num), unit(seed + 1, num, shift=0.5)
    order = rng.permutation(num)
    pairs = np.stack([np.arange(num), rng.integers(0, num, num)], axis=1)
    rotation, _ = np.linalg.qr(rng.normal(size=(DIM, DIM)))
    turned = [(emb @ rotation).astype(np.float32)[order] for emb in (image_emb, text_emb)]
    moved = np.argsort(order)[pairs]

    tile, num_devices = layout
    devices = jax.devices()[:num_devices]
    found = geometry.uniformity(turned[0], tile=tile, devices=devices)
    assert found == pytest.approx(dense_uniformity(image_emb), abs=2e-5)

    distance = np.linalg.norm(image_emb[pairs[:, 0]] - text_emb[pairs[:, 1]], axis=1)
    assert geometry.alignment(*turned, moved) == pytest.approx((distance**2).mean(), abs=1e-5)
    gap = np.linalg.norm(image_emb.mean(axis=0) - text_emb.mean(axis=0))
    assert geometry.modality_gap(*turned) == pytest.approx(gap, abs=1e-5)
    cosines = (text_emb @ text_emb.T)[~np.eye(num, dtype=bool)]
    assert geometry.mean_cosine(turned[1]) == pytest.approx(cosines.mean(), abs=1e-5)
    share = np.linalg.svd(image_emb.astype(np.float64), compute_uv=False)
    share = share[share > 1e-9] / share.sum()
    expected = np.exp(-(share * np.log(share)).sum())
    assert geometry.effective_rank(turned[0]) == pytest.approx(expected, rel=1e-4)


def test_known_values_of_geometry():
    # Orthonormal rows fill all dimensions; copies of one row fill one.
    assert geometry.effective_rank(np.eye(DIM, dtype=np.float32)) == pytest.approx(DIM)
    collapsed = np.repeat(unit(0, 1), 20, axis=0)
    assert geometry.effective_rank(collapsed) == pytest.approx(1.0, abs=1e-5)
    assert geometry.uniformity(collapsed) == pytest.approx(0.0, abs=1e-6)
    assert geometry.mean_cosine(collapsed) == pytest.approx(1.0, abs=1e-6)
    north, south = np.eye(2, dtype=np.float32)[:1], -np.eye(2, dtype=np.float32)[:1]
    assert geometry.modality_gap(north, south) == 2.0
    assert geometry.alignment(north, south, np.array([[0, 0]])) == 4.0
    # Every row twice: the rank and the gap stay.
    emb = unit(1, 30)
    twice = np.repeat(emb, 2, axis=0)
    assert geometry.effective_rank(twice) == pytest.approx(geometry.effective_rank(emb))
    assert geometry.modality_gap(twice, emb) == pytest.approx(0.0, abs=1e-7)


def score(params, image_emb, text_emb):
    return params["scale"] * (image_emb @ text_emb.T) - 3.0


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_images=st.integers(1, 100),
    num_texts=st.integers(1, 100),
)
def test_logits_equal_the_dense_matrix(seed, num_images, num_texts):
    rng = np.random.default_rng(seed)
    # Small integers: every logit is exact, so that each falls into the same bin everywhere.
    image_emb = rng.integers(-2, 3, (num_images, DIM)).astype(np.float32)
    text_emb = rng.integers(-2, 3, (num_texts, DIM)).astype(np.float32)
    pairs = np.stack([rng.integers(0, num_images, 40), rng.integers(0, num_texts, 40)], axis=1)
    found = pair_logits(
        image_emb,
        text_emb,
        pairs,
        score_fn=score,
        params={"scale": np.float32(2.0)},
        bins=16,
        tile=64,
        devices=jax.devices()[:3],
    )
    logits = 2.0 * (image_emb @ text_emb.T) - 3.0
    right = np.zeros(logits.shape, bool)
    right[pairs[:, 0], pairs[:, 1]] = True
    for side, mine in ((found.positive, logits[right]), (found.negative, logits[~right])):
        if not len(mine):
            assert side is None
            continue
        assert side.count == len(mine)
        assert side.mean == pytest.approx(mine.mean(), abs=1e-5)
        assert side.std == pytest.approx(mine.std(), abs=1e-5)
        np.testing.assert_array_equal(side.histogram, np.histogram(mine, found.edges)[0])
    if logits.min() < logits.max():
        assert (found.edges[0], found.edges[-1]) == (logits.min(), logits.max())


def make_set(num=90, *, scale=4.0):
    """Images near their texts; two images a text, and one image without any."""
    texts = {f"text {i}": emb for i, emb in enumerate(unit(7, num // 2))}
    names = [f"text {i // 2}" for i in range(num)]
    image_emb = np.stack([texts[name] for name in names]) + 0.5 * unit(8, num)
    image_emb /= np.linalg.norm(image_emb, axis=1, keepdims=True)
    captions = [{"txt": [name]} for name in names]
    captions[3] = {"keywords": ["?"]}
    layers = {"embedding": image_emb, "projected": 5.0 * image_emb}
    layers["projected"][::2] = 3.0 * image_emb[::2]
    test = FakeSet(layers, labels=list(range(num)), captions=captions)
    model = fake_model(texts)
    model.score_params = {"log_logit_scale": jnp.log(scale), "logit_bias": np.float32(-1.0)}
    model.task = SimpleNamespace(score=cosine_logits)
    return test, model, image_emb, texts


def cosine_logits(params, image_emb, text_emb):
    return jnp.exp(params["log_logit_scale"]) * (image_emb @ text_emb.T) + params["logit_bias"]


def test_the_suite_equals_brute_force():
    test, model, image_emb, texts = make_set()
    result = Health(test, map_label="label", tile=64).evaluate(model)
    kept = [i for i in range(90) if i != 3]
    x, y = image_emb[kept], np.stack(list(texts.values()))
    right = np.array([[i // 2 == j for j in range(45)] for i in kept])
    cosines = (x @ y.T).astype(np.float64)
    positive, negative = cosines[right], cosines[~right]
    metrics = result.metrics
    expected = {
        "finite": 1.0,
        "alignment": (2 - 2 * positive).mean(),
        "uniformity_image": dense_uniformity(x),
        "uniformity_text": dense_uniformity(y),
        "modality_gap": np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)),
        "positive_cosine_mean": positive.mean(),
        "negative_cosine_mean": negative.mean(),
        "positive_logit_mean": 4 * positive.mean() - 1,
        "positive_logit_std": 4 * positive.std(),
        "negative_logit_mean": 4 * negative.mean() - 1,
        "negative_logit_std": 4 * negative.std(),
        "logit_scale": 4.0,
        "logit_bias": -1.0,
        "image_norm_mean": np.mean([3.0 if i % 2 == 0 else 5.0 for i in kept]),
        "image_norm_std": np.std([3.0 if i % 2 == 0 else 5.0 for i in kept]),
    }
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, abs=2e-5), name
    assert set(metrics) - set(expected) == {
        "effective_rank_image",
        "effective_rank_text",
        "mean_cosine_image",
        "mean_cosine_text",
    }
    assert result.counts == {"images": 89, "texts": 45, "pairs": 89, "images_without_text": 1}

    histograms = result.details["histograms"]
    assert sum(histograms["positive"]["counts"]) == 89
    assert sum(histograms["negative"]["counts"]) == 89 * 44
    assert len(histograms["positive"]["edges"]) == 61
    points = result.details["map"]
    assert [point["key"] for point in points] == [f"record {i}" for i in kept]
    assert [point["record"] for point in points] == [10 + i for i in kept]
    assert [point["label"] for point in points] == [str(i) for i in kept]
    place = map_2d(x, seed=0)
    np.testing.assert_allclose([(point["x"], point["y"]) for point in points], place, atol=6e-5)
    fewer = Health(test, map_points=40)._on_map
    assert len(set(fewer.tolist())) == 40


@pytest.mark.parametrize("spread", [0.0, 1e-6])
def test_logits_that_hardly_differ_have_a_histogram(spread):
    # float32 has no room for 60 different edges between such logits.
    image_emb = np.full((64, DIM), 2.0, np.float32)
    text_emb = np.full((50, DIM), 2.0, np.float32)
    image_emb[0, 0] += spread
    found = pair_logits(image_emb, text_emb, np.array([[0, 0], [1, 1]]), tile=64)
    assert (np.diff(found.edges) > 0).all()
    assert found.positive.histogram.sum() == 2
    assert found.negative.histogram.sum() == 64 * 50 - 2


def test_a_model_that_diverged_is_told_apart():
    test, model, _, _ = make_set()
    test._layers["embedding"][5, 0] = np.nan
    result = Health(test, map_points=0, tile=64).evaluate(model)
    assert result.metrics == {"finite": 0.0}


def test_the_map_keeps_neighbours_together():
    centres = unit(3, 4, dim=16)
    group = np.arange(60) % 4
    emb = centres[group] + 0.05 * np.random.default_rng(0).normal(size=(60, 16))
    place = map_2d(emb, seed=0)
    assert place.shape == (60, 2)
    assert np.abs(place).max() == pytest.approx(1.0)
    distance = np.linalg.norm(place[:, None] - place[None], axis=-1) + 9 * np.eye(60)
    assert (group[distance.argmin(axis=1)] == group).all()
    np.testing.assert_array_equal(map_2d(emb, seed=0), place)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_few_points_and_equal_points_have_a_map(num):
    emb = unit(4, num)
    assert np.isfinite(map_2d(emb, seed=0)).all()
    np.testing.assert_array_equal(map_2d(np.repeat(emb[:1], num, axis=0), 0), np.zeros((num, 2)))


def test_mistakes_are_told():
    test, _, _, _ = make_set()
    for options, message in (
        ({"captions": ["text"]}, "Did you mean 'txt'"),
        ({"map_label": "lable"}, "Did you mean 'label'"),
        ({"bins": 0}, "bins = 0: needs a whole number of at least 1"),
        ({"map_points": -1}, "map_points = -1: needs a whole number of at least 0"),
        ({"tile": "x"}, "tile = 'x': needs a whole number"),
        ({"captions_per_image": 0}, "captions_per_image = 0"),
        ({"seed": 0.5}, "seed = 0.5"),
        ({"map_label": ["label"]}, "map_label = \\['label'\\]: needs a name"),
    ):
        with pytest.raises(ConfigError, match=message):
            Health(test, **options)
