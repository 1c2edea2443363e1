"""Suite `robustness`: zero-shot classification of pictures after corruptions at five strengths.

The corruptions are those of ImageNet-C (`bigclip.evals.robustness.corruptions`), applied to the
prepared picture as the model sees it, and drawn by a seed: the same at every step and in every run.
The error relative to AlexNet's, mCE, is for ImageNet alone; here stand accuracies, and the share of
the clean accuracy that is left.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from bigclip.evals import options
from bigclip.evals.embedding import Model, draw_batches, drawing_threads, embed_texts
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.ranks import ranking, recall
from bigclip.evals.records import unique
from bigclip.evals.robustness.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from bigclip.evals.sets import EvalSet
from bigclip.evals.zero_shot.accuracy import rank_classes
from bigclip.evals.zero_shot.class_scores import Ensemble, ensemble, with_images
from bigclip.evals.zero_shot.classes import read_class_set
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
        spoilers = options.choices(corruptions, CORRUPTIONS, "corruptions")
        levels = sorted(options.choices(strengths, STRENGTHS, "strengths"))
        if num_images is not None:
            options.whole(num_images, "num_images")
        options.seed(seed)
        options.whole(tile, "tile")
        self._conditions = [_CLEAN, *((name, level) for name in spoilers for level in levels)]
        found = read_class_set(
            test.records, label=label, names=names, classes=classes, candidates=candidates
        )
        of = {row: own for row, own in zip(found.rows, found.of, strict=True) if own}
        rows = list(of)
        if num_images is not None and num_images < len(rows):
            chosen = np.random.default_rng(seed).choice(len(rows), num_images, replace=False)
            rows = [rows[i] for i in sorted(chosen)]
        naming = name_classes(found.classes, read_templates(templates))
        self._prompts = unique([p for parts in naming.prompts for part in parts for p in part])
        self._prompts_of = naming.ensembles({p: i for i, p in enumerate(self._prompts)})
        self._test, self._rows, self._seed, self._tile = test, rows, seed, tile
        self._of = {test.records.index[row]: of[row] for row in rows}
        self._key = {test.records.index[row]: test.records.key[row] for row in rows}
        self.content = [naming]

    def evaluate(self, model: Model) -> Evaluation:
        """Classify the clean pictures, and each after every corruption at every strength."""
        prompt_outputs = embed_texts(model, self._prompts)
        hits: dict[tuple[str, int], list[float]] = {one: [] for one in self._conditions}
        chance: list[float] = []
        made: Ensemble | None = None
        index = [self._test.records.index[row] for row in self._rows]
        with drawing_threads() as threads:
            for group, images in self._test.pictures.batches(model, index):
                for condition, spoilt in self._spoil(model, group, images, threads):
                    outputs = model.embed_images(spoilt)
                    if made is None:
                        made = ensemble(model, outputs, prompt_outputs, self._prompts_of)
                    ranks = self._rank(with_images(made, outputs), group)
                    hits[condition] += recall.hits(ranks, 1)[: len(group)].tolist()
                chance += recall.chance_hits(ranks, 1)[: len(group)].tolist()
        return self._evaluation({c: float(np.mean(h)) for c, h in hits.items()}, np.mean(chance))

    def _spoil(
        self, model: Model, group: Sequence[int], images: np.ndarray, threads: Executor
    ) -> Iterator[tuple[tuple[str, int], np.ndarray]]:
        """Yield each condition with the batch under it."""

        def draw(job):
            (name, strength), row = job
            if name == _CLEAN[0]:
                return images[row]
            return corrupt(images[row], name, strength, seed=self._seed, key=self._key[group[row]])

        jobs = [[(one, row) for row in range(len(group))] for one in self._conditions]
        batches = draw_batches(model, jobs, draw, batch_size=len(images), threads=threads)
        for number, spoilt in enumerate(batches):
            yield self._conditions[number], spoilt

    def _rank(self, made: Ensemble, group: Sequence[int]) -> ranking.Ranks:
        """Rank the classes for a whole batch: one shape, whatever the rows that fill it up."""
        pairs = np.array([(row, c) for row, i in enumerate(group) for c in self._of[i]])
        return rank_classes(made, pairs, tile=self._tile)

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
                "families": {name: round(float(np.mean(v)), 4) for name, v in families.items()}
            },
        )
