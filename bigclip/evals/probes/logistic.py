"""L2-regularised logistic regression, at many strengths at once.

The optimum is that of scikit-learn's `LogisticRegression(solver="lbfgs", C=1 / strength)`: the
cross-entropy is summed over the rows, the penalty is strength / 2 ||W||^2, the bias is free. As
there, several classes share one softmax, and two classes have one sigmoid. Several labels a row
are so many problems of two classes (binary relevance).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from bigclip.config import ConfigError
from bigclip.evals.probes import lbfgs, objective
from bigclip.evals.probes.rows import (
    Axes,
    Rows,
    find_axes,
    from_axes,
    into_axes,
    place_rows,
    row_mesh,
)

MAX_ITER = 1000  # the CLIP paper's
TOLERANCE = 2e-9
_MEMORY = 10  # pairs that L-BFGS keeps
# After so many evaluations the diagonal of the Hessian, which the pairs correct, is made anew.
_REFRESHED = (3, 10, 25, 50, 100, 200, 400)
# Multiplications of a pass over the rows: below, another compiled function would cost more than
# is saved by leaving out the diagonal, or the problems that are solved.
_SMALL_PASS = 2e9


class Fit(NamedTuple):
    """Classifiers at S strengths. With two classes the first column is zero.

    Attributes:
        strengths: [S].
        kernel: float32 [S, E, K].
        bias: float32 [S, K].
        objective: [S], mean loss and strength / (2 I) ||W||^2; of several labels, summed over them.
        iterations: [S]; of several labels, of the slowest.
        converged: [S] bool; False if `max_iter` was reached before.
        evaluations: passes over the rows, each counted by the share of the problems in it.
    """

    strengths: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    objective: np.ndarray
    iterations: np.ndarray
    converged: np.ndarray
    evaluations: float


class LogisticRegression:
    """Training data on the devices of this process, and classifiers fitted to them.

    Args:
        features: float32 [I, E].
        targets: int [I], classes 0 to K - 1; or bool [I, T], labels.
        num_classes: K; of labels their number T.
        max_strengths: the most strengths that will be fitted at once; it decides the tiles.
        devices: by default all of this process. The result does not depend on them but for
            rounding.

    Raises:
        ConfigError: for features that are not finite, or a class without a row.
    """

    def __init__(
        self,
        features: np.ndarray,
        targets: np.ndarray,
        num_classes: int,
        *,
        max_strengths: int = 7,
        devices: Sequence[jax.Device] | None = None,
    ):
        features, targets = np.asarray(features, np.float32), np.asarray(targets)
        self.is_multi = targets.ndim == 2
        self._shares = shares = _class_shares(features, targets, num_classes)
        self._is_binary = not self.is_multi and num_classes == 2
        if self._is_binary:
            targets, shares = targets[:, None] == 1, shares[1:]
        self._prior = np.log(shares) - (np.log1p(-shares) if targets.ndim == 2 else 0)
        self._labels = targets.shape[1] if targets.ndim == 2 else None
        self._mesh = row_mesh(devices)
        self._axes: Axes = find_axes(features)
        self._columns = max_strengths * num_classes
        self._parts = (self._place(features, targets),)
        self.num_rows, self.num_classes = len(features), num_classes

    def with_rows(self, features: np.ndarray, targets: np.ndarray) -> "LogisticRegression":
        """Return the same with further rows: validation rows, when the strength is chosen."""
        more = object.__new__(LogisticRegression)
        more.__dict__.update(self.__dict__)
        features, targets = np.asarray(features, np.float32), np.asarray(targets)
        added = _class_shares(features, targets, self.num_classes, may_lack=True)
        more.num_rows = self.num_rows + len(features)
        more._shares = (self._shares * self.num_rows + added * len(features)) / more.num_rows
        if self._is_binary:
            targets = targets[:, None] == 1
        more._parts = (*self._parts, self._place(features, targets))
        shares = more._shares[1:] if self._is_binary else more._shares
        more._prior = np.log(shares) - (np.log1p(-shares) if targets.ndim == 2 else 0)
        return more

    @property
    def entropy(self) -> float:
        """The loss of a classifier that knows only how frequent the classes are."""
        shares = self._shares
        if self.is_multi:
            return float(-np.sum(shares * np.log(shares) + (1 - shares) * np.log1p(-shares)))
        return float(-np.sum(shares * np.log(shares)))

    def fit(
        self,
        strengths: Sequence[float],
        *,
        start: tuple[np.ndarray, np.ndarray] | None = None,
        max_iter: int = MAX_ITER,
        tolerance: float = TOLERANCE,
        slack: float = 0.0,
    ) -> Fit:
        """Fit a classifier at each strength, all in the same passes over the rows.

        Args:
            strengths: of the penalty, positive; scikit-learn's 1 / C.
            start: kernel [S, E, K] and bias [S, K] to begin with; by default the classes'
                frequencies and no kernel.
            max_iter: the most L-BFGS iterations of a problem; a warning tells if they run out.
            tolerance: a problem has converged when the next step promises less than this share of
                the objective ...
            slack: ... or less than so much, in nats a row.
        """
        strengths = np.asarray(strengths, np.float64)
        problems = self._problems(strengths)
        num_problems = len(problems.column)
        search = self._begin(problems, start)
        lane = np.arange(num_problems)  # the problem of each lane that is still computed
        finished = np.zeros(num_problems, bool)
        points: np.ndarray | None = None
        values, iterations = np.zeros(num_problems), np.zeros(num_problems, int)
        status = np.full(num_problems, lbfgs.RUNNING)
        evaluations, rounds = 0.0, 0
        while not finished.all():
            rounds += 1
            fresh = rounds in _REFRESHED or self._is_small(len(lane))
            trial = _trial_points(search)
            value, gradient, metric = self._evaluate(problems, trial, fresh)
            search = _advance(
                search, value, gradient, metric, tolerance, slack, max_iter, metric is not None
            )
            evaluations += len(lane) / num_problems
            now = np.asarray(search.status)
            done = now != lbfgs.RUNNING
            shrink = not self._is_small(len(lane)) and 2 * (~done).sum() <= len(lane)
            if not (shrink or done.all()):
                continue
            if points is None:
                points = np.zeros((num_problems, *search.point.shape[1:]), np.float32)
            points[lane[done]] = np.asarray(search.point)[done]
            values[lane[done]] = np.asarray(search.value, np.float64)[done]
            iterations[lane[done]] = np.asarray(search.iterations)[done]
            status[lane[done]] = now[done]
            finished[lane[done]] = True
            lane = lane[~done]
            if len(lane):
                kept = np.flatnonzero(~done)
                search, problems = jax.tree.map(lambda leaf, k=kept: leaf[k], (search, problems))
        return self._result(strengths, points, values, iterations, status, evaluations)

    def _place(self, features: np.ndarray, targets: np.ndarray) -> Rows:
        return place_rows(features, targets, self._axes, num_columns=self._columns, mesh=self._mesh)

    def _problems(self, strengths: np.ndarray) -> objective.Problems:
        labels = self._labels or 1
        return objective.Problems(
            penalty=jnp.asarray(np.repeat(strengths / self.num_rows, labels), jnp.float32),
            column=jnp.asarray(np.tile(np.arange(labels), len(strengths)), jnp.int32),
        )

    def _is_small(self, lanes: int) -> bool:
        k = 1 if self._labels else self.num_classes
        return self.num_rows * len(self._axes.mean) * k * lanes < _SMALL_PASS

    def _evaluate(self, problems, points, with_curvature):
        return objective.evaluate(
            self._parts, problems, points, mesh=self._mesh, with_curvature=with_curvature
        )

    def _begin(self, problems, start) -> lbfgs.Search:
        width = len(self._axes.mean)
        num_problems = len(problems.column)
        if start is not None:
            points = jnp.asarray(self._to_points(*start))
            return _start(points, *self._evaluate(problems, points, True))
        # Without a kernel all strengths have one objective, whose Hessian is known: that of the
        # features' variances times that of the frequencies.
        k = 1 if self._labels else self.num_classes
        once = len(self._prior) // k
        prior = jnp.asarray(self._prior, jnp.float32).reshape(once, 1, k)
        first = jnp.zeros((once, width + 1, k), jnp.float32).at[:, -1:].set(prior)
        few = jax.tree.map(lambda leaf: leaf[:once], problems)
        value, gradient, metric = self._evaluate(few, first, self._is_small(num_problems))
        if metric is None:
            spread = np.append(self._axes.variances, 1).astype(np.float32)
            shares = jax.nn.sigmoid(prior) if self._labels else jax.nn.softmax(prior)
            metric = spread[:, None] * shares * (1 - shares)
        else:
            metric = metric.at[:, :-1].add(-few.penalty[:, None, None])
        times = num_problems // once
        value, gradient, metric, first = (
            jnp.tile(leaf, (times, *(1,) * (leaf.ndim - 1)))
            for leaf in (value, gradient, metric, first)
        )
        metric = jnp.maximum(metric.at[:, :-1].add(problems.penalty[:, None, None]), 1e-12)
        return _start(first, value, gradient, metric)

    def _to_points(self, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        kernel, bias = np.asarray(kernel), np.asarray(bias)
        if self._is_binary:
            kernel, bias = np.diff(kernel), np.diff(bias)
        points = into_axes(kernel, bias, self._axes)
        if self._labels:  # [S, E + 1, T] -> one problem a label
            points = np.moveaxis(points, 2, 1).reshape(-1, points.shape[1], 1)
        return points

    def _result(self, strengths, points, values, iterations, status, evaluations) -> Fit:
        count, labels = len(strengths), self._labels or 1
        if self._labels:
            points = np.moveaxis(points[..., 0].reshape(count, labels, -1), 1, 2)
        kernel, bias = from_axes(points, self._axes)
        if self._is_binary:
            kernel = np.concatenate([np.zeros_like(kernel), kernel], axis=2)
            bias = np.concatenate([np.zeros_like(bias), bias], axis=1)
        status = status.reshape(count, labels)
        slow = (status == lbfgs.OUT_OF_STEPS).any(axis=1)
        if slow.any():
            logging.warning(
                "logistic regression did not converge at the strength(s) %s within max_iter = %d "
                "iterations: raise max_iter, or leave out the weakest strengths.",
                ", ".join(f"{strength:g}" for strength in strengths[slow]),
                iterations.max(),
            )
        return Fit(
            strengths=strengths,
            kernel=kernel,
            bias=bias,
            objective=values.reshape(count, labels).sum(axis=1),
            iterations=iterations.reshape(count, labels).max(axis=1),
            converged=~slow,
            evaluations=evaluations,
        )


def _class_shares(features, targets, num_classes: int, *, may_lack: bool = False) -> np.ndarray:
    """Check training data; return the share of the rows that bear each class."""
    if not np.isfinite(features).all():
        raise ConfigError(
            "the features hold values that are not finite: the model, or its checkpoint, is broken."
        )
    if targets.ndim == 2:
        shares = targets.mean(axis=0, dtype=np.float64)
    else:
        shares = np.bincount(targets, minlength=num_classes) / len(targets)
    lacking = np.flatnonzero((shares == 0) | (shares == 1))
    if len(lacking) and not may_lack:
        raise ConfigError(
            f"class number {lacking[0]} of {num_classes} has "
            f"{'no' if shares[lacking[0]] == 0 else 'every'} training record: there is nothing to "
            "tell apart. Give more records, or leave the class out."
        )
    return shares


_start = jax.jit(jax.vmap(lambda *given: lbfgs.start(*given, memory=_MEMORY)))
_trial_points = jax.jit(jax.vmap(lbfgs.trial_point))


def _advance_all(search, value, gradient, metric, tolerance, slack, max_iter, fresh):
    if fresh:
        search = search._replace(metric=metric)

    def one(search, value, gradient):
        return lbfgs.advance(
            search, value, gradient, tolerance=tolerance, slack=slack, max_iter=max_iter
        )

    return jax.vmap(one)(search, value, gradient)


_advance = jax.jit(_advance_all, static_argnums=7, donate_argnums=0)
