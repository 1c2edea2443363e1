"""Suite `zero_shot`: classify pictures by the names of the classes, in prompt templates.

Every class name is put into every template; each prompt's embedding is L2-normalised, a class is
the mean of its prompts' embeddings, normalised again (ensembling in embedding space; arXiv
2103.00020, section 3.1.4), and the score is the inner product with the normalised image embedding.

That needs embeddings that are vectors. Where a task's outputs are something else (trees, mixtures,
per-token outputs), a class's score is the mean of the task's own scores of its prompts.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bigclip.config import ConfigError
from bigclip.evals import examples, ranking, recall
from bigclip.evals.classes import read_classes
from bigclip.evals.embedding import Model, embed_texts
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.records import metadata_values, unique
from bigclip.evals.sets import EvalSet
from bigclip.evals.texts import fill

KS = (1, 5)


class ZeroShot:
    """Classify a set of records by the names of their classes.

    Args:
        test: the evaluation set.
        label: the metadata key that holds a record's class.
        names: the caption source whose first text names the class, where `classes` is not given.
        classes: the classes, where they do not come from the records: a list of names, a dict
            label -> name or list of names, or the path of a .json file with one of these or of a
            .txt file with one name a line. Of a list, a record's label is the name itself or its
            position. Classes without a record stay candidates.
        templates: the prompts, each with one {}.
        tile: largest number of images and of classes that are scored at once.
        num_examples: ranked examples kept for the report.
        num_candidates: candidates kept of each example.
        example_seed: draws the examples.
    """

    kind = "zero_shot"

    def __init__(
        self,
        test: EvalSet,
        *,
        label: str = "concept",
        names: str = "name",
        classes: str | Sequence[str] | Mapping[str, Any] | None = None,
        templates: Sequence[str] = ("{}",),
        tile: int = 1024,
        num_examples: int = 8,
        num_candidates: int = 8,
        example_seed: int = 0,
    ):
        if isinstance(templates, str) or not templates:
            raise ConfigError(f"templates must be a list of prompts with {{}}, not {templates!r}.")
        records = test.records
        labels = metadata_values(records, label, "label")
        self._classes, self._class_of = read_classes(labels, classes, records.captions, names)
        self._templates = list(templates)
        prompts = [
            [fill(template, name, "templates") for name in cls.names for template in templates]
            for cls in self._classes
        ]
        self._prompts = unique([prompt for group in prompts for prompt in group])
        position = {prompt: i for i, prompt in enumerate(self._prompts)}
        self._prompt_index = [[position[prompt] for prompt in group] for group in prompts]
        self._test, self._records, self._tile = test, records, tile
        self._examples = (num_examples, num_candidates, example_seed)

    def evaluate(self, model: Model) -> Evaluation:
        """Embed pictures and prompts with `model` and classify."""
        image_outputs = self._test.embed(model)
        prompt_outputs = embed_texts(model, self._prompts)
        if _is_matrix(image_outputs) and _is_matrix(prompt_outputs):
            ensemble = "embeddings"
            image_outputs = normalize(image_outputs)
            class_outputs = ensemble_embeddings(prompt_outputs, self._prompt_index)
            scoring: dict[str, Any] = {"score_fn": ranking.inner_product, "params": None}
        else:
            ensemble = "scores"
            class_outputs = gather_prompts(prompt_outputs, self._prompt_index)
            scoring = {"score_fn": mean_score(model.task.score), "params": model.score_params}

        pairs = np.stack([np.arange(len(self._class_of)), self._class_of], axis=1)
        outputs = (image_outputs, class_outputs)
        ranks, _ = ranking.rank_pairs(*outputs, pairs, tile=self._tile, **scoring)
        top = recall.hits(ranks, 1)
        per_class = class_means(top, self._class_of, len(self._classes))
        metrics = {f"top{k}": float(recall.hits(ranks, k).mean()) for k in KS}
        metrics["mean_per_class"] = float(np.nanmean(per_class))
        chance = {f"top{k}": float(recall.chance_hits(ranks, k).mean()) for k in KS}
        chance["mean_per_class"] = chance["top1"]
        present = np.bincount(self._class_of, minlength=len(self._classes))
        return Evaluation(
            metrics=metrics,
            chance=chance,
            counts={
                "images": len(self._class_of),
                "classes": len(self._classes),
                "classes_with_images": int((present > 0).sum()),
                "templates": len(self._templates),
            },
            details={
                "ensemble": ensemble,
                "templates": self._templates,
                "per_class": {
                    cls.label: {
                        "name": cls.names[0],
                        "images": int(n),
                        "top1": round(float(value), 4),
                    }
                    for cls, n, value in zip(self._classes, present, per_class, strict=True)
                    if n
                },
                **self._ranked_examples(outputs, ranks, pairs, scoring),
            },
        )

    def _ranked_examples(self, outputs, ranks, pairs, scoring) -> dict[str, Any]:
        num_examples, num_candidates, seed = self._examples
        about = [frozenset([label]) for label in self._class_of.tolist()]
        chosen = {
            "image_to_text": examples.deal([about], num_examples, seed)[0],
            "mistakes": examples.confident_mistakes(
                *outputs, ranks, about, num_examples, **scoring
            ),
        }
        found = {}
        for name, queries in chosen.items():
            entries = queries and examples.ranked(
                queries,
                *outputs,
                ranks,
                pairs,
                num_candidates=num_candidates,
                by_text=False,
                **scoring,
            )
            found[name] = [
                {
                    "record": self._records.index[entry["query"]],
                    "key": self._records.key[entry["query"]],
                    "pool": "",
                    "candidates": len(self._classes),
                    "rank": entry["rank"],
                    "best": entry["best"],
                    "right": entry["right"],
                    "right_texts": [int(self._class_of[entry["query"]])],
                    "ranked": [
                        {"text": hit["candidate"], "score": hit["score"], "right": hit["right"]}
                        for hit in entry["ranked"]
                    ],
                }
                for entry in entries
            ]
        used = {
            text
            for entries in found.values()
            for entry in entries
            for text in entry["right_texts"] + [hit["text"] for hit in entry["ranked"]]
        }
        texts = {str(text): self._classes[text].names[0] for text in sorted(used)}
        return found | {"texts": texts, "seed": seed}


def normalize(emb: np.ndarray) -> np.ndarray:
    """L2-normalise the rows of [.., D]; a zero row stays zero."""
    emb = np.asarray(emb, np.float32)
    return emb / np.maximum(np.linalg.norm(emb, axis=-1, keepdims=True), 1e-12)


def ensemble_embeddings(prompt_emb: np.ndarray, prompts_of: Sequence[Sequence[int]]) -> np.ndarray:
    """Return class embeddings [C, D]: the normalised mean of normalised prompt embeddings.

    Args:
        prompt_emb: [T, D].
        prompts_of: the prompts of each of the C classes, as rows of `prompt_emb`.
    """
    unit = normalize(prompt_emb)
    return normalize(np.stack([unit[list(rows)].mean(axis=0) for rows in prompts_of]))


def gather_prompts(prompt_outputs: Any, prompts_of: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return per class its prompts' outputs [C, P, ...] and weights [C, P] that sum to 1."""
    most = max(len(rows) for rows in prompts_of)
    index = np.array([[*rows, *rows[:1] * (most - len(rows))] for rows in map(list, prompts_of)])
    weight = np.array(
        [[1 / len(rows)] * len(rows) + [0] * (most - len(rows)) for rows in prompts_of]
    )
    return {
        "prompts": jax.tree.map(lambda leaf: np.asarray(leaf)[index], prompt_outputs),
        "weight": weight.astype(np.float32),
    }


@functools.lru_cache(maxsize=16)
def mean_score(score_fn: Callable) -> Callable:
    """Turn a score of prompts into a score of classes: the weighted mean over their prompts."""

    def score(params: Any, images: Any, classes: dict[str, Any]) -> jax.Array:
        num_classes, num_prompts = classes["weight"].shape
        flat = jax.tree.map(
            lambda leaf: leaf.reshape(num_classes * num_prompts, *leaf.shape[2:]),
            classes["prompts"],
        )
        scores = score_fn(params, images, flat).reshape(-1, num_classes, num_prompts)
        return jnp.sum(scores * classes["weight"], axis=-1)

    return score


def class_means(values: np.ndarray, class_of: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the mean of `values` over each class's images, [C]; NaN for a class without any."""
    count = np.bincount(class_of, minlength=num_classes)
    total = np.bincount(class_of, weights=values, minlength=num_classes)
    return np.divide(total, count, out=np.full(num_classes, np.nan), where=count > 0)


def _is_matrix(outputs: Any) -> bool:
    return isinstance(outputs, np.ndarray) and outputs.ndim == 2
