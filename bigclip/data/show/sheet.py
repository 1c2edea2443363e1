"""What a contact sheet tells, in words and numbers; `page` and `poster` give it a form."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bigclip.data.mixture import Mixture
from bigclip.data.pipeline import Pipeline
from bigclip.data.selection import Selection
from bigclip.data.show.bars import Bar, side_bars, token_bars
from bigclip.data.show.rows import Example, read_rows
from bigclip.data.show.survey import Survey, survey
from bigclip.data.stream_mixture import StreamMixture

_MANY_CUT = 0.05
_MANY_SMALL = 0.05
_MANY_LONG = 0.05
_LONG_RATIO = 3.0
_COMMON_TEXT = 0.01
_MAX_NAMED = 8
_MAX_LISTED, _LONG_LIST = 6, 100  # things and their characters in one line


class Tile(NamedTuple):
    """A number that comes first."""

    label: str
    value: str
    note: str


class Sheet(NamedTuple):
    """A contact sheet.

    Attributes:
        title: the configuration.
        subtitle: which rows are shown.
        tiles: the main numbers.
        odd: sentences about what a person should see.
        tokens: histogram of the tokens of a caption.
        sides: histogram of the shorter sides of pictures, in pixels.
        block: the data block, as (term, words).
        bad: (key, reason) of the first bad records.
        examples: the rows.
    """

    title: str
    subtitle: str
    tiles: list[Tile]
    odd: list[str]
    tokens: list[Bar]
    sides: list[Bar]
    block: list[tuple[str, str]]
    bad: list[tuple[str, str]]
    examples: list[Example]


def make_sheet(
    pipeline: Pipeline,
    *,
    title: str,
    batch_size: int,
    seed: int,
    start_batch: int,
    num: int,
    num_surveyed: int,
) -> Sheet:
    """Read what is to be shown.

    Args:
        pipeline: the opened data.
        title: names the configuration.
        batch_size: B.
        seed: of the run.
        start_batch: the first batch to look at.
        num: rows to show.
        num_surveyed: records whose texts and headers are counted.

    Raises:
        ConfigError: for data that cannot be read at all.
    """
    where = {"batch_size": batch_size, "seed": seed, "start_batch": start_batch}
    examples, tally = read_rows(pipeline, num=num, **where)
    found = survey(pipeline, num=num_surveyed, **where)
    source = pipeline.source
    bad = collections.Counter(tally.bad)
    named = {**tally.named, **{error.key: error.reason for error in found.bad}}
    bad.update(error.fault for error in found.bad if error.key not in tally.named)
    rejected = collections.Counter(getattr(source, "rejected", {})) + tally.rejected
    lost = getattr(source, "num_lost", 0)
    num_seen = max(1, tally.num_seen + found.num_records)
    for fault in getattr(source, "faults", ()):
        named.setdefault(*fault.split(": ", 1))
    most_bad = pipeline.options["max_bad_fraction"]
    odd = _odd(pipeline, examples, found, batch_size)
    if bad.total() > most_bad * num_seen:
        odd.insert(
            0,
            f"{bad.total()} of {num_seen:,} records are bad ({_counts(bad)}): more than "
            f"config.data.max_bad_fraction = {most_bad:g} allows; a run may stop.",
        )
    last = examples[-1]
    rows = f"Batch {start_batch}, rows 0 to {last.row}"
    if last.batch > start_batch:
        rows = f"Batches {start_batch} to {last.batch}, {len(examples)} rows"
    return Sheet(
        title=title,
        subtitle=f"{rows}, of {batch_size:,} examples a batch, seed {seed}",
        tiles=[
            _records_tile(pipeline),
            *_survey_tiles(pipeline, found),
            Tile("Bad records", f"{bad.total():,}", _counts(bad) or f"of {num_seen:,} looked at"),
            Tile(
                "Left out",
                f"{rejected.total() + lost:,}",
                _counts({**rejected, **({"incomplete_sample": lost} if lost else {})})
                or "nothing is filtered",
            ),
        ],
        odd=odd,
        tokens=token_bars(found.num_tokens, pipeline.tokenizer.context_length),
        sides=side_bars(found.sizes, pipeline.preprocess.size),
        block=describe(pipeline),
        bad=list(named.items())[:_MAX_NAMED],
        examples=examples,
    )


def _records_tile(pipeline: Pipeline) -> Tile:
    shards = _shards(pipeline.source)
    count = pipeline.num_records
    note = f"in {len(shards):,} shard{'s' * (len(shards) != 1)}" if shards else ""
    if count is None:
        return Tile("Records", "streamed", f"{note}; their number is not known before")
    return Tile("Records", f"{count:,}", note)


def _survey_tiles(pipeline: Pipeline, found: Survey) -> list[Tile]:
    length = pipeline.tokenizer.context_length
    of = f"of {len(found.num_tokens):,} captions"
    tiles = []
    if len(found.num_tokens):
        cut = (found.num_tokens > length).mean()
        most = int(np.percentile(found.num_tokens, 95, method="higher"))
        tiles += [
            Tile("Captions that are cut", f"{cut:.1%}", f"at {length} tokens, {of}"),
            Tile("Tokens of a caption", f"{found.num_tokens.mean():.1f}", f"mean; 95% ≤ {most}"),
        ]
    if len(found.sizes):
        width, height = np.median(found.sizes, axis=0).astype(int).tolist()
        kilobytes = found.num_bytes.mean() / 1000
        note = f"median; {kilobytes:.1f} kB encoded on average; the model takes "
        tiles.append(Tile("Picture", f"{width} × {height}", f"{note}{pipeline.preprocess.size}"))
    return tiles


def _odd(
    pipeline: Pipeline, examples: Sequence[Example], found: Survey, batch_size: int
) -> list[str]:
    told = []
    length, size = pipeline.tokenizer.context_length, pipeline.preprocess.size
    if len(found.num_tokens):
        cut = (found.num_tokens > length).mean()
        if cut > _MANY_CUT:
            told.append(
                f"{cut:.0%} of the captions are cut: they have more than the "
                f"{length} tokens of config.tokenizer.context_length."
            )
        text, count = found.texts.most_common(1)[0]
        if count > 2 and count > _COMMON_TEXT * len(found.num_tokens):
            told.append(
                f"“{_short(text)}” is the caption of {count / len(found.num_tokens):.1%} of "
                "the examples."
            )
    shown = collections.Counter(caption.text for one in examples for caption in one.captions)
    same = {text: count for text, count in shown.items() if count > 1}
    if same:
        text, count = max(same.items(), key=lambda item: item[1])
        told.append(
            f"{sum(same.values())} of the {shown.total()} captions below are not the only ones "
            f"of their kind, such as “{_short(text)}” ({count} times): a contrastive loss takes "
            "them for negatives of each other, unless told otherwise."
        )
    blank = sum(1 for one in examples for caption in one.captions if not caption.pieces)
    if blank:
        told.append(f"{blank} captions below have not one token.")
    if len(found.sizes):
        shortest = found.sizes.min(1)
        small = (shortest < size).mean()
        if small > _MANY_SMALL:
            told.append(
                f"{small:.0%} of the pictures are enlarged: their shorter side has fewer than "
                f"the model's {size} pixels."
            )
        long = (found.sizes.max(1) > _LONG_RATIO * shortest).mean()
        if long > _MANY_LONG:
            told.append(f"{long:.0%} of the pictures are more than 3 times as long as wide.")
    if pipeline.num_records is not None and pipeline.num_records < batch_size:
        told.append(
            f"There are {pipeline.num_records} records for a batch of {batch_size}: a batch holds "
            "some twice."
        )
    return told


def describe(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Put the data block into words, as (term, words)."""
    options, preprocess, tokenizer = pipeline.options, pipeline.preprocess, pipeline.tokenizer
    captions, augment = options["captions"], options["augment"]
    augment_text = _settings(options["augment_text"])
    source = {name: value for name, value in options["source"].items() if name != "kind"}
    return [
        ("Source", f"{options['source']['kind']}: {_settings(source)}"),
        ("Filters", _settings(options["filters"]) or "none"),
        (
            "Picture",
            f"{preprocess.size} × {preprocess.size} pixels; an evaluation gets it by "
            f"“{preprocess.resize}”, {preprocess.interpolation}",
        ),
        ("Augmentation", _settings(augment) or "none: the cut is that of an evaluation"),
        ("Captions", _settings(captions) or "the first caption source of each record"),
        (
            "Tokens",
            f"{tokenizer.context_length} a caption, of a vocabulary of {tokenizer.vocab_size:,}; "
            f"texts are cleaned by “{tokenizer.clean}”",
        ),
        (
            "Augmentation of texts",
            f"{augment_text}; the figures of all captions are without it"
            if augment_text
            else "none",
        ),
    ]


def _settings(block: Mapping[str, Any]) -> str:
    return "; ".join(f"{name} {_value(value)}" for name, value in block.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_value(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        if len(value) == 2 and all(isinstance(one, (int, float)) for one in value):
            return f"{value[0]:g} to {value[1]:g}"
        if value and all(isinstance(one, (list, tuple)) for one in value):
            value = [" × ".join(map(_value, one)) for one in value]
        # Of long things, such as paths, one is enough.
        listed = _MAX_LISTED if sum(len(str(one)) for one in value) < _LONG_LIST else 1
        more = f" and {len(value) - listed} more" if len(value) > listed else ""
        return " + ".join(map(_value, value[:listed])) + more
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shards(source) -> list[str]:
    if isinstance(source, Selection):
        return _shards(source.source)
    if isinstance(source, (Mixture, StreamMixture)):
        return [path for part in source.sources for path in _shards(part)]
    return list(getattr(source, "shards", ()))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
