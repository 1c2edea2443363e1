"""Features in a file, so that a probe can be fitted again without the model or the pictures."""

import json
import os
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from bigclip.config import ConfigError, choose
from bigclip.evals.embedding import Model
from bigclip.evals.probes.linear.archives import read_arrays
from bigclip.evals.records import Records
from bigclip.evals.sets import EvalSet


class KeptSet(NamedTuple):
    """A set of records whose features are known; takes an `EvalSet`'s place in a probe.

    Attributes:
        records: without pictures.
        layers: layer -> [I, ...].
    """

    records: Records
    layers: dict[str, np.ndarray]

    def features(
        self, model: Any, layers: Sequence[str], rows: Sequence[int] | None = None
    ) -> dict[str, np.ndarray]:
        """Return what `EvalSet.features` does.

        Raises:
            ConfigError: for a layer that the file lacks.
        """
        del model
        kept = {name: choose(name, self.layers, "layers") for name in layers}
        return kept if rows is None else {name: kept[name][rows] for name in layers}


class KeptFeatures:
    """What `save_features` wrote.

    Args:
        path: of the file.

    Attributes:
        sets: name -> set.
        model: knows the names of the layers.

    Raises:
        ConfigError: if there is no such file, or it is damaged or another.
    """

    def __init__(self, path: str | os.PathLike):
        arrays = read_arrays(path, "a file of --features_out")
        try:
            told = json.loads(str(arrays.pop("records")))
        except (ValueError, KeyError) as error:
            raise ConfigError(
                f"{path} cannot be read as a file of --features_out: {error}."
            ) from error
        self.sets = {name: _kept(name, about, arrays) for name, about in told.items()}
        layers = {layer for one in self.sets.values() for layer in one.layers}
        self.model = SimpleNamespace(image_layers=tuple(sorted(layers)))


def save_features(
    path: str | os.PathLike, sets: Mapping[str, EvalSet], model: Model, layers: Sequence[str]
) -> None:
    """Write layers of all sets, with the records' keys and metadata, as .npz.

    Args:
        path: the file.
        sets: name -> set.
        model: whose layers.
        layers: of `model.image_layers`.
    """
    arrays: dict[str, np.ndarray] = {}
    told = {}
    for name, one in sets.items():
        for layer, values in one.features(model, layers).items():
            arrays[f"{name}/{layer}"] = values
        told[name] = {
            "key": one.records.key,
            "captions": one.records.captions,
            "metadata": one.records.metadata,
            "fingerprint": one.records.fingerprint,
            "digests": [digest.hex() for digest in one.records.digests],
        }
    text = json.dumps(told, ensure_ascii=False, default=_plain)
    with epath.Path(path).open("wb") as file:
        np.savez(file, records=np.array(text), **arrays)


def _kept(name: str, about: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> KeptSet:
    digests = [bytes.fromhex(digest) for digest in about.pop("digests")]
    index = list(range(len(about["key"])))
    return KeptSet(
        Records(source=name, index=index, digests=digests, **about),
        {
            key.removeprefix(f"{name}/"): array
            for key, array in arrays.items()
            if key.startswith(f"{name}/")
        },
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)
