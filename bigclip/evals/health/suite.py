"""Suite `health`: is the embedding space in order, whatever the model can tell apart?

Alignment, uniformity, the modality gap and the effective rank (`bigclip.evals.health.geometry`),
and the logits of right and wrong pairs (`bigclip.evals.health.pair_logits`). They show what
accuracy hides, or shows late: embeddings that collapse into a few directions, a logit scale that
runs away, positives that no longer part from negatives. And a map of some of the images, for the
report.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bigclip.evals import options
from bigclip.evals.embedding import Model, are_vectors, embed_texts
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.health import geometry
from bigclip.evals.health.map2d import map_2d
from bigclip.evals.health.pair_logits import PairLogits, pair_logits
from bigclip.evals.records import metadata_values
from bigclip.evals.sets import EvalSet
from bigclip.evals.texts import set_texts


class Health:
    """Describe the embeddings of a set of pictures and their texts.

    Equal texts are one text. Where a task's outputs are not one vector each, what needs vectors is
    left out. If an embedding or a logit is not a finite number, the only metric is `finite`, 0.

    Args:
        test: the set; records without a text are left out.
        captions: the texts of an image, as in `bigclip.evals.retrieval.suite.Retrieval`.
        template: what every text is put into, at {}.
        captions_per_image: keep the first so many texts of an image.
        bins: of the histograms of logits.
        map_points: images on the map, at most; 0 for no map.
        map_label: a metadata key that gives the points of the map their labels.
        seed: draws the images of the map.
        tile: largest number of rows and of columns that are scored at once.

    Raises:
        ConfigError: for options that do not fit the records.
    """

    def __init__(
        self,
        test: EvalSet,
        *,
        captions: Sequence[str] = ("txt",),
        template: str = "{}",
        captions_per_image: int | None = None,
        bins: int = 60,
        map_points: int = 400,
        map_label: str | None = None,
        seed: int = 0,
        tile: int = 1024,
    ):
        records = test.records
        options.whole(bins, "bins")
        options.whole(map_points, "map_points", least=0)
        options.whole(tile, "tile")
        options.seed(seed)
        if map_label is not None:
            options.text(map_label, "map_label")
        found = set_texts(
            records.captions, captions, template=template, captions_per_image=captions_per_image
        )
        self._images, self._prompts = found.images, found.prompts
        row = {image: position for position, image in enumerate(found.images)}
        self._pairs = np.array([(row[image], text) for image, text in found.pairs.tolist()])
        self._test, self._bins, self._tile, self._seed = test, bins, tile, seed
        self._labels = (
            metadata_values(records, map_label, "map_label") if map_label else [""] * len(found.of)
        )
        order = np.random.default_rng(seed).permutation(len(self._images))
        self._on_map = np.sort(order[:map_points])

    def evaluate(self, model: Model) -> Evaluation:
        """Embed the set and describe it."""
        image_outputs = self._test.embed(model, self._images)
        text_outputs = embed_texts(model, self._prompts)
        logits = pair_logits(
            image_outputs,
            text_outputs,
            self._pairs,
            score_fn=model.task.score,
            params=model.score_params,
            bins=self._bins,
            tile=self._tile,
        )
        metrics = {"finite": float(logits is not None)}
        details: dict[str, Any] = {"histograms": {}, "map": []}
        if logits is not None:
            metrics |= _logit_metrics(logits) | _learned_scale(model.score_params)
            details["histograms"] = _histograms(logits)
            if are_vectors(image_outputs, text_outputs):
                metrics |= self._geometry(image_outputs, text_outputs)
                details["map"] = self._map(image_outputs)
            if "projected" in model.image_layers:
                features = self._test.features(model, ("projected",), self._images)["projected"]
                norms = np.linalg.norm(features.astype(np.float64), axis=-1)
                metrics |= {
                    "image_norm_mean": float(norms.mean()),
                    "image_norm_std": float(norms.std()),
                }
        return Evaluation(
            metrics=metrics,
            chance={},
            counts={
                "images": len(self._images),
                "texts": len(self._prompts),
                "pairs": len(self._pairs),
                "images_without_text": len(self._labels) - len(self._images),
            },
            details=details,
        )

    def _geometry(self, image_emb: np.ndarray, text_emb: np.ndarray) -> dict[str, float]:
        metrics = {
            "alignment": geometry.alignment(image_emb, text_emb, self._pairs),
            "modality_gap": geometry.modality_gap(image_emb, text_emb),
            **_cosines(image_emb, text_emb, self._pairs),
        }
        for name, emb in (("image", image_emb), ("text", text_emb)):
            metrics[f"effective_rank_{name}"] = geometry.effective_rank(emb)
            if len(emb) > 1:
                metrics[f"uniformity_{name}"] = geometry.uniformity(emb, tile=self._tile)
                metrics[f"mean_cosine_{name}"] = geometry.mean_cosine(emb)
        return metrics

    def _map(self, image_emb: np.ndarray) -> list[dict[str, Any]]:
        if not len(self._on_map):
            return []
        records, points = self._test.records, []
        for row, (x, y) in zip(
            self._on_map, map_2d(image_emb[self._on_map], self._seed).tolist(), strict=True
        ):
            i = self._images[row]
            points.append(
                {
                    "record": records.index[i],
                    "key": records.key[i],
                    "x": round(x, 4),
                    "y": round(y, 4),
                    "label": self._labels[i],
                }
            )
        return points


def _cosines(image_emb, text_emb, pairs) -> dict[str, float]:
    """The mean cosine of the pairs, and of all others; that of all is the cosine of the sums."""
    positive = 1.0 - geometry.alignment(image_emb, text_emb, pairs) / 2.0
    metrics = {"positive_cosine_mean": positive}
    negatives = len(image_emb) * len(text_emb) - len(pairs)
    if negatives:
        total = image_emb.sum(0, dtype=np.float64) @ text_emb.sum(0, dtype=np.float64)
        metrics["negative_cosine_mean"] = float((total - positive * len(pairs)) / negatives)
    return metrics


def _logit_metrics(logits: PairLogits) -> dict[str, float]:
    metrics = {}
    for name, side in (("positive", logits.positive), ("negative", logits.negative)):
        if side is not None:
            metrics[f"{name}_logit_mean"] = side.mean
            metrics[f"{name}_logit_std"] = side.std
    return metrics


def _learned_scale(params: Any) -> dict[str, float]:
    """The scale and the bias that turn cosines into logits, where the task has them."""
    metrics = {}
    if isinstance(params, Mapping):
        if "log_logit_scale" in params:
            metrics["logit_scale"] = float(np.exp(np.asarray(params["log_logit_scale"])))
        if "logit_bias" in params:
            metrics["logit_bias"] = float(np.asarray(params["logit_bias"]))
    return metrics


def _histograms(logits: PairLogits) -> dict[str, Any]:
    edges = logits.edges.tolist()
    return {
        name: {"edges": edges, "counts": side.histogram.tolist()}
        for name, side in (("positive", logits.positive), ("negative", logits.negative))
        if side is not None
    }
