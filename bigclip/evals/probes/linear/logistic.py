"""L2-regularised logistic regression, at many strengths at once.

The optimum is that of scikit-learn's `LogisticRegression(solver="lbfgs", C=1 / strength)`: the
cross-entropy is summed over the rows, the penalty is strength / 2 ||W||^2, the bias is free. As
there, several classes share one softmax, and two classes have one sigmoid. Several labels a row
are so many problems of two classes (binary relevance).
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from bigclip.evals.probes.linear import blocks, lbfgs, objective
from bigclip.evals.probes.linear.rows import (
    Axes,
    Rows,
    find_axes,
    from_axes,
    into_axes,
    place_rows,
    row_mesh,
)
from bigclip.evals.probes.targets import class_shares

MAX_ITER = 1000  # the CLIP paper's
TOLERANCE = 5e-9
_MEMORY = 10  # pairs that L-BFGS keeps
# After so many evaluations the diagonal of the Hessian, which the pairs correct, is made anew.
_REFRESHED = (3, 10, 25, 50, 100, 200, 400)
# Multiplications of a pass over the rows: below, another compiled function would cost more than
# is saved by leaving out the diagonal.
_SMALL_PASS = 2e8


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
        max_strengths: strengths that will be fitted at once; more are compiled for anew.
        devices: by default all of this process. The result does not depend on them but for
            rounding.

    Raises:
        ValueError: for features that are not finite, a class without a row, or a label that no row
            has, or every row.
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
        self._shares = _checked_shares(features, targets, num_classes)
        self._is_binary = not self.is_multi and num_classes == 2
        if self._is_binary:
            targets = targets[:, None] == 1
        self._labels = targets.shape[1] if targets.ndim == 2 else None
        self._mesh = row_mesh(devices)
        self._axes: Axes = find_axes(features)
        self._max_strengths = max_strengths
        self.num_rows, self.num_classes = len(features), num_classes
        self._columns = min(max_strengths * num_classes, max(num_classes, self._block_columns()))
        self._parts = (self._place(features, targets),)

    def with_rows(self, features: np.ndarray, targets: np.ndarray) -> "LogisticRegression":
        """Return the same with further rows: validation rows, when the strength is chosen."""
        more = object.__new__(LogisticRegression)
        more.__dict__.update(self.__dict__)
        features, targets = np.asarray(features, np.float32), np.asarray(targets)
        added = _checked_shares(features, targets, self.num_classes, may_lack=True)
        more.num_rows = self.num_rows + len(features)
        more._shares = (self._shares * self.num_rows + added * len(features)) / more.num_rows
        if self._is_binary:
            targets = targets[:, None] == 1
        more._parts = (*self._parts, self._place(features, targets))
        return more

    @property
    def entropy(self) -> np.ndarray:
        """The loss of a classifier that knows only how frequent the classes are; [T] of labels."""
        shares = self._shares
        if self.is_multi:
            return -(shares * np.log(shares) + (1 - shares) * np.log1p(-shares))
        return -np.sum(shares * np.log(shares))

    def fit(
        self,
        strengths: Sequence[float],
        *,
        start: tuple[np.ndarray, np.ndarray] | None = None,
        max_iter: int = MAX_ITER,
        tolerance: float = TOLERANCE,
        slack: float | np.ndarray = np.inf,
    ) -> Fit:
        """Fit a classifier at each strength, all in the same passes over the rows.

        Args:
            strengths: of the penalty, positive; scikit-learn's 1 / C.
            start: kernel [S, E, K] and bias [S, K] to begin with; by default the classes'
                frequencies and no kernel.
            max_iter: the most L-BFGS iterations of a problem; a warning tells if they run out.
            tolerance: a problem has converged when the next step promises less than this share of
                the objective ...
            slack: ... and less than so much, in nats a row; of labels, [T] for each its own.
        """
        strengths = np.asarray(strengths, np.float64)
        layout, problems = self._lay_out(strengths)
        search = self._begin(layout, problems, start)
        slack = np.tile(np.broadcast_to(slack, self._labels or 1), len(strengths))
        slack = layout.lay_out(slack.astype(np.float32), repeat_last=True)
        share = layout.size / layout.num_problems  # of a block
        evaluations, rounds = 0.0, 0
        while True:
            running = np.flatnonzero((np.array(search.status) == lbfgs.RUNNING).any(axis=1))
            if not len(running):
                break
            rounds += 1
            evaluations += len(running) * share
            fresh = rounds in _REFRESHED or self._is_small
            trial = _trial_points(search)
            value, gradient, metric = self._evaluate(problems, trial, running, fresh)
            if fresh:
                search = search._replace(metric=jnp.where(metric > 0, metric, search.metric))
            given = (*blocks.padded(running, layout.count), slack, tolerance, max_iter)
            search = _advance(search, value, gradient, *given)
        points, *rest = map(
            layout.take_up, (search.point, search.value, search.iterations, search.status)
        )
        return self._result(strengths, points, *rest, evaluations)

    def _place(self, features: np.ndarray, targets: np.ndarray) -> Rows:
        return place_rows(features, targets, self._axes, num_columns=self._columns, mesh=self._mesh)

    def _lay_out(self, strengths: np.ndarray) -> tuple[blocks.Blocks, objective.Problems]:
        labels = self._labels or 1
        layout = blocks.plan(
            len(strengths) * labels,
            self._max_strengths * labels,
            size=self._block_columns() // self._k,
        )
        penalty = np.repeat(strengths / self.num_rows, labels).astype(np.float32)
        column = np.tile(np.arange(labels, dtype=np.int32), len(strengths))
        return layout, objective.Problems(
            penalty=layout.lay_out(penalty, repeat_last=True),
            column=layout.lay_out(column, repeat_last=True),
        )

    def _block_columns(self) -> int:
        return blocks.columns_of(self._mesh.devices[0])

    @property
    def _k(self) -> int:
        return 1 if self._labels else self.num_classes

    @property
    def _is_small(self) -> bool:
        return self.num_rows * len(self._axes.mean) * self._columns < _SMALL_PASS

    def _evaluate(self, problems, points, chosen, with_curvature):
        given = (problems, points, *blocks.padded(chosen, len(points)))
        sums = [
            objective.evaluate(part, *given, mesh=self._mesh, with_curvature=with_curvature)
            for part in self._parts
        ]
        total = jax.tree.map(lambda *one: sum(one), *sums)
        return objective.add_penalty(total, np.float32(self.num_rows), problems, points)

    def _begin(self, layout: blocks.Blocks, problems, start) -> lbfgs.Search:
        width, k = len(self._axes.mean), self._k
        if start is not None:
            flat = self._to_points(*start)
        else:
            shares = self._shares[1:] if self._is_binary else self._shares
            prior = np.log(shares) - (np.log1p(-shares) if self._labels else 0)
            prior = np.asarray(prior, np.float32).reshape(-1, 1, k)
            flat = np.zeros((layout.num_problems, width + 1, k), np.float32)
            flat[:, -1:] = np.tile(prior, (layout.num_problems // len(prior), 1, 1))
        points = layout.lay_out(flat)
        # Without a kernel the strengths have one objective: its first label or class tells all.
        once = layout.num_problems if start is not None else self._labels or 1
        found = self._evaluate(problems, points, layout.up_to(once), True)
        if start is None:
            found = blocks.repeat_first(found, problems.penalty, once)
        value, gradient, metric = found
        metric = jnp.where(metric > 0, metric, 1.0)
        idle = jnp.where(layout.is_problem(), lbfgs.RUNNING, lbfgs.CONVERGED).astype(jnp.int32)
        return _start(points, value, gradient, metric)._replace(status=idle)

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


def _checked_shares(features, targets, num_classes: int, *, may_lack: bool = False) -> np.ndarray:
    """Check training data; return the share of the rows that bear each class."""
    if not np.isfinite(features).all():
        raise ValueError("the features hold values that are not finite.")
    shares = class_shares(targets, num_classes)
    lacking = np.flatnonzero((shares == 0) | (shares == 1))
    if len(lacking) and not may_lack:
        raise ValueError(
            f"class {lacking[0]} of {num_classes} has {'no' if not shares[lacking[0]] else 'every'}"
            " row: there is nothing to tell apart."
        )
    return shares


_start = jax.jit(jax.vmap(jax.vmap(lambda *given: lbfgs.start(*given, memory=_MEMORY))))
_trial_points = jax.jit(jax.vmap(jax.vmap(lbfgs.trial_point)))


@functools.partial(jax.jit, donate_argnums=0)
def _advance(search, value, gradient, chosen, count, slack, tolerance, max_iter):
    """Take in what was evaluated in the first `count` of the chosen blocks."""

    def one(search, value, gradient, slack):
        return lbfgs.advance(
            search, value, gradient, tolerance=tolerance, slack=slack, max_iter=max_iter
        )

    def advance_block(number, search):
        block = chosen[number]
        mine = jax.tree.map(lambda leaf: leaf[block], search)
        mine = jax.vmap(one)(mine, value[block], gradient[block], slack[block])
        return jax.tree.map(lambda all_, new: all_.at[block].set(new), search, mine)

    return jax.lax.fori_loop(0, count, advance_block, search)
