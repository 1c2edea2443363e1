"""An evaluation set: records, and what a model makes of their pictures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bigclip.evals.embedding import Model, Pictures
from bigclip.evals.records import Records


class EvalSet(NamedTuple):
    """Records with their pictures.

    Attributes:
        records: all but the pictures.
        pictures: of the whole source, which other sets may share.
    """

    records: Records
    pictures: Pictures

    def embed(self, model: Model, rows: Sequence[int] | None = None) -> Any:
        """Return what the task's `embed_images` gives, on the host.

        Args:
            model: the model.
            rows: positions among the records; all by default.

        Returns:
            Array or tree, leading axis len(rows).

        Raises:
            ConfigError: for a picture that cannot be decoded; names the record.
        """
        return self.pictures.embed(model, self._index(rows))

    def features(
        self, model: Model, layers: Sequence[str], rows: Sequence[int] | None = None
    ) -> dict[str, np.ndarray]:
        """Return layers of the image tower: layer -> float32 [I, E], or [I, P, E].

        Args:
            model: the model.
            layers: of `model.image_layers`.
            rows: positions among the records; all by default.

        Raises:
            ConfigError: for a layer that there is not, or a picture that cannot be decoded.
        """
        return self.pictures.features(model, layers, self._index(rows))

    def _index(self, rows: Sequence[int] | None) -> list[int]:
        index = self.records.index
        return index if rows is None else [index[row] for row in rows]
