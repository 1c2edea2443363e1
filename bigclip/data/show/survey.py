"""Texts and headers of many records: how long captions are, and how large pictures."""

import collections
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bigclip.data.captions import CaptionChooser, NoCaption
from bigclip.data.image_size import image_size
from bigclip.data.order import Stream, position_rng
from bigclip.data.pipeline import Pipeline
from bigclip.data.records import BadRecord, Record
from bigclip.data.run_records import RunRecords
from bigclip.data.show.rows import count_tokens
from bigclip.data.stream_mixture import StreamMixture


class Survey(NamedTuple):
    """What was found; no picture was decoded.

    Attributes:
        num_records: that were looked at, bad ones included.
        num_tokens: int [n], of the captions that were chosen, special ids included.
        sizes: int [m, 2], width and height of the pictures as stored.
        num_bytes: int [m], of the pictures as stored.
        texts: caption -> how often it was chosen.
        bad: those that cannot be used.
    """

    num_records: int
    num_tokens: np.ndarray
    sizes: np.ndarray
    num_bytes: np.ndarray
    texts: collections.Counter[str]
    bad: list[BadRecord]


def survey(pipeline: Pipeline, *, batch_size: int, seed: int, start_batch: int, num: int) -> Survey:
    """Look at up to `num` records, and no more than there are.

    Args:
        pipeline: the opened data.
        batch_size: B.
        seed: of the run.
        start_batch: where to begin. Of streamed shards, the first records of shards all over the
            list are looked at instead.
        num: how many records.
    """
    tokenizer = pipeline.tokenizer
    chooser = CaptionChooser(**pipeline.options["captions"])
    num_tokens: list[int] = []
    sizes: list[tuple[int, int]] = []
    num_bytes: list[int] = []
    texts: collections.Counter[str] = collections.Counter()
    bad: list[BadRecord] = []
    count = 0
    where = RunRecords(pipeline.source, batch_size=batch_size, seed=seed)
    for position, record in _records(pipeline, where, start_batch * batch_size, num):
        count += 1
        if isinstance(record, BadRecord):
            bad.append(record)
            continue
        try:
            chosen = chooser(record.captions, position_rng(seed, position, Stream.CAPTION))
        except NoCaption as error:
            bad.append(BadRecord(record.key, "no_caption", str(error)))
            continue
        texts.update(chosen)
        num_tokens += [count_tokens(tokenizer, len(tokenizer.pieces(text))) for text in chosen]
        size = image_size(record.image)
        if size is not None:
            sizes.append(size)
            num_bytes.append(len(record.image))
    return Survey(
        count,
        np.array(num_tokens, np.int64),
        np.array(sizes, np.int64).reshape(-1, 2),
        np.array(num_bytes, np.int64),
        texts,
        bad,
    )


def _records(
    pipeline: Pipeline, where: RunRecords, first: int, num: int
) -> Iterator[tuple[int, Record | BadRecord]]:
    source = pipeline.source
    if isinstance(source, StreamMixture):
        yield from enumerate(source.sample(num))
        return
    # In the order of the run, so that the parts of a mixture have their weights.
    for position in range(first, first + min(num, len(source))):
        try:
            found = source[where.order.record(position)]
        except BadRecord as error:
            found = error
        yield position, found
