"""The work of making batches from a random-access source, cut into pieces."""

from collections.abc import Callable, Sequence

import numpy as np

from bigclip.data.examples import ExampleMaker, chunk_size
from bigclip.data.order import Order
from bigclip.data.sources import Source


class RandomChunks:
    """Number of a piece -> its examples; what threads and workers run. Can be pickled.

    The pieces of batch s are s * n .. (s + 1) * n - 1, n being `chunks_per_batch`.

    Attributes:
        chunks_per_batch: n.
        row_order: the pieces of a batch in the order of their rows.
    """

    def __init__(
        self,
        source: Source,
        *,
        order: Order,
        maker: ExampleMaker,
        batch_size: int,
        first_row: int,
        rows: int,
    ):
        """Share out the work of one process.

        Args:
            source: the records.
            order: which record stands where.
            maker: makes examples of them.
            batch_size: B.
            first_row: first row of the batch that this process makes.
            rows: how many it makes.
        """
        self._source = source
        self._order = order
        self._maker = maker
        self._batch_size = batch_size
        self._first_row = first_row
        self._chunk = chunk_size(rows)
        self.chunks_per_batch = rows // self._chunk
        self.row_order = tuple(range(self.chunks_per_batch))

    def places(self, chunks: Sequence[dict[str, np.ndarray]]) -> None:
        """Where a batch leaves the source: there is nothing to say but the batch's number."""

    def position(self, batch: int, places: None, gather: Callable) -> None:
        """What a checkpoint must hold to go on at a batch: nothing."""

    def close(self) -> None:
        """Nothing is read ahead."""

    def __call__(self, number: int) -> dict[str, np.ndarray]:
        """Make a piece."""
        batch, part = divmod(number, self.chunks_per_batch)
        start = batch * self._batch_size + self._first_row + part * self._chunk

        def candidate(row: int, attempt: int):
            if attempt:
                record = self._order.substitute(start + row, attempt)
            else:
                record = self._order.record(start + row)
            return record, lambda: self._source[record]

        return self._maker.chunk(range(start, start + self._chunk), candidate)
