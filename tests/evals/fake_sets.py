"""Evaluation sets whose features are given, instead of computed from pictures."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from bigclip.evals.ranks import ranking
from bigclip.evals.records import Records


class FakeSet:
    """A set with features by layer, as `bigclip.evals.sets.EvalSet` gives them.

    Args:
        layers: layer -> [I, ...]; "embedding" is also what `embed` gives.
        labels: metadata "label" of each record.
        captions: captions of each record.
    """

    def __init__(
        self,
        layers: Mapping[str, np.ndarray],
        labels: Sequence[Any] | None = None,
        captions: Sequence[dict] | None = None,
    ):
        self._layers = layers
        self.asked: list[int] = []
        num = len(next(iter(layers.values())))
        self.records = Records(
            source=object(),
            index=[10 + i for i in range(num)],
            key=[f"record {i}" for i in range(num)],
            captions=list(captions or [{} for _ in range(num)]),
            metadata=[{"label": label} for label in labels] if labels is not None else [{}] * num,
            fingerprint=str(id(self)),
        )

    def embed(self, model, rows=None) -> np.ndarray:
        return self.features(model, ("embedding",), rows)["embedding"]

    def features(self, model, layers, rows=None) -> dict[str, np.ndarray]:
        rows = list(range(len(self.records.index))) if rows is None else list(rows)
        self.asked += rows
        return {layer: self._layers[layer][rows] for layer in layers}


def fake_model(texts: Mapping[str, np.ndarray] | None = None, **more: Any) -> SimpleNamespace:
    """Return what the suites ask of a model beside the features; `texts` are embedded as given."""
    return SimpleNamespace(
        image_layers=("embedding", "projected", "pooled", "tokens"),
        task=SimpleNamespace(score=ranking.inner_product),
        score_params=None,
        embed_texts=lambda wanted: np.stack([texts[text] for text in wanted]),
        **more,
    )


def blobs(
    seed: int, num: int, num_classes: int, dim: int, *, spread: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 [num, dim] around one centre a class, and the classes, [num] int."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(num_classes, dim))
    class_of = rng.permutation(np.arange(num) % num_classes)
    features = centres[class_of] + spread * rng.normal(size=(num, dim))
    return features.astype(np.float32), class_of
