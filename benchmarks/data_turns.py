"""What the sides of `benchmarks.data` have in common: pulling batches for a while.

Only the standard library is imported here: this also runs in the interpreter of a peer.
"""

import time
from collections.abc import Iterator
from typing import Any

SIZE = 224  # H, of the pictures
CONTEXT_LENGTH = 77  # L
SCALE = (0.9, 1.0)  # share of the area that a crop takes, open_clip's default
RATIO = (3 / 4, 4 / 3)  # width / height of a crop
SHUFFLED = 256  # records in the shuffle buffers of those that have one


def pull(batches: Iterator[Any], *, seconds: float, batch_size: int) -> dict[str, Any]:
    """Take whole batches until the time is over.

    Returns:
        `examples` that were taken and the `seconds` that it took.
    """
    start, taken = time.perf_counter(), 0
    while True:
        next(batches)
        taken += batch_size
        passed = time.perf_counter() - start
        if passed >= seconds:
            return {"examples": taken, "seconds": passed}
