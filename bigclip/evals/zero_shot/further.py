"""Further questions to the same embeddings: by other wordings, in other languages, of foreign
pictures. Each function returns metrics, and what they are for a model that knows nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bigclip.evals import multi_label
from bigclip.evals.embedding import take
from bigclip.evals.predictions import predict
from bigclip.evals.zero_shot.accuracy import rank_classes, top_metrics
from bigclip.evals.zero_shot.class_scores import Ensemble, score_blocks, with_classes, with_images
from bigclip.evals.zero_shot.namings import Naming

Metrics = tuple[dict[str, float], dict[str, float]]


def by_template(
    made: Ensemble,
    prompt_outputs: Any,
    naming: Naming,
    position: Mapping[str, int],
    pairs: np.ndarray,
    *,
    tile: int = 1024,
) -> list[float]:
    """Return the accuracy by each template alone: how much hangs on the wording.

    Args:
        made: images and classes.
        prompt_outputs: of all prompts, leading axis T.
        naming: the classes' prompts.
        position: prompt -> its row of `prompt_outputs`.
        pairs: [M, 2] int, (image, right class).
        tile: see `rank_classes`.
    """
    found = []
    for number in range(len(naming.templates)):
        alone = with_classes(made, prompt_outputs, naming.alone(number, position))
        found.append(top_metrics(rank_classes(alone, pairs, tile=tile))[0]["top1"])
    return found


def rows_in(naming: Naming, classes_of: Sequence[Sequence[int]]) -> list[int]:
    """Return the images, of one class each, whose class has a name in a language."""
    named = set(naming.classes)
    return [row for row, own in enumerate(classes_of) if own[0] in named]


def in_language(
    made: Ensemble,
    prompt_outputs: Any,
    naming: Naming,
    position: Mapping[str, int],
    classes_of: Sequence[Sequence[int]],
    *,
    tile: int = 1024,
) -> Metrics:
    """Return `top1` among the classes that have a name in a language; nothing without images.

    Args:
        made, prompt_outputs, position, tile: as of `by_template`.
        naming: the classes in that language.
        classes_of: the one class of each image.
    """
    rows = rows_in(naming, classes_of)
    if not rows:
        return {}, {}
    new = {old: new for new, old in enumerate(naming.classes)}
    pairs = np.array([(i, new[classes_of[row][0]]) for i, row in enumerate(rows)])
    made = made._replace(images=take(made.images, rows))
    made = with_classes(made, prompt_outputs, naming.ensembles(position))
    metrics, chance = top_metrics(rank_classes(made, pairs, tile=tile))
    return {"top1": metrics["top1"]}, {"top1": chance["top1"]}


def foreign(made: Ensemble, foreign_outputs: Any, num: tuple[int, int], *, tile: int) -> Metrics:
    """Return how well confidence tells pictures of the classes from those of none.

    Args:
        made: images and classes.
        foreign_outputs: what the model gives for the foreign images, as for `ensemble`.
        num: how many images and foreign images there are.
        tile: see `rank_classes`.

    Returns:
        `aupr`, `auroc` and `fpr95`, see `bigclip.evals.zero_shot.suite.ZeroShot`.
    """
    confidence = []
    for one, count in zip((made, with_images(made, foreign_outputs)), num, strict=True):
        blocks = score_blocks(one.images, one.classes, tile=tile, **one.logits)
        confidence.append(predict(blocks, count).confidence)
    anomaly, is_foreign = -np.concatenate(confidence), np.repeat([False, True], num)
    metrics = {
        "aupr": multi_label.average_precision(anomaly, is_foreign),
        "auroc": multi_label.roc_auc(anomaly, is_foreign),
        "fpr95": multi_label.false_alarms_at(anomaly, is_foreign),
    }
    return metrics, {"aupr": num[1] / sum(num), "auroc": 0.5}
