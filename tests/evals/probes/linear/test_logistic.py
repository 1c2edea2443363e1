"""Logistic regression: its optimum is scikit-learn's, for any layout of the rows."""

import jax
import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.linear_model
from hypothesis import given, settings
from hypothesis import strategies as st

from bigclip.evals.probes.linear import objective, rows
from bigclip.evals.probes.linear.logistic import LogisticRegression

NUM_ROWS, WIDTH, NUM_CLASSES = 203, 10, 7
STRENGTHS = (0.1, 1.0, 100.0)


def correlated(num_rows: int, classes: np.ndarray, seed: int) -> np.ndarray:
    """Features as towers give them: a large mean, a decaying spectrum, overlapping classes."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(WIDTH, WIDTH)))[0]
    spread = 3.0 * 0.7 ** np.arange(WIDTH)
    means = np.random.default_rng(2).normal(size=(NUM_CLASSES, WIDTH))
    found = (means[classes] + rng.normal(size=(num_rows, WIDTH))) * spread
    return (found @ axes + 7.0).astype(np.float32)


CLASSES = np.random.default_rng(0).integers(0, NUM_CLASSES, NUM_ROWS)
FEATURES = correlated(NUM_ROWS, CLASSES, 3)
LABELS = np.stack([CLASSES < 2, np.arange(NUM_ROWS) % 3 == 0, FEATURES[:, 0] > 7], axis=1)


def cross_entropy(features, targets, kernel, bias, strength) -> float:
    """The objective by the formula, in float64."""
    features, kernel = features.astype(np.float64), np.asarray(kernel, np.float64)
    logits = features @ kernel + bias
    if targets.ndim == 2:
        signs = np.where(targets, -1.0, 1.0)
        losses = np.logaddexp(0, signs * logits).sum(axis=1)
    else:
        own = logits[np.arange(len(targets)), targets]
        losses = scipy.special.logsumexp(logits, axis=1) - own
    return losses.mean() + strength / 2 / len(features) * (kernel**2).sum()


def reference(features, targets, strength):
    """The optimum by another method, on centred rows: the free bias takes the shift back."""
    model = sklearn.linear_model.LogisticRegression(
        C=1 / strength, solver="newton-cholesky", tol=1e-9
    )
    mean = features.mean(axis=0, dtype=np.float64)
    model.fit(features - mean, targets)
    model.intercept_ = model.intercept_ - model.coef_ @ mean
    return model


@pytest.fixture(scope="module")
def fit():
    return LogisticRegression(FEATURES, CLASSES, NUM_CLASSES).fit(STRENGTHS)


def test_optimum_is_scikit_learns(fit):
    for s, strength in enumerate(STRENGTHS):
        best = reference(FEATURES, CLASSES, strength)
        theirs = cross_entropy(FEATURES, CLASSES, best.coef_.T, best.intercept_, strength)
        ours = cross_entropy(FEATURES, CLASSES, fit.kernel[s], fit.bias[s], strength)
        assert ours <= theirs * (1 + 1e-6)
        assert fit.objective[s] == pytest.approx(ours, rel=1e-5)
        predicted = (FEATURES @ fit.kernel[s] + fit.bias[s]).argmax(axis=1)
        np.testing.assert_array_equal(predicted, best.predict(FEATURES))
        # One bias for all classes moves no probability; scikit-learn's may differ by it.
        np.testing.assert_allclose(fit.kernel[s], best.coef_.T, atol=0.02 * abs(best.coef_).max())
    assert fit.converged.all()


def test_two_classes_have_one_sigmoid():
    two = CLASSES % 2
    found = LogisticRegression(FEATURES, two, 2).fit(STRENGTHS)
    for s, strength in enumerate(STRENGTHS):
        best = reference(FEATURES, two, strength)
        theirs = cross_entropy(FEATURES, two[:, None] == 1, best.coef_.T, best.intercept_, strength)
        kernel = found.kernel[s, :, 1:]
        ours = cross_entropy(FEATURES, two[:, None] == 1, kernel, found.bias[s, 1:], strength)
        assert ours <= theirs * (1 + 1e-6)
        assert not found.kernel[s, :, 0].any()
        assert found.bias[s, 0] == 0


def test_several_labels_are_problems_of_their_own():
    found = LogisticRegression(FEATURES, LABELS, 3).fit(STRENGTHS)
    for s, strength in enumerate(STRENGTHS):
        for t in range(3):
            best = reference(FEATURES, LABELS[:, t], strength)
            mine = LABELS[:, t : t + 1]
            theirs = cross_entropy(FEATURES, mine, best.coef_.T, best.intercept_, strength)
            columns = found.kernel[s, :, t : t + 1], found.bias[s, t : t + 1]
            assert cross_entropy(FEATURES, mine, *columns, strength) <= theirs * (1 + 1e-6)


def test_order_of_rows_devices_and_parts_change_nothing(fit):
    order = np.random.default_rng(4).permutation(NUM_ROWS)
    features, classes = FEATURES[order], CLASSES[order]
    first = LogisticRegression(
        features[:102], classes[:102], NUM_CLASSES, devices=jax.local_devices()[:3]
    )
    both = first.with_rows(features[102:], classes[102:])
    cold = both.fit(STRENGTHS)
    np.testing.assert_allclose(cold.objective, fit.objective, rtol=1e-6)
    for s in range(3):
        np.testing.assert_allclose(
            scipy.special.softmax(FEATURES @ cold.kernel[s] + cold.bias[s], axis=1),
            scipy.special.softmax(FEATURES @ fit.kernel[s] + fit.bias[s], axis=1),
            atol=1e-3,
        )
    warm = both.fit(STRENGTHS, start=(0.9 * fit.kernel, 0.9 * fit.bias))
    np.testing.assert_allclose(warm.objective, fit.objective, rtol=1e-6)
    assert warm.iterations[0] < cold.iterations[0]


def test_every_label_has_a_slack_of_its_own():
    labels = LABELS.copy()
    labels[:, 1] = np.arange(NUM_ROWS) % 100 == 0
    data = LogisticRegression(FEATURES, labels, 3)
    shares = labels.mean(axis=0)
    expected = [scipy.stats.entropy([share, 1 - share]) for share in shares]
    np.testing.assert_allclose(data.entropy, expected)
    found = data.fit((1.0,), tolerance=1.0, slack=np.array([1e3, 1e-8, 1e3]))
    excess = []
    for t in range(3):
        best, mine = reference(FEATURES, labels[:, t], 1.0), labels[:, t : t + 1]
        theirs = cross_entropy(FEATURES, mine, best.coef_.T, best.intercept_, 1.0)
        ours = found.kernel[0, :, t : t + 1], found.bias[0, t : t + 1]
        excess.append(cross_entropy(FEATURES, mine, *ours, 1.0) - theirs)
    assert excess[1] < 1e-7
    assert min(excess[0], excess[2]) > 1e-4  # they stopped where their own slack let them


@pytest.mark.parametrize("num_columns", [1, 1 << 20], ids=("one tile", "many tiles"))
def test_gradient_and_curvature_are_those_of_float64(num_columns):
    mesh, axes = rows.row_mesh(), rows.find_axes(FEATURES)
    part = rows.place_rows(FEATURES, CLASSES, axes, num_columns=num_columns, mesh=mesh)
    turned = (FEATURES.astype(np.float64) - axes.mean) @ axes.vectors.astype(np.float64)
    rng = np.random.default_rng(5)
    points = rng.normal(size=(3, 1, WIDTH + 1, NUM_CLASSES)).astype(np.float32)
    penalty = np.float32(STRENGTHS).reshape(3, 1) / NUM_ROWS
    problems = objective.Problems(penalty, np.zeros((3, 1), np.int32))
    sums = objective.evaluate(
        part, problems, points, np.int32([2, 0, 0]), 2, mesh=mesh, with_curvature=True
    )
    assert not np.asarray(sums[1])[1].any()  # was not asked for
    value, gradient, curvature = objective.add_penalty(sums, NUM_ROWS, problems, points)
    inputs = np.concatenate([turned, np.ones((NUM_ROWS, 1))], axis=1)
    for p in (0, 2):
        point = points[p, 0].astype(np.float64)
        share = scipy.special.softmax(inputs @ point, axis=1)
        penalised = np.where(np.arange(WIDTH + 1) < WIDTH, STRENGTHS[p], 0)[:, None] / NUM_ROWS
        expected = inputs.T @ (share - np.eye(NUM_CLASSES)[CLASSES]) / NUM_ROWS + penalised * point
        np.testing.assert_allclose(gradient[p, 0], expected, rtol=1e-5, atol=2e-5)
        diagonal = (inputs**2).T @ (share * (1 - share)) / NUM_ROWS + penalised
        np.testing.assert_allclose(curvature[p, 0], diagonal, rtol=1e-4, atol=1e-6)
        expected = cross_entropy(turned, CLASSES, point[:-1], point[-1], STRENGTHS[p])
        np.testing.assert_allclose(value[p, 0], expected, rtol=1e-5)


softmax_loss, sigmoid_loss = map(jax.jit, (objective.softmax_loss, objective.sigmoid_loss))


@given(
    st.lists(st.floats(-60, 60, width=32), min_size=4, max_size=4), st.integers(0, 3), st.booleans()
)
@settings(max_examples=30, deadline=None)
def test_losses_keep_their_digits_however_sure_they_are(logits, right, answer):
    exact = np.array(logits, np.float64)
    shaped = np.array(logits, np.float32).reshape(1, 1, 4)
    loss, residual, slope = jax.tree.map(np.asarray, softmax_loss(shaped, np.array([right])))
    wrong = np.delete(exact, right) - exact[right]
    expected = np.log1p(np.exp(scipy.special.logsumexp(wrong)))
    np.testing.assert_allclose(loss[0, 0], expected, rtol=1e-5, atol=1e-30)
    share = scipy.special.softmax(exact)
    not_right = np.delete(share, right).sum()
    np.testing.assert_allclose(residual[0, 0, right], -not_right, rtol=2e-5, atol=1e-30)
    assert (slope >= 0).all()
    assert residual.sum() == pytest.approx(0, abs=1e-6)
    one = np.float32(logits[0]).reshape(1, 1, 1)
    loss, residual, _ = sigmoid_loss(one, np.full((1, 1, 1), answer))
    sign = 1.0 if answer else -1.0
    expected = np.log1p(np.exp(-sign * exact[0]))
    np.testing.assert_allclose(loss[0, 0], expected, rtol=1e-5, atol=1e-30)
    wrong = scipy.special.expit(-sign * exact[0])
    np.testing.assert_allclose(residual[0, 0, 0], -sign * wrong, rtol=1e-5, atol=1e-30)


def test_what_is_left_undone_is_told(caplog):
    found = LogisticRegression(FEATURES, CLASSES, NUM_CLASSES).fit((1e-6,), max_iter=2)
    assert not found.converged[0]
    assert found.iterations[0] == 2
    assert "1e-06" in caplog.text
    assert "max_iter" in caplog.text


def test_features_and_classes_that_cannot_be_learnt():
    with pytest.raises(ValueError, match="class 7 of 8 has no row"):
        LogisticRegression(FEATURES, CLASSES, 8)
    broken = FEATURES.copy()
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        LogisticRegression(broken, CLASSES, NUM_CLASSES)
