"""How often the right class stands first, or among the first five."""

import numpy as np

from bigclip.evals.ranks import ranking, recall
from bigclip.evals.zero_shot.class_scores import Ensemble

KS = (1, 5)


def rank_classes(made: Ensemble, pairs: np.ndarray, *, tile: int = 1024) -> ranking.Ranks:
    """Rank the classes for each image.

    Args:
        made: images and classes.
        pairs: [M, 2] int, (image, right class).
        tile: largest number of images and of classes that are scored at once.
    """
    return ranking.rank_pairs(made.images, made.classes, pairs, tile=tile, **made.scoring)[0]


def top_metrics(ranks: ranking.Ranks) -> tuple[dict[str, float], dict[str, float]]:
    """Return top-1 and top-5 over the images that have a class, and what chance gives."""
    has_class = ranks.right > 0
    metrics = {f"top{k}": float(recall.hits(ranks, k)[has_class].mean()) for k in KS}
    chance = {f"top{k}": float(recall.chance_hits(ranks, k)[has_class].mean()) for k in KS}
    return metrics, chance
