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

from bigclip.config import ConfigError
from bigclip.evals.probes.linear import lbfgs, objective
from bigclip.evals.probes.linear.rows import (
    Axes,
    Rows,
    find_axes,
    from_axes,
    into_axes,
    place_rows,
    row_mesh,
)

MAX_ITER = 1000  # the CLIP paper's
TOLERANCE = 5e-9
_MEMORY = 10  # pairs that L-BFGS keeps
# After so many evaluations the diagonal of the Hessian, which the pairs correct, is made anew.
_REFRESHED = (3, 10, 25, 50, 100, 200, 400)
# Multiplications of a pass over the rows: below, another compiled function would cost more than
# is saved by leaving out the diagonal.
_SMALL_PASS = 2e8
# Logits of a block of problems, which go through the rows together: what makes a matrix product
# efficient. A block costs until the last of its problems is solved.
_BLOCK_COLUMNS = {"cpu": 64}
_BLOCK_COLUMNS_ELSEWHERE = 4096


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
        self._max_strengths = max_strengths
        self.num_rows, self.num_classes = len(features), num_classes
        self._columns = min(max_strengths * num_classes, max(num_classes, self._block_columns()))
        self._parts = (self._place(features, targets),)

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
        slack: float = np.inf,
    ) -> Fit:
        """Fit a classifier at each strength, all in the same passes over the rows.

        Args:
            strengths: of the penalty, positive; scikit-learn's 1 / C.
            start: kernel [S, E, K] and bias [S, K] to begin with; by default the classes'
                frequencies and no kernel.
            max_iter: the most L-BFGS iterations of a problem; a warning tells if they run out.
            tolerance: a problem has converged when the next step promises less than this share of
                the objective ...
            slack: ... and less than so much, in nats a row.
        """
        strengths = np.asarray(strengths, np.float64)
        problems = self._problems(strengths)
        num_problems = len(strengths) * (self._labels or 1)
        search = self._begin(problems, num_problems, start)
        share = problems.column.shape[1] / num_problems  # of a block
        evaluations, rounds = 0.0, 0
        while True:
            status = np.array(search.status)
            blocks = np.flatnonzero((status == lbfgs.RUNNING).any(axis=1))
            if not len(blocks):
                break
            rounds += 1
            evaluations += len(blocks) * share
            fresh = rounds in _REFRESHED or self._is_small
            trial = _trial_points(search)
            value, gradient, metric = self._evaluate(problems, trial, blocks, fresh)
            if fresh:
                search = search._replace(metric=jnp.where(metric > 0, metric, search.metric))
            search = _advance(
                search, value, gradient, *_padded(blocks, len(status)), tolerance, slack, max_iter
            )
        points, *rest = (
            np.asarray(leaf).reshape(-1, *leaf.shape[2:])[:num_problems]
            for leaf in (search.point, search.value, search.iterations, search.status)
        )
        return self._result(strengths, points, *rest, evaluations)

    def _place(self, features: np.ndarray, targets: np.ndarray) -> Rows:
        return place_rows(features, targets, self._axes, num_columns=self._columns, mesh=self._mesh)

    def _problems(self, strengths: np.ndarray) -> objective.Problems:
        """Lay the problems out in blocks; as many for fewer strengths, so as not to compile."""
        labels = self._labels or 1
        count = max(len(strengths), self._max_strengths) * labels
        size = min(max(self._block_columns() // self._k, 1), count)
        size = -(-count // -(-count // size))  # even blocks
        shape = (-(-count // size), size)
        penalty = np.repeat(strengths / self.num_rows, labels)
        column = np.tile(np.arange(labels), len(strengths))
        fill = (0, shape[0] * size - len(column))
        return objective.Problems(
            penalty=jnp.asarray(np.pad(penalty, fill, "edge").reshape(shape), jnp.float32),
            column=jnp.asarray(np.pad(column, fill, "edge").reshape(shape), jnp.int32),
        )

    def _block_columns(self) -> int:
        platform = self._mesh.devices[0].platform
        return _BLOCK_COLUMNS.get(platform, _BLOCK_COLUMNS_ELSEWHERE)

    @property
    def _k(self) -> int:
        return 1 if self._labels else self.num_classes

    @property
    def _is_small(self) -> bool:
        return self.num_rows * len(self._axes.mean) * self._columns < _SMALL_PASS

    def _evaluate(self, problems, points, blocks, with_curvature):
        given = (problems, points, *_padded(blocks, len(points)))
        sums = [
            objective.evaluate(part, *given, mesh=self._mesh, with_curvature=with_curvature)
            for part in self._parts
        ]
        total = jax.tree.map(lambda *one: sum(one), *sums)
        return objective.add_penalty(total, np.float32(self.num_rows), problems, points)

    def _begin(self, problems, num_problems: int, start) -> lbfgs.Search:
        num_blocks, size = problems.column.shape
        width, k = len(self._axes.mean), self._k
        if start is not None:
            flat = self._to_points(*start)
        else:
            prior = np.asarray(self._prior, np.float32).reshape(-1, 1, k)
            flat = np.zeros((num_problems, width + 1, k), np.float32)
            flat[:, -1:] = np.tile(prior, (num_problems // len(prior), 1, 1))
        fill = num_blocks * size - num_problems
        flat = np.pad(flat, [(0, fill), (0, 0), (0, 0)])
        points = jnp.asarray(flat.reshape(num_blocks, size, width + 1, k))
        # Without a kernel the strengths have one objective: its first label or class tells all.
        once = num_problems if start is not None else self._labels or 1
        blocks = np.arange(-(-once // size))
        found = self._evaluate(problems, points, blocks, True)
        if start is None:
            found = _repeat_first(found, problems.penalty, once)
        lanes = np.arange(num_blocks * size).reshape(num_blocks, size)
        idle = jnp.asarray(
            np.where(lanes < num_problems, lbfgs.RUNNING, lbfgs.CONVERGED), jnp.int32
        )
        value, gradient, metric = found
        metric = jnp.where(metric > 0, metric, 1.0)
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


def _padded(blocks: np.ndarray, length: int) -> tuple[np.ndarray, np.int32]:
    """Return the blocks' numbers, in an array of one length, and how many they are."""
    return np.pad(blocks, (0, length - len(blocks))).astype(np.int32), np.int32(len(blocks))


@functools.partial(jax.jit, static_argnums=2)
def _repeat_first(found, penalty, once):
    """Give the values at the first `once` problems to all, each with its own penalty."""

    def repeated(leaf):
        flat = leaf.reshape(-1, *leaf.shape[2:])
        index = jnp.arange(len(flat)) % once
        return flat[index].reshape(leaf.shape)

    value, gradient, metric = map(repeated, found)
    own = (penalty - repeated(penalty))[..., None, None]
    return value, gradient, metric.at[:, :, :-1].add(jnp.broadcast_to(own, metric.shape)[:, :, :-1])


_start = jax.jit(jax.vmap(jax.vmap(lambda *given: lbfgs.start(*given, memory=_MEMORY))))
_trial_points = jax.jit(jax.vmap(jax.vmap(lbfgs.trial_point)))


@functools.partial(jax.jit, donate_argnums=0)
def _advance(search, value, gradient, blocks, count, tolerance, slack, max_iter):
    """Take in what was evaluated in the first `count` of the blocks."""

    def one(search, value, gradient):
        return lbfgs.advance(
            search, value, gradient, tolerance=tolerance, slack=slack, max_iter=max_iter
        )

    def advance_block(number, search):
        block = blocks[number]
        mine = jax.tree.map(lambda leaf: leaf[block], search)
        mine = jax.vmap(one)(mine, value[block], gradient[block])
        return jax.tree.map(lambda all_, new: all_.at[block].set(new), search, mine)

    return jax.lax.fori_loop(0, count, advance_block, search)
