"""Several random-access sources as one, each with its weight."""

from collections.abc import Mapping, Sequence

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.interleave import Interleave
from bigclip.data.order import Order, part_seed
from bigclip.data.records import Record


class Mixture:
    """The records of several sources, one source after the other; its order mixes them.

    Attributes:
        names: of the sources.
        sources: the sources, in this order.
        weights: theirs.
    """

    def __init__(self, sources: Mapping[str, object], weights: Sequence[float]):
        """Join sources.

        Args:
            sources: name -> source with `len()` and `[]`.
            weights: how often each is drawn from, in any units.
        """
        self.names = tuple(sources)
        self.sources = tuple(sources.values())
        self.weights = tuple(weights)
        self._firsts = np.cumsum([0, *map(len, self.sources)])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def __repr__(self) -> str:
        parts = zip(self.names, self.weights, self.sources, strict=True)
        return f"Mixture({', '.join(f'{name} {weight:g} x {s!r}' for name, weight, s in parts)})"

    def __getitem__(self, index: int) -> Record:
        """Read a record, by its number over all sources. Errors as the source's own."""
        part = int(np.searchsorted(self._firsts, index, side="right")) - 1
        return self.sources[part][index - int(self._firsts[part])]

    @property
    def num_lost(self) -> int:
        """What the sources left out when they were opened."""
        return sum(getattr(source, "num_lost", 0) for source in self.sources)

    @property
    def faults(self) -> list[str]:
        """Reasons for it, as far as they are kept."""
        return [fault for source in self.sources for fault in getattr(source, "faults", ())]

    def order(self, seed: int) -> "MixedOrder":
        """Return the order in which a run reads."""
        return MixedOrder([len(source) for source in self.sources], self.weights, seed=seed)


class MixedOrder(Order):
    """The endless stream of a mixture: each part shuffled by itself, the parts interleaved.

    Part j has its weight in every prefix, give or take one record, and goes through all its
    records before any comes again.
    """

    def __init__(self, lengths: Sequence[int], weights: Sequence[float], *, seed: int):
        """Describe the stream.

        Args:
            lengths: records of each part.
            weights: of each part.
            seed: any non-negative integer.
        """
        super().__init__(sum(lengths), seed=seed)
        self._firsts = np.cumsum([0, *lengths]).tolist()
        self._parts = [
            Order(length, seed=part_seed(seed, part)) for part, length in enumerate(lengths)
        ]
        self._interleave = Interleave(weights)

    def record(self, position: int) -> int:
        """Return the number of the record at a position of the global stream."""
        part = self._interleave.part(position)
        inside = self._interleave.count(position, part)
        return self._firsts[part] + self._parts[part].record(inside)

    def substitute(self, position: int, attempt: int) -> int:
        """Return another record of the same part, for when the one at `position` is bad."""
        part = self._interleave.part(position)
        return self._firsts[part] + self._parts[part].substitute(position, attempt)


def read_weights(
    weights: Mapping[str, float | None], sizes: Mapping[str, int | None]
) -> list[float]:
    """Check the weights of a mixture; where none has one, sizes serve.

    Args:
        weights: name -> weight, or None.
        sizes: name -> number of records, where it is known.

    Raises:
        ConfigError: if a weight is not positive, or only some are given.
    """
    given = {name: weight for name, weight in weights.items() if weight is not None}
    for name, weight in given.items():
        if not isinstance(weight, (int, float)) or not 0 < weight < float("inf"):
            raise ConfigError(
                f"config.data.source.sources.{name}.weight must be a positive number, not "
                f"{weight!r}; leave a source away to never draw from it"
            )
    without = [name for name in weights if name not in given]
    if not without:
        return list(given.values())
    if given or any(sizes[name] is None for name in without):
        raise ConfigError(
            f"config.data.source.sources: {', '.join(without)} has no weight; give every source "
            "one (or none, if all sizes are known: then they serve as weights)"
        )
    return [float(sizes[name]) for name in weights]
