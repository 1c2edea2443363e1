"""Suite `zero_shot`: classify pictures by the names of the classes, in prompt templates.

Every class name is put into every template, and the prompts of a class make an ensemble (see
`bigclip.evals.zero_shot.class_scores`). The picture's class is the one of the highest score; ties
are broken by lot, so that a model that knows nothing stands exactly at chance.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bigclip.config import ConfigError, choose
from bigclip.evals import multi_label, options
from bigclip.evals.embedding import Model, embed_texts
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.predictions import class_means, confusions, predict
from bigclip.evals.ranks import ranking, recall
from bigclip.evals.records import unique
from bigclip.evals.sets import EvalSet
from bigclip.evals.zero_shot import further
from bigclip.evals.zero_shot.accuracy import rank_classes, top_metrics
from bigclip.evals.zero_shot.calibration import expected_calibration_error
from bigclip.evals.zero_shot.class_scores import Ensemble, ensemble, score_blocks
from bigclip.evals.zero_shot.classes import read_class_set
from bigclip.evals.zero_shot.hierarchies import chance_in, read_hierarchies
from bigclip.evals.zero_shot.namings import name_classes, read_languages
from bigclip.evals.zero_shot.prompts import read_templates
from bigclip.evals.zero_shot.ranked_examples import ranked_examples


class ZeroShot:
    """Classify a set of records by the names of their classes.

    Args:
        test: the evaluation set.
        ood: pictures of none of the classes (as ImageNet-O's). They are to be told by a low
            confidence: metrics "ood/aupr" and "ood/auroc", with these pictures as the positives
            and minus the largest softmax probability as the score (arXiv 1907.07174).
        label: the metadata key that holds a record's class, or a list of them; by default
            "label", or "concept" where there is none. Of a set with lists, top-k counts a picture
            as right if the class that stands first is any of its own (as ImageNet-ReaL does), and
            `mAP` and `roc_auc` are reported; pictures with an empty list count in these alone.
        names: the caption source whose first text names the class, where `classes` is not given;
            by default the metadata "class_name", or the caption source "name", or labels that are
            texts themselves.
        classes: the classes, where they do not come from the records: a published table as
            "clip:imagenet", a list of names, a dict label -> name or list of names, or the path of
            a .json file with one of these or of a .txt file with one name a line. Of a list, a
            record's label is the name itself or its position. Classes without a record stay
            candidates.
        templates: the prompts, each with one {}: a list, a published table, or a file.
        candidates: labels (a list, a file, or a table) of the only classes that are ranked, as for
            ImageNet-A and -R; records of other classes are left out, and counted. A table masks
            the classes of a table that holds it, or labels that are its identifiers or names.
        hierarchy: name -> {label: parent}, or name -> a .json file with that, or a .json file with
            all of it. "hierarchy=NAME/top1" is the accuracy after prediction and truth are
            exchanged for their parents.
        languages: language -> {"classes", "names", "templates"}: these options in that language,
            for "language=NAME/top1". A list of names is in the order of all classes, one for each;
            of a dict, classes without a name are left out there.
        template_spread: whether to classify by each template alone, too.
        average_precision: "area" or "11_point", see `multi_label.average_precision`.
        calibration_bins: bins of the calibration error.
        num_confusions: classes of low accuracy to tell what they are taken for.
        tile: largest number of images and of classes that are scored at once.
        num_examples: ranked examples kept for the report.
        num_candidates: candidates kept of each example.
        example_seed: draws the examples.

    Attributes:
        content: what was read from files and tables, for the hash of a result's definition.

    Raises:
        ConfigError: for options, files and tables that do not fit the records.
    """

    def __init__(
        self,
        test: EvalSet,
        ood: EvalSet | None = None,
        *,
        label: str | None = None,
        names: str | None = None,
        classes: str | Sequence[Any] | Mapping[str, Any] | None = None,
        templates: str | Sequence[str] = ("{}",),
        candidates: str | Sequence[Any] | None = None,
        hierarchy: Mapping[str, Any] | str | None = None,
        languages: Mapping[str, Any] | None = None,
        template_spread: bool = True,
        average_precision: str = "area",
        calibration_bins: int = 15,
        num_confusions: int = 12,
        tile: int = 1024,
        num_examples: int = 8,
        num_candidates: int = 8,
        example_seed: int = 0,
    ):
        choose(average_precision, dict.fromkeys(multi_label.VARIANTS), "average_precision")
        options.flag(template_spread, "template_spread")
        options.whole(calibration_bins, "calibration_bins")
        options.whole(tile, "tile")
        options.whole(num_confusions, "num_confusions", least=0)
        options.whole(num_examples, "num_examples", least=0)
        options.whole(num_candidates, "num_candidates")
        options.seed(example_seed, "example_seed")
        found = read_class_set(
            test.records, label=label, names=names, classes=classes, candidates=candidates
        )
        self._classes, self._rows, self._of = found.classes, found.rows, found.of
        self._num_left_out, self._is_multi = found.num_left_out, found.labels.is_multi
        self._main = name_classes(self._classes, read_templates(templates))
        self._languages = read_languages(
            languages, found.every, self._classes, found.labels, test.records.captions
        )
        self._parents = read_hierarchies(hierarchy, self._classes)
        if self._is_multi and (self._parents or self._languages):
            raise ConfigError("hierarchy and languages are for records with one label each.")
        namings = [self._main, *self._languages.values()]
        self._prompts = unique([p for n in namings for c in n.prompts for part in c for p in part])
        self._position = {prompt: i for i, prompt in enumerate(self._prompts)}
        self._test, self._ood, self._tile = test, ood, tile
        self._spread = template_spread and len(self._main.templates) > 1
        self._interpolation, self._bins = average_precision, calibration_bins
        self._num_confusions = num_confusions
        self._examples = (num_examples, num_candidates, example_seed)
        parents = {name: parent.tolist() for name, parent in self._parents.items()}
        self.content = [self._classes, self._main, self._languages, parents]

    def evaluate(self, model: Model) -> Evaluation:
        """Embed pictures and prompts with `model` and classify."""
        prompt_outputs = embed_texts(model, self._prompts)
        prompts_of = self._main.ensembles(self._position)
        made = ensemble(model, self._test.embed(model, self._rows), prompt_outputs, prompts_of)
        pairs = np.array([(i, c) for i, own in enumerate(self._of) for c in own])
        ranks = rank_classes(made, pairs, tile=self._tile)
        metrics, chance = top_metrics(ranks)
        details: dict[str, Any] = {"templates": self._main.templates}
        parts = [self._multi(made) if self._is_multi else self._single(made, ranks)]
        if self._spread:
            parts.append(self._each_template(made, prompt_outputs, pairs))
        for language, naming in self._languages.items():
            of_language = further.in_language(
                made, prompt_outputs, naming, self._position, self._of, tile=self._tile
            )
            parts.append((*_prefixed(of_language, f"language={language}/"), {}))
        if self._ood is not None:
            num = (len(self._of), len(self._ood.records.index))
            told = further.foreign(made, self._ood.embed(model), num, tile=self._tile)
            parts.append((*_prefixed(told, "ood/"), {}))
        for more_metrics, more_chance, more_details in parts:
            metrics, chance = metrics | more_metrics, chance | more_chance
            details |= more_details
        shown = ranked_examples(
            made,
            ranks,
            pairs,
            self._of,
            [cls.names[0] for cls in self._classes],
            [(self._test.records.index[row], self._test.records.key[row]) for row in self._rows],
            *self._examples,
        )
        return Evaluation(metrics, chance, self._counts(), details | shown)

    def _counts(self) -> dict[str, int]:
        counts = {
            "images": len(self._of),
            "classes": len(self._classes),
            "classes_with_images": len({c for own in self._of for c in own}),
            "templates": len(self._main.templates),
        }
        if self._num_left_out:
            counts["images_left_out"] = self._num_left_out
        if self._ood is not None:
            counts["ood_images"] = len(self._ood.records.index)
        for language, naming in self._languages.items():
            counts[f"language={language}/classes"] = len(naming.classes)
            counts[f"language={language}/images"] = len(further.rows_in(naming, self._of))
        return counts

    def _blocks(self, made: Ensemble):
        return score_blocks(made.images, made.classes, tile=self._tile, **made.logits)

    def _single(self, made: Ensemble, ranks: ranking.Ranks):
        """Metrics of pictures with one label each."""
        class_of = np.array([own[0] for own in self._of])
        found = predict(self._blocks(made), len(class_of), class_of, self._parents)
        per_class = class_means(recall.hits(ranks, 1), class_of, len(self._classes))
        error, bins = expected_calibration_error(
            found.confidence, found.correct, num_bins=self._bins
        )
        metrics = {"mean_per_class": float(np.nanmean(per_class)), "ece": error}
        chance = {"mean_per_class": 1 / len(self._classes)}
        for name, parent in self._parents.items():
            metrics[f"hierarchy={name}/top1"] = float(found.correct_in[name].mean())
            chance[f"hierarchy={name}/top1"] = chance_in(parent, class_of)
        details = {
            "per_class": self._per_class("top1", per_class),
            "calibration": bins,
            "confusions": confusions(
                found.first,
                class_of,
                found.correct,
                [cls.label for cls in self._classes],
                [cls.names[0] for cls in self._classes],
                num_classes=self._num_confusions,
            ),
        }
        return metrics, chance, details

    def _multi(self, made: Ensemble):
        """Metrics of pictures with any number of labels."""
        scores = np.concatenate([block for _, block in self._blocks(made)])
        right = np.zeros(scores.shape, bool)
        for row, own in enumerate(self._of):
            right[row, own] = True
        metrics, chance, precision = multi_label.evaluate_columns(
            scores, right, interpolation=self._interpolation
        )
        return metrics, chance, {"per_class": self._per_class("average_precision", precision)}

    def _per_class(self, measure: str, values: np.ndarray) -> dict[str, Any]:
        images = np.bincount([c for own in self._of for c in own], minlength=len(self._classes))
        return {
            cls.label: {
                "name": cls.names[0],
                "images": int(count),
                measure: round(float(value), 4),
            }
            for cls, count, value in zip(self._classes, images, values, strict=True)
            if count
        }

    def _each_template(self, made: Ensemble, prompt_outputs: Any, pairs: np.ndarray):
        """Accuracy by each template alone: how much hangs on the wording."""
        found = further.by_template(
            made, prompt_outputs, self._main, self._position, pairs, tile=self._tile
        )
        metrics = {
            "template_std": float(np.std(found)),
            "template_min": min(found),
            "template_max": max(found),
        }
        per_template = [
            {"template": template, "top1": round(top1, 4)}
            for template, top1 in zip(self._main.templates, found, strict=True)
        ]
        return metrics, {}, {"per_template": per_template}


def _prefixed(parts: tuple[dict[str, float], ...], prefix: str) -> tuple[dict[str, float], ...]:
    return tuple({prefix + name: value for name, value in part.items()} for part in parts)
