"""Features of a frozen image tower, of the form that a probe needs."""

from collections.abc import Sequence

import numpy as np

from bigclip.config import ConfigError
from bigclip.evals.embedding import Model
from bigclip.evals.sets import EvalSet


def features_of(
    records: EvalSet,
    model: Model,
    layer: str,
    rows: Sequence[int] | None = None,
    *,
    per_token: bool = False,
) -> np.ndarray:
    """Return a layer's features, float32 [I, E], or [I, P, E] per token.

    Args:
        records: the set.
        model: the model.
        layer: one of `model.image_layers`.
        rows: positions among the records; all by default.
        per_token: whether one vector per token is needed, rather than one per image.

    Raises:
        ConfigError: if the layer is of the other form.
    """
    found = np.asarray(records.features(model, (layer,), rows)[layer])
    if found.ndim != (3 if per_token else 2):
        raise ConfigError(
            f"layer = {layer!r} gives features of the shape {list(found.shape[1:])} an image; this "
            f"suite needs one vector per {'token' if per_token else 'image'}. The layers are "
            f"{', '.join(model.image_layers)}."
        )
    return found
