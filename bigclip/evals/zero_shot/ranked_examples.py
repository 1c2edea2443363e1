"""The ranked examples of a zero-shot classification, for the report."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bigclip.evals.ranks import examples, ranking
from bigclip.evals.zero_shot.class_scores import Ensemble


def ranked_examples(
    made: Ensemble,
    ranks: ranking.Ranks,
    pairs: np.ndarray,
    classes_of: Sequence[Sequence[int]],
    names: Sequence[str],
    records: Sequence[tuple[int, str]],
    num_examples: int,
    num_candidates: int,
    seed: int,
) -> dict[str, Any]:
    """Return pictures with their first classes: drawn ones, and the most confident mistakes.

    Args:
        made: the images and classes.
        ranks: of the classes for each of the I images.
        pairs: [M, 2] (image, class).
        classes_of: the classes of each image.
        names: of the C classes.
        records: position in the source and key, of each image.
        num_examples: pictures of each kind, at most.
        num_candidates: classes of each picture.
        seed: draws the pictures.

    Returns:
        {"image_to_text": [...], "mistakes": [...], "texts": {class: name}, "seed"}.
    """
    about = [frozenset(own) for own in classes_of]
    labelled = [image for image, own in enumerate(classes_of) if own]
    drawn = examples.deal([[about[image] for image in labelled]], num_examples, seed)[0]
    outputs = (made.images, made.classes)
    chosen = {
        "image_to_text": [labelled[position] for position in drawn],
        "mistakes": examples.confident_mistakes(
            *outputs, ranks, about, num_examples, **made.scoring
        ),
    }
    found: dict[str, Any] = {}
    used: set[int] = set()
    for name, queries in chosen.items():
        entries = queries and examples.ranked(
            queries,
            *outputs,
            ranks,
            pairs,
            num_candidates=num_candidates,
            by_text=False,
            **made.scoring,
        )
        found[name] = []
        for entry in entries:
            index, key = records[entry["query"]]
            right = list(classes_of[entry["query"]])
            used |= {*right, *(hit["candidate"] for hit in entry["ranked"])}
            found[name].append(
                {
                    "record": index,
                    "key": key,
                    "pool": "",
                    "candidates": len(names),
                    "rank": entry["rank"],
                    "best": entry["best"],
                    "right": entry["right"],
                    "right_texts": right,
                    "ranked": [
                        {"text": hit["candidate"], "score": hit["score"], "right": hit["right"]}
                        for hit in entry["ranked"]
                    ],
                }
            )
    return found | {"texts": {str(i): names[i] for i in sorted(used)}, "seed": seed}
