"""What a suite gives for one model."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np


class Evaluation(NamedTuple):
    """The result of one suite on one model: plain data, and arrays where a suite fits weights.

    Attributes:
        metrics: flat name -> value.
        chance: metric name -> its value for a model that knows nothing, where that is known.
        counts: how many images, texts, classes, ... were evaluated.
        details: what the report shows beside the metrics: ranked examples, per-class accuracies.
        arrays: what is saved beside the details, for programs: the weights of a probe.
    """

    metrics: dict[str, float]
    chance: dict[str, float]
    counts: dict[str, int]
    details: dict[str, Any]
    arrays: Mapping[str, np.ndarray] = MappingProxyType({})
