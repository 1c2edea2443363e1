"""The first rows of a run's batches, with where they came from and what was written there."""

import itertools
from typing import NamedTuple

import numpy as np

from bigclip.data.augment_text import TextAugmenter, text_rng
from bigclip.data.captions import CaptionChooser
from bigclip.data.image_size import image_size
from bigclip.data.order import Stream, position_rng
from bigclip.data.pipeline import Pipeline
from bigclip.data.records import Record
from bigclip.data.run_records import RunRecords
from bigclip.data.show.pieces import Piece, readable_pieces
from bigclip.data.stream_mixture import StreamMixture
from bigclip.data.tally import Tally
from bigclip.data.tokenizer import Tokenizer

# Whoever looks at data wants to see it also where a run would refuse it.
_ANY_BAD_FRACTION = 0.999


class Caption(NamedTuple):
    """A text that was chosen for an example.

    Attributes:
        text: before tokenising.
        ids: int32 [L], as in the batch.
        pieces: how it is cut, all of it.
        kept: of each piece, whether it was not left out at random.
        others: of each piece, the random one that stands in its place if it is kept, if any.
        num_tokens: of the kept ones, special ids included; more than L if it is cut.
    """

    text: str
    ids: np.ndarray
    pieces: list[Piece]
    kept: list[bool]
    others: list[Piece | None]
    num_tokens: int

    @property
    def is_cut(self) -> bool:
        """Whether the model does not see all of it."""
        return self.num_tokens > len(self.ids)

    @property
    def seen(self) -> list[bool]:
        """Of each piece, whether the model sees it."""
        num = sum(self.kept) - max(0, self.num_tokens - len(self.ids))
        return [
            here and place <= num
            for here, place in zip(self.kept, itertools.accumulate(self.kept), strict=True)
        ]


class Example(NamedTuple):
    """A row.

    Attributes:
        batch, row: where it stands.
        picture: uint8 [H, H, 3], as the model gets it.
        untouched: uint8 [H, H, 3], the same picture as an evaluation would cut it.
        captions: one, or C.
        key: of the record.
        size: width and height of the stored picture.
        num_bytes: of the stored picture.
        num_bad: records that were bad and that this one stands for.
    """

    batch: int
    row: int
    picture: np.ndarray
    untouched: np.ndarray
    captions: list[Caption]
    key: str
    size: tuple[int, int]
    num_bytes: int
    num_bad: int


def count_tokens(tokenizer: Tokenizer, num_pieces: int) -> int:
    """Return how many ids a text needs, with those that the tokenizer puts around it."""
    return num_pieces + (tokenizer.sot is not None) + (tokenizer.eot is not None)


def read_rows(
    pipeline: Pipeline, *, batch_size: int, seed: int, start_batch: int, num: int
) -> tuple[list[Example], Tally]:
    """Take rows from the batches that a run reads.

    Args:
        pipeline: the opened data.
        batch_size: B.
        seed: of the run.
        start_batch: the first batch to look at.
        num: rows; with more than B, the next batches follow.

    Returns:
        The examples, and what became of all records on the way.

    Raises:
        ConfigError: for data that cannot be read at all.
        RuntimeError: if a row is not what its record gives: a mistake in this program.
    """
    records = RunRecords(pipeline.source, batch_size=batch_size, seed=seed)
    # As one of many processes, which makes the first rows and no more.
    process_count = records.shares(min(num, batch_size))
    options = {**pipeline.options, "max_bad_fraction": _ANY_BAD_FRACTION}
    # Streams begin at their start, whatever the batch is called; so those before are read, too.
    first = 0 if isinstance(pipeline.source, StreamMixture) else start_batch
    opened = pipeline._replace(options=options).open_batches(
        batch_size=batch_size, seed=seed, process_count=process_count, start_batch=first
    )
    chooser = CaptionChooser(**pipeline.options["captions"])
    augmenter = TextAugmenter(pipeline.tokenizer, **pipeline.options["augment_text"])
    examples: list[Example] = []
    with opened as batches:
        for _ in range(first, start_batch):
            next(batches)
        for number in itertools.count(start_batch):
            batch = next(batches)
            for row in range(min(len(batch["record"]), num - len(examples))):
                position = records.position(number, row)
                record = records.read(batch["record"][row], position)
                rng = position_rng(seed, position, Stream.CAPTION)
                texts = chooser(record.captions, rng)
                ids = batch["text"][row].reshape(len(texts), -1)
                made = augmenter(texts, seed=seed, positions=[position] * len(texts))
                if not np.array_equal(made, ids):
                    raise RuntimeError(
                        f"row {row} of batch {number} is not made of {record.key}: {texts}"
                    )
                rng = text_rng(seed, position)
                captions = [
                    _caption(augmenter, text, own, rng)
                    for text, own in zip(texts, ids, strict=True)
                ]
                values = {name: array[row] for name, array in batch.items()}
                examples.append(_example(pipeline, number, row, values, record, captions))
            if len(examples) == num:
                return examples, batches.tally
    raise AssertionError("batches are endless")


def _caption(
    augmenter: TextAugmenter, text: str, ids: np.ndarray, rng: np.random.Generator
) -> Caption:
    tokenizer = augmenter.tokenizer
    cut, kept, others = augmenter.pieces(text, rng)
    return Caption(
        text=text,
        ids=ids,
        pieces=readable_pieces(tokenizer, cut),
        kept=kept,
        others=[
            None if one is None else readable_pieces(tokenizer, [tokenizer.piece(one)])[0]
            for one in others
        ],
        num_tokens=count_tokens(tokenizer, sum(kept)),
    )


def _example(pipeline: Pipeline, batch: int, row: int, values, record: Record, captions) -> Example:
    return Example(
        batch=batch,
        row=row,
        picture=values["image"],
        untouched=pipeline.preprocess(record.image),
        captions=captions,
        key=record.key,
        size=image_size(record.image),
        num_bytes=len(record.image),
        num_bad=int(values["bad"]),
    )
