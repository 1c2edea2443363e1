"""What is looked at before the first batch, so that bad data stops a run that has not begun."""

import logging
from collections.abc import Iterator

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.captions import CaptionChooser
from bigclip.data.examples import ExampleMaker
from bigclip.data.records import BadRecord, Record
from bigclip.data.sources import Source
from bigclip.data.stream_mixture import StreamMixture
from bigclip.data.tally import some_lines, too_many_bad

_NUM_PROBED = 256
_NUM_SEARCHED = 4096  # records looked through for a caption source before it is called missing

logger = logging.getLogger(__name__)


def check_examples(source: Source | StreamMixture, maker: ExampleMaker, *, max_bad_fraction: float):
    """Look at a sample of the records, as the run will read them; every host looks at the same.

    Raises:
        ConfigError: if too many samples are not whole, if a caption source with a weight does
            not exist, or if too many records are bad; names them and the mend.
    """
    if not isinstance(source, StreamMixture):
        _check_lost(source, max_bad_fraction=max_bad_fraction)
    _check_caption_sources(source, maker.chooser)
    _check_records(source, maker, max_bad_fraction=max_bad_fraction)


def _look_at(
    source: Source | StreamMixture, at_most: int
) -> Iterator[tuple[int, Record | BadRecord]]:
    """Go through numbered records from the first to the last, evenly, none twice."""
    if isinstance(source, StreamMixture):
        yield from enumerate(source.sample(at_most))
        return
    for number in _spread(len(source), at_most):
        try:
            yield number, source[number]
        except BadRecord as error:
            yield number, error


def _check_lost(source: Source, *, max_bad_fraction: float):
    lost = getattr(source, "num_lost", 0)
    total = lost + len(source)
    if lost > max_bad_fraction * total:
        what = f"{lost} of {total} samples are not whole"
        raise too_many_bad(what, source.faults, max_bad_fraction=max_bad_fraction)
    if lost:
        logger.warning(
            "%d samples are not whole and left out:\n%s", lost, some_lines(source.faults)
        )


def _check_caption_sources(source: Source | StreamMixture, chooser: CaptionChooser):
    missing, seen = set(chooser.stored_sources), set()
    if not missing:
        return
    for _, record in _look_at(source, _NUM_SEARCHED):
        if isinstance(record, BadRecord):
            continue
        missing -= record.captions.keys()
        seen |= record.captions.keys()
        if not missing:
            return
    raise ConfigError(
        f"config.data.captions names {_quoted(missing)}, which no record has; the records' "
        f"caption sources are {_quoted(seen)}"
    )


def _check_records(source: Source | StreamMixture, maker: ExampleMaker, *, max_bad_fraction: float):
    bad, num_probed = [], 0
    for number, record in _look_at(source, _NUM_PROBED):
        num_probed += 1
        try:
            if isinstance(record, BadRecord):
                raise record
            maker.example(record, position=number)
        except BadRecord as error:
            bad.append(str(error))
    if not num_probed:
        if getattr(source, "filter", None):
            raise ConfigError(
                f"config.data.filters: none of the first records in {source!r} passes "
                f"{source.filter!r}"
            )
        raise ConfigError(f"config.data.source: {source!r} has no records")
    if len(bad) > max_bad_fraction * num_probed:
        what = f"{len(bad)} of {num_probed} records looked at are bad"
        raise too_many_bad(what, bad, max_bad_fraction=max_bad_fraction)


def _spread(count: int, at_most: int) -> list[int]:
    """Choose record numbers from the first to the last, evenly, none twice."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, at_most)).round()})


def _quoted(names: set[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
