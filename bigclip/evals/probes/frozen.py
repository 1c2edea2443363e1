"""Features of a frozen image tower, of the form that a probe needs."""

from collections.abc import Sequence

import numpy as np

from bigclip.config import ConfigError
from bigclip.evals.embedding import Model
from bigclip.evals.sets import EvalSet


def features_of(
    records: EvalSet,
    model: Model,
    layers: Sequence[str],
    rows: Sequence[int] | None = None,
    *,
    per_token: bool = False,
) -> list[np.ndarray]:
    """Return layers' features, each [I, E], or [I, P, E] per token; one pass for all.

    Args:
        records: the set.
        model: the model.
        layers: of `model.image_layers`.
        rows: positions among the records; all by default.
        per_token: whether one vector per token is needed, rather than one per image.

    Raises:
        ConfigError: if a layer is of the other form.
    """
    found = records.features(model, layers, rows)
    for layer in layers:
        shape = list(found[layer].shape[1:])
        if len(shape) != (2 if per_token else 1):
            raise ConfigError(
                f"the layer {layer!r} gives features of the shape {shape} an image; this suite "
                f"needs one vector per {'token' if per_token else 'image'}. The layers are "
                f"{', '.join(model.image_layers)}."
            )
    return [np.asarray(found[layer]) for layer in layers]
