"""What became of the records: how many were seen, were bad, were filtered out, and why."""

import collections
import logging
from collections.abc import Iterable, Mapping, Sequence

from bigclip.config import ConfigError
from bigclip.data.notes import Notes
from bigclip.data.records import BadRecord

_MIN_JUDGED_EXAMPLES = 1000  # a bad record among the first few is no bad data set yet
_MAX_LOGGED = 100
_NUM_NAMED = 10
_NUM_SHARDS = 5

logger = logging.getLogger(__name__)


class Tally:
    """Counts the records of one process; bad ones are logged once, and may become too many.

    Attributes:
        bad: fault -> number of bad records, a record counted as often as it was met.
        rejected: rule of the filter -> number of records.
        num_seen: good and bad ones; of streams, a whole window as soon as it is begun.
        named: key -> reason, of the first hundred bad records.
    """

    def __init__(self, *, max_bad_fraction: float):
        """Begin with nothing.

        Args:
            max_bad_fraction: the most bad records, as a share of all.
        """
        self.bad: collections.Counter[str] = collections.Counter()
        self.rejected: collections.Counter[str] = collections.Counter()
        self.num_seen = 0
        self._max_bad_fraction = max_bad_fraction
        self.named: dict[str, str] = {}
        self._shards: collections.Counter[str] = collections.Counter()

    def add(self, notes: Iterable[Notes]) -> None:
        """Count what one batch took.

        Raises:
            ConfigError: if too many of all records so far are bad; tells the worst shards.
        """
        for note in notes:
            self.num_seen += note.num_good
            self.rejected.update(note.rejected)
            for error in note.bad:
                self._count(error)
        num_bad = self.bad.total()
        if num_bad > self._max_bad_fraction * max(self.num_seen, _MIN_JUDGED_EXAMPLES):
            raise too_many_bad(
                f"{num_bad} of the {self.num_seen} records read so far are bad "
                f"({_counted(self.bad)}; worst shards: "
                f"{_counted(dict(self._shards.most_common(_NUM_SHARDS)))})",
                [f"{key}: {reason}" for key, reason in self.named.items()],
                max_bad_fraction=self._max_bad_fraction,
            )

    def _count(self, error: BadRecord) -> None:
        self.num_seen += 1
        self.bad[error.fault] += 1
        self._shards[error.key.rpartition("/")[0] or error.key] += 1
        if error.key in self.named or len(self.named) == _MAX_LOGGED:
            return
        self.named[error.key] = error.reason
        logger.warning("bad record replaced: %s", error)
        if len(self.named) == _MAX_LOGGED:
            logger.warning("further bad records are counted, but not named")


def too_many_bad(what: str, named: Sequence[str], *, max_bad_fraction: float) -> ConfigError:
    """Say that more records are bad than may be, which, and what to do."""
    return ConfigError(
        f"config.data.source: {what}, more than config.data.max_bad_fraction = "
        f"{max_bad_fraction} allows. Mend or remove them, or raise max_bad_fraction:\n"
        + some_lines(named)
    )


def some_lines(lines: Sequence[str]) -> str:
    """Indent the first few lines, and say how many more there are."""
    more = [f"... and {len(lines) - _NUM_NAMED} more"] if len(lines) > _NUM_NAMED else []
    return "\n".join(f"  {line}" for line in [*lines[:_NUM_NAMED], *more])


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
