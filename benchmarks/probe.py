"""The CLIP paper's linear probe beside scikit-learn, on the same features and cores.

    python -m benchmarks.probe                       # 50,000 x 768, 100 classes: 10 minutes
    python -m benchmarks.probe --rows 10000          # the same in small

Both sides make the same sweep (`bigclip.evals.probes.linear.sweep`): 7 coarse strengths, the
halving, and a fit of training and validation rows at the best one. scikit-learn fits as people use
it: float32 features, `LogisticRegression(C=1 / strength, max_iter=1000)` with its default
tolerance, each from nothing (`--warm` starts each at the nearest strength that was fitted, and
notes it in the table).

The features are drawn, not those of a model, but of the kind that towers give: a mean far from
zero with a few huge dimensions, scales that differ by dimension, a scatter whose spectrum decays
like a power over all 768 axes, classes in 20 groups that differ along those very axes, rows of
different length, and 2% wrong labels.
"""

import argparse
import json
import math
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.special

from benchmarks.tables import markdown

GROUPS = 20


class Data(NamedTuple):
    """Features float32 [I, E] and classes [I] of three sets."""

    train: tuple[np.ndarray, np.ndarray]
    val: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def make_data(rows: int, width: int, classes: int, *, separation: float, seed: int = 0) -> Data:
    """Draw features; a tenth of `rows` is the validation set, and a tenth more is the test set.

    Args:
        rows: of training and validation.
        width: E.
        classes: K.
        separation: of the classes; 1 puts their centres as far apart as rows of one class.
        seed: decides all.
    """
    rng = np.random.default_rng(seed)
    num = rows + rows // 10
    spectrum = (1.0 + np.arange(width)) ** -0.6
    between = (1.0 + np.arange(width)) ** -0.8
    spectrum, between = (one / np.linalg.norm(one) for one in (spectrum, between))
    centres = 0.8 * rng.standard_normal((classes, width)) + 0.6 * np.repeat(
        rng.standard_normal((GROUPS, width)), -(-classes // GROUPS), axis=0
    )[:classes].take(rng.permutation(classes), axis=0)
    class_of = rng.permutation(np.arange(num) % classes)
    length = np.exp(0.25 * rng.standard_normal((num, 1), np.float32))
    features = rng.standard_normal((num, width), np.float32) * np.float32(spectrum) * length
    features += np.float32(separation * centres * between)[class_of]
    features = features @ np.float32(np.linalg.qr(rng.standard_normal((width, width)))[0])
    scale = np.exp(0.4 * rng.standard_normal(width))
    mean = 0.5 * rng.standard_normal(width) * scale / math.sqrt(width)
    mean[rng.integers(0, width, 3)] *= 20
    features = 10 * (features * np.float32(scale) + np.float32(mean))
    labels = class_of.copy()
    wrong = rng.random(num) < 0.02
    labels[wrong] = rng.integers(0, classes, wrong.sum())
    cuts = [rows - rows // 10, rows]
    return Data(
        *(
            (np.ascontiguousarray(x), y)
            for x, y in zip(np.split(features, cuts), np.split(labels, cuts), strict=True)
        )
    )


def objective(features, class_of, kernel, bias, strength: float) -> float:
    """The objective of `bigclip.evals.probes.linear.objective` by its formula, in float64."""
    total = 0.0
    kernel = np.asarray(kernel, np.float64)
    for start in range(0, len(features), 4096):
        block = slice(start, start + 4096)
        logits = features[block].astype(np.float64) @ kernel + bias
        own = np.take_along_axis(logits, class_of[block, None], axis=1)[:, 0]
        total += float((scipy.special.logsumexp(logits, axis=1) - own).sum())
    return (total + strength / 2 * float((kernel**2).sum())) / len(features)


class ScikitLearn:
    """Training data for `search_strength`, fitted by scikit-learn one strength at a time."""

    entropy = 0.0  # its own tolerance decides

    def __init__(self, features: np.ndarray, class_of: np.ndarray, *, warm: bool, log: list):
        self._features, self._class_of, self._warm, self.log = features, class_of, warm, log
        self._fitted: dict[float, tuple[np.ndarray, np.ndarray]] = {}

    def fit(self, strengths: Sequence[float], *, start=None, **_: Any):
        """Fit each strength; what `LogisticRegression.fit` of bigclip gives, as far as asked."""
        from sklearn.linear_model import LogisticRegression

        from bigclip.evals.probes.linear.logistic import Fit

        for strength in strengths:
            model = LogisticRegression(C=1 / strength, max_iter=1000, warm_start=self._warm)
            if self._warm and self._fitted:
                near = min(self._fitted, key=lambda one: abs(math.log(one / strength)))
                kernel, bias = self._fitted[near]
                model.coef_, model.intercept_ = kernel.T.copy(), bias.copy()
            started = time.monotonic()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # weak strengths run out of iterations, as told
                model.fit(self._features, self._class_of)
            self._fitted[strength] = (model.coef_.T, model.intercept_)
            self.log.append((strength, int(model.n_iter_[0]), time.monotonic() - started))
            print(f"scikit-learn {self.log[-1]}", file=sys.stderr, flush=True)
        kernel, bias = (np.stack([self._fitted[one][i] for one in strengths]) for i in range(2))
        iterations = np.array([one[1] for one in self.log[-len(strengths) :]])
        return Fit(
            strengths=np.asarray(strengths),
            kernel=kernel,
            bias=bias,
            objective=np.full(len(iterations), np.nan),  # the search does not ask
            iterations=iterations,
            converged=iterations < model.max_iter,
            evaluations=float(iterations.mean()),
        )


def run_bigclip(data: Data, classes: int) -> dict[str, Any]:
    """Sweep and final fit by bigclip; compiling counts."""
    from bigclip.evals.probes.linear.logistic import LogisticRegression
    from bigclip.evals.probes.linear.sweep import search_strength

    started, cpu = time.monotonic(), time.process_time()
    train = LogisticRegression(*data.train, classes)
    sweep = search_strength(train, lambda kernel, bias: _accuracy(data.val, kernel, bias))
    swept = time.monotonic() - started
    both = train.with_rows(*data.val)
    fit = both.fit([sweep.strength], start=(sweep.kernel[None], sweep.bias[None]))
    seconds = time.monotonic() - started
    return {
        "strength": sweep.strength,
        "tried": sweep.tried,
        "kernel": fit.kernel[0],
        "bias": fit.bias[0],
        "sweep_seconds": swept,
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu,
        "passes": sweep.evaluations + fit.evaluations,
        "sweep_kernel": sweep.kernel,
        "sweep_bias": sweep.bias,
    }


def run_scikit_learn(data: Data, *, warm: bool) -> dict[str, Any]:
    """The same by scikit-learn."""
    from bigclip.evals.probes.linear.sweep import search_strength

    log: list = []
    started, cpu = time.monotonic(), time.process_time()
    train = ScikitLearn(*data.train, warm=warm, log=log)
    sweep = search_strength(train, lambda kernel, bias: _accuracy(data.val, kernel, bias))
    swept = time.monotonic() - started
    both = ScikitLearn(
        *map(np.concatenate, zip(data.train, data.val, strict=True)), warm=warm, log=log
    )
    if warm:
        both._fitted[sweep.strength] = (sweep.kernel, sweep.bias)
    fit = both.fit([sweep.strength])
    return {
        "strength": sweep.strength,
        "tried": sweep.tried,
        "kernel": fit.kernel[0],
        "bias": fit.bias[0],
        "sweep_seconds": swept,
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - cpu,
        "passes": sum(one[1] for one in log),
        "sweep_kernel": sweep.kernel,
        "sweep_bias": sweep.bias,
    }


def _accuracy(part: tuple[np.ndarray, np.ndarray], kernel, bias) -> float:
    features, class_of = part
    return float(((features @ kernel + bias).argmax(axis=1) == class_of).mean())


def main(argv: Sequence[str]) -> None:
    """Run both sides and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probe", description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000, help="training and validation rows")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--separation", type=float, default=0.38)
    parser.add_argument("--warm", action="store_true", help="warm starts for scikit-learn")
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args(argv)
    data = make_data(args.rows, args.width, args.classes, separation=args.separation)
    sides = {"bigclip": run_bigclip(data, args.classes)}
    print(f"bigclip {sides['bigclip']['seconds']:.1f} s", file=sys.stderr, flush=True)
    name = "scikit-learn, warm" if args.warm else "scikit-learn"
    sides[name] = run_scikit_learn(data, warm=args.warm)
    both = tuple(map(np.concatenate, zip(data.train, data.val, strict=True)))
    rows = []
    for side, found in sides.items():
        value = objective(*both, found["kernel"], found["bias"], found["strength"])
        found["objective"], found["test"] = (
            value,
            _accuracy(data.test, found["kernel"], found["bias"]),
        )
        rows.append(
            [
                side,
                f"{found['seconds']:.1f}",
                f"{found['cpu_seconds']:.1f}",
                f"{found['passes']:.0f}",
                f"{found['strength']:.3g}",
                f"{value:.9f}",
                f"{100 * found['test']:.2f}%",
            ]
        )
    header = ["side", "seconds", "CPU seconds", "passes", "strength", "objective", "test top-1"]
    print(f"{args.rows:,} x {args.width}, {args.classes} classes, sweep included\n")
    print(markdown(header, rows))
    ours, theirs = sides.values()
    print(f"\n{theirs['seconds'] / ours['seconds']:.1f} times as fast as {name}")
    if ours["strength"] != theirs["strength"]:
        same = objective(*both, theirs["kernel"], theirs["bias"], theirs["strength"])
        print(f"\nThe sides chose different strengths; theirs is {same:.9f} at their own.")
    if args.json:
        plain = {
            side: {key: value for key, value in found.items() if not isinstance(value, np.ndarray)}
            for side, found in sides.items()
        }
        with open(args.json, "w") as file:
            json.dump({"arguments": vars(args), "sides": plain}, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
