"""Suite `attentive_probe`: attention pooling and a linear layer, trained on the frozen tokens.

What a tower's patches hold, beyond what its own pooling takes of them: the protocol for towers
that were not trained to give one vector (arXiv 2404.08471, section 4). See
`bigclip.evals.probes.attentive.head` for the recipe. The learning rate is chosen on a validation
set, never on the test set.
"""

from collections.abc import Sequence

import jax
import numpy as np

from bigclip.config import ConfigError
from bigclip.evals import options
from bigclip.evals.embedding import Model
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.predictions import class_means
from bigclip.evals.probes.attentive import head as attentive_head
from bigclip.evals.probes.attentive.head import AttentiveHead
from bigclip.evals.probes.frozen import features_of
from bigclip.evals.probes.held_out import hold_out
from bigclip.evals.probes.map_rows import map_rows
from bigclip.evals.probes.targets import read_targets
from bigclip.evals.sets import EvalSet

_CHUNK = 1024  # images whose tokens are taken at once
_TILE = 256  # images that are classified at once


class AttentiveProbe:
    """Train an attentive classifier on a set and try it on another.

    Args:
        test: what is classified.
        train: the training set; its labels are the classes.
        val: where the learning rate is chosen. Without it, a share of every class is held out of
            `train` for that, and not trained on.
        label: the metadata key that holds a record's class; "label" or "concept" by default.
        layer: the image features, a name of `model.image_layers` of one vector per token.
        num_heads: of the attention; by default, heads of 64 columns.
        learning_rates: tried side by side.
        weight_decay: of matrices.
        epochs: passes over the training set.
        batch_size: images of a minibatch.
        held_out: the share that is held out where there is no `val`.
        seed: decides the start, the order and what is held out.
        max_bytes: the tokens of the training set are kept in memory as float16, up to this.

    Raises:
        ConfigError: for options and labels that do not fit; in `evaluate`, for a layer that has no
            tokens, heads that do not divide its width, and tokens beyond `max_bytes`.
    """

    def __init__(
        self,
        test: EvalSet,
        train: EvalSet,
        val: EvalSet | None = None,
        *,
        label: str | None = None,
        layer: str = "tokens",
        num_heads: int | None = None,
        learning_rates: Sequence[float] = (1e-4, 3e-4, 1e-3, 3e-3),
        weight_decay: float = 1e-3,
        epochs: int = 20,
        batch_size: int = 256,
        held_out: float = 0.1,
        seed: int = 0,
        max_bytes: int = 8 << 30,
    ):
        rates = options.several(learning_rates, "learning_rates", options.positive)
        self._learning_rates = sorted(rates)
        if num_heads is not None:
            options.whole(num_heads, "num_heads")
        if weight_decay != 0:
            options.positive(weight_decay, "weight_decay")
        options.share(held_out, "held_out")
        self._recipe = {
            "weight_decay": float(weight_decay),
            "epochs": options.whole(epochs, "epochs"),
            "batch_size": options.whole(batch_size, "batch_size"),
            "seed": options.seed(seed),
        }
        self._layer, self._num_heads = options.text(layer, "layer"), num_heads
        self._max_bytes = options.whole(max_bytes, "max_bytes")
        sets = {"test": test, "train": train} | ({} if val is None else {"val": val})
        self._targets = read_targets(
            label, {name: one.records for name, one in sets.items()}, single=True
        )
        class_of = self._targets.of
        self._test, self._train = test, train
        if val is None:
            held = hold_out(class_of["train"], held_out, seed)
            self._fit_rows = np.flatnonzero(~held)
            self._val, self._val_rows = train, np.flatnonzero(held)
            self._val_class = class_of["train"][held]
        else:
            self._fit_rows = np.arange(len(class_of["train"]))
            self._val, self._val_rows = val, np.arange(len(class_of["val"]))
            self._val_class = class_of["val"]
        if not len(self._val_rows) and len(self._learning_rates) > 1:
            raise ConfigError(
                "train: no class has two records, so that none can be held out to choose the "
                "learning rate. Give a set `val`, or one learning rate."
            )

    def evaluate(self, model: Model) -> Evaluation:
        """Take the tokens, train the heads, choose one, classify the test set."""
        tokens = self._tokens(model)
        width = tokens.shape[-1]
        num_heads = self._num_heads or attentive_head.num_heads_for(width)
        if width % num_heads:
            raise ConfigError(
                f"num_heads = {num_heads} does not divide {width}, the width of {self._layer!r}."
            )
        classes, class_of = self._targets.classes, self._targets.of["test"]
        head = AttentiveHead(width, num_heads, len(classes))
        trained = attentive_head.train(
            head,
            tokens,
            self._targets.of["train"][self._fit_rows],
            learning_rates=self._learning_rates,
            **self._recipe,
        )
        del tokens
        val, best = [], 0
        if len(self._val_rows):
            found = self._classify(model, head, trained.params, self._val, self._val_rows)
            val = (found == self._val_class[:, None]).mean(axis=0).tolist()
            best = int(np.argmax(val))
        params = jax.tree.map(lambda leaf: leaf[best : best + 1], trained.params)
        rows = np.arange(len(class_of))
        right = self._classify(model, head, params, self._test, rows)[:, 0] == class_of
        return Evaluation(
            metrics={
                "top1": float(right.mean()),
                "mean_per_class": float(np.nanmean(class_means(right, class_of, len(classes)))),
            },
            chance=dict.fromkeys(("top1", "mean_per_class"), 1 / len(classes)),
            counts={
                "images": len(class_of),
                "train_images": len(self._fit_rows),
                "val_images": len(self._val_rows),
                "classes": len(classes),
            },
            details={
                "layer": self._layer,
                "num_heads": num_heads,
                "classes": classes,
                "learning_rate": self._learning_rates[best],
                "train_loss": _finite(trained.loss[best]),
                "sweep": [
                    {"learning_rate": rate, "val": value, "train_loss": _finite(loss)}
                    for rate, value, loss in zip(
                        self._learning_rates, val, trained.loss, strict=False
                    )
                ],
            },
            arrays=attentive_head.to_arrays(jax.tree.map(lambda leaf: leaf[0], params)),
        )

    def _tokens(self, model: Model) -> np.ndarray:
        """Return the training tokens, float16 [N, P, E]."""
        tokens = None
        for start in range(0, len(self._fit_rows), _CHUNK):
            rows = self._fit_rows[start : start + _CHUNK]
            (part,) = features_of(self._train, model, (self._layer,), rows, per_token=True)
            if tokens is None:
                tokens = np.empty((len(self._fit_rows), *part.shape[1:]), np.float16)
                if tokens.nbytes > self._max_bytes:  # numpy has not touched the memory yet
                    raise ConfigError(
                        f"the tokens of {len(tokens)} training images take "
                        f"{tokens.nbytes / 2**30:.1f} GiB, more than max_bytes "
                        f"({self._max_bytes / 2**30:.1f} GiB). Raise it if the memory is there, or "
                        "take fewer training records by `train.where`."
                    )
            tokens[start : start + len(rows)] = _half(part)
        return tokens

    def _classify(self, model, head, params, records: EvalSet, rows: np.ndarray) -> np.ndarray:
        """Return the classes [len(rows), R] that the heads predict, from tokens taken in chunks."""
        parts = []
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            (part,) = features_of(records, model, (self._layer,), chunk, per_token=True)
            fn = attentive_head.predict_fn(head)
            parts.append(map_rows(fn, params, _half(part), tile=_TILE))
        return np.concatenate(parts)


def _half(tokens: np.ndarray) -> np.ndarray:
    """Turn float32 into float16. Tokens come after a norm, far from its limits."""
    limit = np.finfo(np.float16).max
    return np.clip(tokens, -limit, limit).astype(np.float16)


def _finite(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
