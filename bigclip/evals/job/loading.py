"""Load one checkpoint of a run after the other, and compile its functions only once."""

from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from bigclip import api, checkpoints

# What the compiled functions depend on, beside the parameters that they are called with.
_SHAPING = ("task", "preprocess", "tokenizer")


class Loader:
    """Gives the models of a run's steps; those of one architecture share compiled functions.

    A follower that compiled both towers anew at every checkpoint would take more of the machine
    for that than for the evaluation itself.
    """

    def __init__(self, mesh: Mesh):
        """Give models on `mesh`."""
        self._mesh = mesh
        self._model: api.Model | None = None
        self._shardings: Any = None

    def __call__(self, workdir: Path, step: int, weights: str) -> api.Model:
        """Load the model of a step.

        Args:
            workdir: the run's directory.
            step: which checkpoint.
            weights: "params" or "ema".

        Raises:
            ConfigError: if there is no such checkpoint, or it keeps no such parameters.
        """
        manifest = checkpoints.read_manifest(workdir, step)
        if self._model is None or any(self._model.manifest[k] != manifest[k] for k in _SHAPING):
            self._model = api.load(workdir, step=step, ema=weights == "ema", mesh=self._mesh)
            self._shardings = jax.tree.map(lambda x: x.sharding, self._model.params)
            return self._model
        # The parameters of the last step go first: two models may not fit.
        self._model = self._model.with_params(self._model.manifest, {})
        params = checkpoints.restore_params(workdir, step, item=weights, shardings=self._shardings)
        self._model = self._model.with_params(manifest, params)
        return self._model
