"""The filter in front of a source: which of its records a run goes through."""

import collections
import concurrent.futures
import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.filters import Filter, Rejected
from bigclip.data.first_texts import FirstTexts
from bigclip.data.mixture import Mixture
from bigclip.data.records import BadRecord, Record
from bigclip.data.stream_mixture import StreamMixture

_AT_ONCE = 1024

logger = logging.getLogger(__name__)


class Selection:
    """The records of a random-access source that pass a filter, numbered anew.

    Attributes:
        source: all records.
        rows: int64 [n], which of them.
        rejected: rule -> how many were left out.
        num_lost, faults: of the source.
    """

    def __init__(self, source, filter: Filter, rows: np.ndarray, rejected: Mapping[str, int]):
        self.source = source
        self.filter = filter
        self.rows = rows
        self.rejected = dict(rejected)
        self.num_lost = getattr(source, "num_lost", 0)
        self.faults = getattr(source, "faults", [])

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"{len(self)} filtered records of {self.source!r}"

    def __getitem__(self, index: int) -> Record:
        """Read record `index`, with the captions that pass. Errors as the source's own."""
        record = self.source[int(self.rows[index])]
        try:
            return self.filter(record)
        except Rejected as error:
            raise OSError(f"{error.key} has changed since the filter let it pass") from error


def apply_filters(source, filters: Mapping[str, Any] | None):
    """Leave out what a run does not want.

    A random-access source is gone through once, reading every record, so that its order knows
    only records that pass; streamed shards are filtered on the way.

    Args:
        source: of `open_source`.
        filters: keyword arguments of `Filter`.

    Raises:
        ConfigError: for a mistake in the filters, or if no record passes.
    """
    passes = Filter(**(filters or {}))
    if isinstance(source, StreamMixture):
        if passes.duplicate_texts:
            raise ConfigError(
                "config.data.filters.duplicate_texts: streamed shards are not known beforehand. "
                "List the duplicates once with `python -m bigclip.data.index SHARDS "
                "--duplicate_texts FILE` and give config.data.filters.deny_ids=FILE"
            )
        return source.filtered(passes) if passes else source
    if not passes:
        return source
    first = FirstTexts() if passes.duplicate_texts else None
    if isinstance(source, Mixture):
        parts = zip(source.names, source.sources, strict=True)
        selected = {name: _select(part, passes, first, prefix=f"{name}: ") for name, part in parts}
        return Mixture(selected, source.weights)
    return _select(source, passes, first)


def _select(source, passes: Filter, first: FirstTexts | None, *, prefix: str = "") -> Selection:
    rejected: collections.Counter[str] = collections.Counter()
    rows = []

    def judge(index: int) -> tuple[str | None, Record | None]:
        try:
            record = source[index]
            return None, passes(record)
        except Rejected as error:
            return error.rule, None
        except BadRecord:
            return None, None  # not the filter's business: counted where it is met

    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(source), _AT_ONCE):
            indices = range(start, min(start + _AT_ONCE, len(source)))
            for index, (rule, record) in zip(indices, pool.map(judge, indices), strict=True):
                if rule is None and record is not None and first is not None:
                    texts = [text for texts in record.captions.values() for text in texts]
                    # Every text is taken, also after one that is known.
                    if not all([first.add(f"{prefix}{index}", text) for text in texts]):
                        rule = "duplicate_text"
                if rule is None:
                    rows.append(index)
                else:
                    rejected[rule] += 1
    told = ", ".join(f"{rule} {count:,}" for rule, count in rejected.items())
    counts = f"{len(rows):,} of {len(source):,}"
    logger.warning("%sfilters leave %s records (%s)", prefix, counts, told)
    if passes.deny_lists and "denied" not in rejected:
        logger.warning("%sno record is on a list of config.data.filters.deny_ids", prefix)
    if not rows:
        raise ConfigError(
            f"config.data.filters: {prefix}not one of {len(source)} records passes ({told})"
        )
    return Selection(source, passes, np.array(rows, np.int64), rejected)
