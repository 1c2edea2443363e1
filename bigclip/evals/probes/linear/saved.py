"""Probes as files: fitted once, used anywhere."""

import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from bigclip.config import ConfigError, suggest
from bigclip.evals.embedding import unit
from bigclip.evals.probes.linear.archives import read_arrays
from bigclip.evals.probes.map_rows import map_rows

_FIELDS = ("kernel", "bias", "classes", "names", "layer", "strength", "normalize", "is_multi")


class Probe(NamedTuple):
    """A linear classifier of image features.

    Attributes:
        kernel: float32 [E, K], of features as the layer gives them; a standardisation is folded in.
        bias: float32 [K].
        classes: the K labels.
        names: what the training records call them; the labels themselves where they do not.
        layer: the layer of `bigclip.load(...).image_features` that it reads.
        strength: of the penalty, 1 / C.
        normalize: "l2" if features are divided by their length first, else "none".
        is_multi: whether a picture may have several labels, or none.
    """

    kernel: np.ndarray
    bias: np.ndarray
    classes: list[str]
    names: list[str]
    layer: str
    strength: float
    normalize: str
    is_multi: bool

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the logits [I, K] of features [I, E], float32.

        Raises:
            ValueError: for features of another width.
        """
        features = np.asarray(features, np.float32)
        if features.ndim != 2 or features.shape[1] != len(self.kernel):
            raise ValueError(
                f"features are {list(features.shape)}, this probe takes [I, {len(self.kernel)}] of "
                f"the layer {self.layer!r}."
            )
        return linear(scaled(features, self.normalize), self.kernel, self.bias)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return [I, K]: softmax over the classes, or of several labels each one's own."""
        logits = self.scores(features)
        return np.asarray(jax.nn.sigmoid(logits) if self.is_multi else jax.nn.softmax(logits))

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the label of each row, [I] str; or of several labels, [I, K] bool."""
        logits = self.scores(features)
        return logits > 0 if self.is_multi else np.asarray(self.classes)[logits.argmax(axis=1)]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a file holds."""
        return {name: np.asarray(getattr(self, name)) for name in _FIELDS}


def linear(features: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return features @ kernel + bias, float32 [I, K], computed on the devices in tiles."""
    return map_rows(_linear, (np.float32(kernel), np.float32(bias)), features)


def _linear(params, rows):
    kernel, bias = params
    return jnp.matmul(rows, kernel, precision=jax.lax.Precision.HIGHEST) + bias


def scaled(features: np.ndarray, normalize: str) -> np.ndarray:
    """Divide rows by their lengths where `normalize` is "l2"; a zero row stays."""
    return unit(features) if normalize == "l2" else features


def save_probe(path: str | os.PathLike, probe: Probe) -> None:
    """Write a probe as .npz."""
    with epath.Path(path).open("wb") as file:
        np.savez(file, **probe.arrays())


def load_probe(path: str | os.PathLike, part: str = "") -> Probe:
    """Read a probe.

    Args:
        path: an .npz that `python -m bigclip.probe --out` or the suite `linear_probe` wrote; local
            or `gs://`.
        part: which, where a file holds several: "layer=embedding", "fold=2".

    Raises:
        ConfigError: if there is no such file, if it is damaged, or has no such part.
    """
    arrays = read_arrays(path, "a probe")
    prefix = f"{part}/" if part else ""
    if any(prefix + name not in arrays for name in _FIELDS):
        parts = sorted(name.rpartition("/")[0] for name in arrays if name.endswith("kernel"))
        raise ConfigError(f"{path} holds no part {part!r}.{suggest(part, parts)}")
    found = {name: arrays[prefix + name] for name in _FIELDS}
    return Probe(
        kernel=found["kernel"],
        bias=found["bias"],
        classes=found["classes"].tolist(),
        names=found["names"].tolist(),
        layer=str(found["layer"]),
        strength=float(found["strength"]),
        normalize=str(found["normalize"]),
        is_multi=bool(found["is_multi"]),
    )
