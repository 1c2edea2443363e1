"""What a worker tells of the records that it met, beside the examples that it made."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bigclip.data.records import BadRecord


class Notes(NamedTuple):
    """Of one piece of work.

    Attributes:
        num_good: records that were read and found good; examples, or whole windows of a stream.
        bad: records that could not be used.
        rejected: rule of the filter -> how many records it left out.
    """

    num_good: int = 0
    bad: Sequence[BadRecord] = ()
    rejected: Mapping[str, int] = {}

    def to_array(self) -> np.ndarray:
        """Return uint8 [...]: arrays are the one thing that workers hand over cheaply."""
        bad = [[error.key, error.fault, error.reason] for error in self.bad]
        return np.frombuffer(json.dumps([self.num_good, bad, self.rejected]).encode(), np.uint8)

    @classmethod
    def from_array(cls, array: np.ndarray) -> "Notes":
        """Read what `to_array` wrote."""
        num_good, bad, rejected = json.loads(array.tobytes())
        return cls(num_good, [BadRecord(*error) for error in bad], rejected)
