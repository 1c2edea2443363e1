"""Suite `robustness`: zero-shot classification of pictures after corruptions at five strengths.

The corruptions are those of ImageNet-C (`bigclip.evals.robustness.corruptions`), applied to the
prepared picture as the model sees it, and drawn by a seed: the same at every step and in every run.
The error relative to AlexNet's, mCE, is for ImageNet alone; here stand accuracies, and the share of
the clean accuracy that is left.
"""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from bigclip.config import ConfigError, suggest
from bigclip.evals.embedding import Model, embed_texts
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.labels import class_index, read_labels
from bigclip.evals.ranks import ranking, recall
from bigclip.evals.records import unique
from bigclip.evals.robustness.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from bigclip.evals.sets import EvalSet
from bigclip.evals.zero_shot.class_scores import Ensemble, ensemble, normalize
from bigclip.evals.zero_shot.classes import keep_candidates, read_classes
from bigclip.evals.zero_shot.namings import name_classes
from bigclip.evals.zero_shot.prompts import read_templates

_CLEAN = ("clean", 0)


class Robustness:
    """Classify corrupted pictures by the names of their classes.

    Args:
        test: the evaluation set.
        label, names, classes, templates, candidates, tile: as of
            `bigclip.evals.zero_shot.suite.ZeroShot`. A picture with several labels is right if the
            first class is one of them; one without any is left out.
        corruptions: some of `bigclip.evals.robustness.corruptions.CORRUPTIONS`; all by default.
        strengths: some of 1 to 5.
        num_images: how many pictures to take, drawn by the seed; None takes all. With all
            corruptions and strengths each is embedded 71 times.
        seed: draws the pictures and the noise.

    Attributes:
        content: what was read from files and tables, for the hash of a result's definition.

    Raises:
        ConfigError: for an unknown corruption or strength, and as `ZeroShot`.
    """

    kind = "robustness"

    def __init__(
        self,
        test: EvalSet,
        *,
        label: str | None = None,
        names: str | None = None,
        classes: str | Sequence[Any] | dict[str, Any] | None = None,
        templates: str | Sequence[str] = ("{}",),
        candidates: str | Sequence[Any] | None = None,
        corruptions: Sequence[str] = tuple(CORRUPTIONS),
        strengths: Sequence[int] = STRENGTHS,
        num_images: int | None = 512,
        seed: int = 0,
        tile: int = 1024,
    ):
        self._conditions = _conditions(corruptions, strengths)
        if num_images is not None and (not isinstance(num_images, int) or num_images < 1):
            raise ConfigError(f"num_images must be at least 1, or None, not {num_images!r}.")
        if not isinstance(seed, int) or seed < 0:
            raise ConfigError(f"seed must be an integer from 0 on, not {seed!r}.")
        labels = read_labels(test.records, label)
        every = read_classes(labels, classes, test.records.captions, names)
        index = class_index(labels, [cls.label for cls in every])
        kept = list(range(len(every)))
        if candidates is not None:
            kept = keep_candidates(every, candidates)
        position = {old: new for new, old in enumerate(kept)}
        of = [[position[c] for c in own if c in position] for own in index]
        rows = [row for row, own in enumerate(of) if own]
        if not rows:
            raise ConfigError("candidates: no record is of any of these classes.")
        if num_images is not None and num_images < len(rows):
            chosen = np.random.default_rng(seed).choice(len(rows), num_images, replace=False)
            rows = [rows[i] for i in sorted(chosen)]
        naming = name_classes([every[i] for i in kept], read_templates(templates))
        self._prompts = unique([p for parts in naming.prompts for part in parts for p in part])
        self._prompts_of = naming.ensembles({p: i for i, p in enumerate(self._prompts)})
        self._test, self._rows, self._seed, self._tile = test, rows, seed, tile
        self._of = {test.records.index[row]: of[row] for row in rows}
        self._key = {test.records.index[row]: test.records.key[row] for row in rows}
        self._threads = ThreadPoolExecutor(min(os.cpu_count() or 1, 16))
        self.content = [naming]

    def evaluate(self, model: Model) -> Evaluation:
        """Classify the clean pictures, and each after every corruption at every strength."""
        prompt_outputs = embed_texts(model, self._prompts)
        hits: dict[tuple[str, int], list[float]] = {_CLEAN: []} | {c: [] for c in self._conditions}
        chance: list[float] = []
        made: Ensemble | None = None
        index = [self._test.records.index[row] for row in self._rows]
        for group, images in self._test.pictures.batches(model, index):
            here = [row for row in model.rows_here(len(images)) if row < len(group)]
            waiting = self._start(_CLEAN, group, images, here)
            for condition, following in zip(hits, [*self._conditions, None], strict=True):
                spoilt = images.copy()
                for row, future in waiting.items():
                    spoilt[row] = future.result()
                if following:  # made on the host while the device embeds this one
                    waiting = self._start(following, group, images, here)
                outputs = model.embed_images(spoilt)
                if made is None:
                    made = ensemble(model, outputs, prompt_outputs, self._prompts_of)
                ranks = self._rank(made, outputs, group)
                hits[condition] += recall.hits(ranks, 1)[: len(group)].tolist()
            chance += recall.chance_hits(ranks, 1)[: len(group)].tolist()
        return self._evaluation({c: float(np.mean(h)) for c, h in hits.items()}, np.mean(chance))

    def _start(
        self, condition: tuple[str, int], group: Sequence[int], images: np.ndarray, here
    ) -> dict[int, Future]:
        name, strength = condition
        if condition == _CLEAN:
            return {}
        return {
            row: self._threads.submit(
                corrupt, images[row], name, strength, seed=self._seed, key=self._key[group[row]]
            )
            for row in here
        }

    def _rank(self, made: Ensemble, outputs: Any, group: Sequence[int]) -> ranking.Ranks:
        """Rank the classes for a whole batch: one shape, whatever the rows that fill it up."""
        outputs = normalize(outputs) if made.kind == "embeddings" else outputs
        pairs = np.array([(row, c) for row, i in enumerate(group) for c in self._of[i]])
        ranks, _ = ranking.rank_pairs(outputs, made.classes, pairs, tile=self._tile, **made.scoring)
        return ranks

    def _evaluation(self, top1: dict[tuple[str, int], float], chance: float) -> Evaluation:
        clean = top1.pop(_CLEAN)
        names = list(dict.fromkeys(name for name, _ in top1))
        table = {name: [v for (one, _), v in top1.items() if one == name] for name in names}
        mean = float(np.mean([np.mean(values) for values in table.values()]))
        metrics = {"clean": clean, "mean": mean, "relative": mean / clean if clean > 0 else 0.0}
        metrics |= {name: float(np.mean(values)) for name, values in table.items()}
        metrics |= {f"{name}/{strength}": value for (name, strength), value in top1.items()}
        families: dict[str, list[float]] = {}
        for name in names:
            families.setdefault(CORRUPTIONS[name].family, []).append(metrics[name])
        return Evaluation(
            metrics=metrics,
            chance={name: float(chance) for name in metrics if name != "relative"},
            counts={
                "images": len(self._rows),
                "classes": len(self._prompts_of),
                "corruptions": len(names),
            },
            details={
                "strengths": sorted({strength for _, strength in top1}),
                "table": {name: [round(v, 4) for v in row] for name, row in table.items()},
                "families": {name: round(float(np.mean(v)), 4) for name, v in families.items()},
            },
        )


def _conditions(corruptions: Sequence[str], strengths: Sequence[int]) -> list[tuple[str, int]]:
    for option, values, valid in (
        ("corruptions", corruptions, tuple(CORRUPTIONS)),
        ("strengths", strengths, STRENGTHS),
    ):
        if not isinstance(values, list | tuple) or not values:
            raise ConfigError(f"{option} must be a list, not {values!r}.")
        for value in values:
            if value not in valid or isinstance(value, bool):
                hint = suggest(str(value), map(str, valid))
                raise ConfigError(f"{option}: no choice {value!r}.{hint}")
        if len(set(values)) < len(values):
            raise ConfigError(f"{option} has something twice: {values!r}.")
    return [(name, strength) for name in corruptions for strength in sorted(strengths)]
