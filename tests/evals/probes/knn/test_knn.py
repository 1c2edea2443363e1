"""Nearest neighbours against scikit-learn, and what must not change their votes."""

import jax
import numpy as np
import pytest
from fake_sets import FakeSet, blobs, fake_model
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from bigclip.config import ConfigError
from bigclip.evals.probes.knn import suite as knn

CLASSES, DIM = 7, 10


def test_the_suite_equals_scikit_learn():
    (x, c), (train_x, train_c) = (
        blobs(s, n, CLASSES, DIM, spread=2) for s, n in ((1, 90), (2, 150))
    )
    sets = [FakeSet({"pooled": a}, labels=b.tolist()) for a, b in ((x, c), (train_x, train_c))]
    result = knn.Knn(*sets, ks=(20, 5), tile=64).evaluate(fake_model())
    for k in (20, 5):
        sklearn = KNeighborsClassifier(
            k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
        )
        expected = sklearn.fit(train_x, train_c).predict(x)
        assert result.metrics[f"k={k}/top1"] == pytest.approx((expected == c).mean())
        per_class = [(expected == c)[c == one].mean() for one in range(CLASSES)]
        assert result.metrics[f"k={k}/mean_per_class"] == pytest.approx(np.mean(per_class))
    assert result.metrics["top1"] == result.metrics["k=20/top1"] > 0.4
    assert result.metrics["votes/top1"] == result.metrics["votes/k=20/top1"]
    assert result.chance["k=5/top1"] == result.chance["top1"] == 1 / CLASSES
    assert result.counts == {"images": 90, "train_images": 150, "classes": CLASSES}


def plain_vote(class_of, weights):
    """The winner of each row, one by one; of equals, the one with the nearest neighbour."""
    winners = []
    for classes, mine in zip(class_of.tolist(), weights.tolist(), strict=True):
        totals = {}
        for one, weight in zip(classes, mine, strict=True):
            if one >= 0:
                totals[one] = totals.get(one, 0) + weight
        # max keeps the first of equals, and dicts the order of insertion: nearest first.
        winners.append(max(totals, key=totals.get) if totals else -1)
    return winners


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), even=st.booleans())
def test_votes_are_counted_and_ties_go_to_the_nearest(seed, even):
    rng = np.random.default_rng(seed)
    class_of = rng.integers(-1, 4, (60, 8))
    # Whole numbers, whose sums are exact: ties are ties.
    weights = np.ones((60, 8)) if even else rng.integers(0, 3, (60, 8)) + 1.0
    assert knn.vote(class_of, weights).tolist() == plain_vote(class_of, weights)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    layout=st.sampled_from([(64, 1), (128, 3)]),
)
def test_rotation_scale_and_order_change_nothing(seed, layout):
    tile, num_devices = layout
    rng = np.random.default_rng(seed)
    x, train_x = rng.normal(size=(90, DIM)), rng.normal(size=(150, DIM))
    cosine = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (
        train_x / np.linalg.norm(train_x, axis=1, keepdims=True)
    ).T
    rotation, _ = np.linalg.qr(rng.normal(size=(DIM, DIM)))
    order = rng.permutation(150)
    scale = 10.0 ** rng.uniform(-3, 3, (150, 1))
    found, positions = knn.nearest(
        x @ rotation,
        (scale * train_x)[order] @ rotation,
        9,
        tile=tile,
        devices=jax.devices()[:num_devices],
    )
    np.testing.assert_allclose(found, -np.sort(-cosine, axis=1)[:, :9], atol=2e-6)
    np.testing.assert_allclose(
        np.take_along_axis(cosine, order[positions], axis=1), found, atol=2e-6
    )


def test_what_is_no_number_has_no_neighbour_and_is_wrong():
    x, c = blobs(3, 40, CLASSES, DIM, spread=0.1)
    train_x, train_c = blobs(4, 90, CLASSES, DIM, spread=0.1)
    train = FakeSet({"pooled": train_x}, train_c.tolist())
    model = fake_model()
    suite = knn.Knn(FakeSet({"pooled": x}, c.tolist()), train, ks=(5,))
    assert suite.evaluate(model).metrics["top1"] == 1.0
    x[:10] = np.nan
    assert suite.evaluate(model).metrics["top1"] == 0.75


def test_mistakes_are_told():
    x, c = blobs(3, 40, CLASSES, DIM)
    sets = [FakeSet({"pooled": x}, labels=c.tolist()) for _ in range(2)]
    with pytest.raises(ConfigError, match="there are only 40 training records"):
        knn.Knn(*sets, ks=(41,))
    with pytest.raises(ConfigError, match="temperature = 0.0: needs a positive number"):
        knn.Knn(*sets, ks=(5,), temperature=0.0)
