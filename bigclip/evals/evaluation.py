"""What a suite gives for one model."""

from typing import Any, NamedTuple


class Evaluation(NamedTuple):
    """The result of one suite on one model, all of it plain data.

    Attributes:
        metrics: flat name -> value.
        chance: metric name -> its value for a model that knows nothing, where that is known.
        counts: how many images, texts, classes, ... were evaluated.
        details: what the report shows beside the metrics: ranked examples, per-class accuracies.
    """

    metrics: dict[str, float]
    chance: dict[str, float]
    counts: dict[str, int]
    details: dict[str, Any]
