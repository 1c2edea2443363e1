"""What is looked at before the first batch, so that bad data stops a run that has not begun."""

import logging
from collections.abc import Sequence

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.captions import CaptionChooser
from bigclip.data.examples import Examples
from bigclip.data.records import BadRecord
from bigclip.data.sources import Source

_NUM_PROBED = 256
_NUM_SEARCHED = 4096  # records looked through for a caption source before it is called missing
_NUM_NAMED = 10

logger = logging.getLogger(__name__)


def check_examples(examples: Examples, *, max_bad_fraction: float):
    """Look at a sample of the records, as the run will read them; every host looks at the same.

    Raises:
        ConfigError: if too many samples are not whole, if a caption source with a weight does
            not exist, or if too many records are bad; names them and the mend.
    """
    _check_lost(examples.source, max_bad_fraction=max_bad_fraction)
    _check_caption_sources(examples.source, examples.chooser)
    _check_records(examples, max_bad_fraction=max_bad_fraction)


def too_many_bad(what: str, named: Sequence[str], *, max_bad_fraction: float) -> ConfigError:
    """Say that more records are bad than may be, which, and what to do."""
    return ConfigError(
        f"config.data.source: {what}, more than config.data.max_bad_fraction = "
        f"{max_bad_fraction} allows. Mend or remove them, or raise max_bad_fraction:\n"
        + _some(named)
    )


def _check_lost(source: Source, *, max_bad_fraction: float):
    lost = getattr(source, "num_lost", 0)
    total = lost + len(source)
    if lost > max_bad_fraction * total:
        what = f"{lost} of {total} samples are not whole"
        raise too_many_bad(what, source.faults, max_bad_fraction=max_bad_fraction)
    if lost:
        logger.warning("%d samples are not whole and left out:\n%s", lost, _some(source.faults))


def _check_caption_sources(source: Source, chooser: CaptionChooser):
    missing, seen = set(chooser.stored_sources), set()
    if not missing:
        return
    for record in _spread(len(source), _NUM_SEARCHED):
        try:
            found = source[record].captions
        except BadRecord:
            continue
        missing -= found.keys()
        seen |= found.keys()
        if not missing:
            return
    raise ConfigError(
        f"config.data.captions names {_quoted(missing)}, which no record has; the records' "
        f"caption sources are {_quoted(seen)}"
    )


def _check_records(examples: Examples, *, max_bad_fraction: float):
    probed = _spread(len(examples.source), _NUM_PROBED)
    bad = []
    for record in probed:
        try:
            examples.example(record, position=record)
        except BadRecord as error:
            bad.append(str(error))
    if len(bad) > max_bad_fraction * len(probed):
        what = f"{len(bad)} of {len(probed)} records looked at are bad"
        raise too_many_bad(what, bad, max_bad_fraction=max_bad_fraction)


def _spread(count: int, at_most: int) -> list[int]:
    """Choose record numbers from the first to the last, evenly, none twice."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, at_most)).round()})


def _some(lines: Sequence[str]) -> str:
    more = [f"... and {len(lines) - _NUM_NAMED} more"] if len(lines) > _NUM_NAMED else []
    return "\n".join(f"  {line}" for line in [*lines[:_NUM_NAMED], *more])


def _quoted(names: set[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
