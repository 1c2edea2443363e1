"""Suite `limits`: what CLIP-like models are known to be bad at, on scenes drawn for the purpose.

Six skills, one module each: `counting`, `spatial`, `word_order`, `attributes`, `negation`, and the
`control` that tells whether the model knows the words at all. The pictures are drawn at the
model's own size by a seed, the same at every step and in every run. `docs/limits.md` tells how the
sets are built, and how to read the numbers.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from bigclip.config import ConfigError, choose
from bigclip.data.thumbnails import as_webp, data_uri
from bigclip.evals import options
from bigclip.evals.embedding import Model, are_vectors, embed_drawn, embed_texts, take
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.limits import attributes, control, counting, negation, spatial, word_order
from bigclip.evals.limits.casts import CASTS
from bigclip.evals.limits.items import BALANCED, ItemSet
from bigclip.evals.limits.scenes import draw
from bigclip.evals.limits.scoring import (
    WINOGROUND_CHANCE,
    choice_accuracy,
    standard_error,
    winoground_scores,
)
from bigclip.evals.records import unique
from bigclip.evals.texts import fill

_MAKERS: dict[str, Callable[..., list[ItemSet]]] = {
    "control": control.make_sets,
    "counting": counting.make_sets,
    "spatial": spatial.make_sets,
    "word_order": word_order.make_sets,
    "attributes": attributes.make_sets,
    "negation": negation.make_sets,
}
SKILLS = tuple(_MAKERS)
_SCORED_AT_ONCE = 64  # pictures
_EXAMPLE_SIZE = 72  # pixels of the report's pictures


class Limits:
    """Choose the right text for drawn pictures, out of texts that differ in the one point tested.

    Args:
        skills: some of `SKILLS`.
        objects: who plays: "shapes" (coloured plane figures) or "emoji" (pictures of the embedded
            data, for models that know things better than geometry; no colours, nothing inside of
            anything).
        num_sets: sets of each sub-condition, a multiple of 12.
        counts: the numbers of `counting`, between 1 and 9.
        template: the prompt around every text, with one {}.
        seed: decides the scenes.
        num_examples: examples of each skill kept for the report, right ones and as many wrong ones.

    Attributes:
        sets: skill -> its sets of scenes and texts.

    Raises:
        ConfigError: for an unknown skill or cast, or numbers outside these bounds.
    """

    def __init__(
        self,
        *,
        skills: Sequence[str] = SKILLS,
        objects: str = "shapes",
        num_sets: int = 48,
        counts: Sequence[int] = (2, 3, 4, 5, 6),
        template: str = "{}",
        seed: int = 0,
        num_examples: int = 2,
    ):
        skills = options.choices(skills, SKILLS, "skills")
        cast = choose(objects, CASTS, "objects")
        if options.whole(num_sets, "num_sets") % BALANCED:
            raise ConfigError(
                f"num_sets must be a positive multiple of {BALANCED}, not {num_sets!r}: only then "
                "every thing and colour is right equally often."
            )
        count = functools.partial(options.whole, most=len(counting.NUMBERS))
        counts = options.several(counts, "counts", count, least_count=2)
        options.whole(num_examples, "num_examples", least=0)
        options.seed(seed)
        fill(options.text(template, "template"), "", "template")
        self._template, self._seed, self._num_examples = template, seed, num_examples
        self._painter = functools.cache(cast.make_painter)  # made when first needed
        self.sets = {
            skill: _MAKERS[skill](
                num_sets,
                cast,
                np.random.default_rng([seed, SKILLS.index(skill)]),
                **({"counts": tuple(counts)} if skill == "counting" else {}),
            )
            for skill in skills
        }

    def evaluate(self, model: Model) -> Evaluation:
        """Draw the scenes at the model's size, embed them and the texts, and choose."""
        every_text = unique([t for sets in self.sets.values() for s in sets for t in s.texts])
        texts = [fill(self._template, text, "template") for text in every_text]
        text_outputs = embed_texts(model, texts)
        position = {text: i for i, text in enumerate(every_text)}
        metrics: dict[str, float] = {}
        chance: dict[str, float] = {}
        details: dict[str, Any] = {"skills": {}, "examples": []}
        num_images, size, painter = 0, model.preprocess.size, self._painter()
        for skill, sets in self.sets.items():
            scenes = [scene for s in sets for scene in s.scenes]
            image_outputs = embed_drawn(
                model, len(scenes), lambda i, scenes=scenes: draw(scenes[i], size, painter)
            )
            index = [position[text] for s in sets for text in s.texts]
            scores = set_scores(model, image_outputs, take(text_outputs, index), len(sets))
            chosen = choice_accuracy(scores)
            num_images += chosen.size
            metrics[skill], chance[skill] = float(chosen.mean()), 1 / chosen.shape[1]
            for name, values in winoground_scores(scores).items():
                metrics[f"{skill}/{name}"] = float(values.mean())
                chance[f"{skill}/{name}"] = WINOGROUND_CHANCE[name]
            details["skills"][skill] = _skill_details(sets, chosen)
            details["examples"] += self._skill_examples(skill, sets, scores, chosen)
        tested = [skill for skill in self.sets if skill != "control"]
        if tested:
            metrics["mean"] = float(np.mean([metrics[skill] for skill in tested]))
            chance["mean"] = float(np.mean([chance[skill] for skill in tested]))
        counts = {
            "images": num_images,
            "texts": len(texts),
            "sets": sum(len(sets) for sets in self.sets.values()),
        }
        return Evaluation(metrics=metrics, chance=chance, counts=counts, details=details)

    def _skill_examples(
        self, skill: str, sets: Sequence[ItemSet], scores: np.ndarray, chosen: np.ndarray
    ) -> list[dict[str, Any]]:
        """Return the first right and wrong items in an order that the seed decides."""
        order = np.random.default_rng([self._seed, SKILLS.index(skill), 1]).permutation(chosen.size)
        is_right = chosen.flat[order] == 1
        num = self._num_examples
        found = []
        for flat in [*order[is_right][:num], *order[~is_right][:num]]:
            number, item = divmod(int(flat), chosen.shape[1])
            others = [k for k in range(chosen.shape[1]) if k != item]
            entry = sets[number]
            picture = draw(entry.scenes[item], _EXAMPLE_SIZE, self._painter())
            found.append(
                {
                    "skill": skill,
                    "condition": entry.condition,
                    "image": data_uri(as_webp(picture)),
                    "right_text": entry.texts[item],
                    "wrong_texts": [entry.texts[k] for k in others],
                    "scores": [_rounded(scores[number, item, k]) for k in [item, *others]],
                    "is_right": bool(chosen[number, item] == 1),
                }
            )
        return found


def set_scores(model: Model, image_outputs: Any, text_outputs: Any, num_sets: int) -> np.ndarray:
    """Score the pictures of each set with its own texts.

    Where outputs are vectors, several sets are scored in one product and most of it is thrown
    away; any other score may be as dear as a decoder's run, and is taken a set at a time.

    Args:
        model: scores.
        image_outputs, text_outputs: arrays or trees, leading axis num_sets * K, a set after
            the other.
        num_sets: S.

    Returns:
        [S, K, K] float32, pictures as rows.
    """
    total = len(jax.tree.leaves(image_outputs)[0])
    length = total // num_sets
    at_once = 1
    if are_vectors(image_outputs, text_outputs):
        at_once = min(num_sets, max(_SCORED_AT_ONCE // length, 1))
    blocks = []
    for start in range(0, num_sets, at_once):
        start = min(start, num_sets - at_once)  # the last call repeats some: one shape for all
        rows = range(start * length, (start + at_once) * length)
        scores = np.asarray(model.score(take(image_outputs, rows), take(text_outputs, rows)))
        scores = scores.reshape(at_once, length, at_once, length)
        each = np.arange(at_once)
        blocks.append((start, scores[each, :, each, :]))
    found = np.empty((num_sets, length, length), np.float32)
    for start, block in blocks:
        found[start : start + at_once] = block
    return found


def _skill_details(sets: Sequence[ItemSet], chosen: np.ndarray) -> dict[str, Any]:
    parts: dict[str, list[float]] = {}
    for entry, values in zip(sets, chosen, strict=True):
        parts.setdefault(entry.condition, []).extend(values)
    for entry, values in zip(sets, chosen, strict=True):
        for label, value in zip(entry.labels, values, strict=False):
            parts.setdefault(label, []).append(value)
    return {
        "accuracy": round(float(chosen.mean()), 4),
        "chance": 1 / chosen.shape[1],
        "standard_error": round(standard_error(chosen.mean(axis=1)), 4),
        "items": chosen.size,
        "by": {name: round(float(np.mean(values)), 4) for name, values in parts.items()},
    }


def _rounded(score: float) -> float | None:
    return round(float(score), 4) if np.isfinite(score) else None
