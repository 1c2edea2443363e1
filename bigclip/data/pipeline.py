"""From the data blocks of a configuration to batches; what training and the data tools share."""

import collections
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bigclip.config import ConfigError, call, check, plain
from bigclip.data.augment import Augmenter
from bigclip.data.augment_text import TextAugmenter, check_text_options
from bigclip.data.batches import Batches, open_batches
from bigclip.data.captions import CaptionChooser
from bigclip.data.filters import Filter
from bigclip.data.mixture import Mixture
from bigclip.data.preprocess import Preprocess
from bigclip.data.selection import apply_filters
from bigclip.data.sources import SOURCES, Source, open_source
from bigclip.data.stream_mixture import StreamMixture
from bigclip.data.tokenizer import Tokenizer
from bigclip.data.tokenizer_options import read_tokenizer

# Keys of the block that shape what is read; the others go to `open_batches`.
_READ_BEFORE = ("source", "filters")


class Pipeline(NamedTuple):
    """What a run learns from, opened.

    Attributes:
        source: the records, filtered.
        preprocess: the evaluation transform.
        tokenizer: makes ids of captions.
        options: the block `data`, with its defaults.
    """

    source: Source | StreamMixture
    preprocess: Preprocess
    tokenizer: Tokenizer
    options: dict[str, Any]

    @property
    def num_records(self) -> int | None:
        """How many records there are; None if streamed shards do not tell."""
        if isinstance(self.source, StreamMixture):
            return self.source.num_records
        return len(self.source)

    @property
    def filtered(self) -> dict[str, int]:
        """How many records of a random-access source the filters left out, by rule."""
        sources = self.source.sources if isinstance(self.source, Mixture) else (self.source,)
        total: collections.Counter[str] = collections.Counter()
        for source in sources:
            total.update(getattr(source, "rejected", {}))
        return dict(total)

    def open_batches(self, *, batch_size: int, seed: int, **where: Any) -> Batches:
        """Start making batches; see `open_batches` for the arguments."""
        options = {name: v for name, v in self.options.items() if name not in _READ_BEFORE}
        return open_batches(
            self.source,
            preprocess=self.preprocess,
            tokenizer=self.tokenizer,
            batch_size=batch_size,
            seed=seed,
            **options,
            **where,
        )


def data_options(
    *,
    source: Mapping[str, Any],
    augment: Mapping[str, Any] | None = None,
    captions: Mapping[str, Any] | None = None,
    augment_text: Mapping[str, Any] | None = None,
    filters: Mapping[str, Any] | None = None,
    num_threads: int = 2,
    num_workers: int = 0,
    max_bad_fraction: float = 0.01,
) -> dict[str, Any]:
    """Check the block `data` of a configuration; no data is opened.

    Args:
        source: `kind` and the options of one of `bigclip.data.sources.SOURCES`.
        augment: see `Augmenter`.
        captions: see `CaptionChooser`.
        augment_text: see `TextAugmenter`.
        filters: see `apply_filters`.
        num_threads: threads that read and decode, in this process or in each worker.
        num_workers: worker processes; 0 for none.
        max_bad_fraction: the most bad records, as a share of all, that are replaced.
    """
    if "kind" not in source:
        raise ConfigError(f"config.data.source.kind is missing. Valid: {', '.join(SOURCES)}.")
    check(Augmenter, augment or {}, "data.augment", given=("preprocess",))
    check(CaptionChooser, captions or {}, "data.captions")
    call(check_text_options, augment_text or {}, "data.augment_text")
    check(Filter, filters or {}, "data.filters")
    return {
        "source": source,
        "augment": augment or {},
        "captions": captions or {},
        "augment_text": augment_text or {},
        "filters": filters or {},
        "num_threads": num_threads,
        "num_workers": num_workers,
        "max_bad_fraction": max_bad_fraction,
    }


def open_pipeline(
    options: Mapping[str, Any],
    *,
    preprocess: Preprocess,
    make_tokenizer: Callable[[Source | StreamMixture], Tokenizer],
) -> Pipeline:
    """Open the data of a run.

    Args:
        options: of `data_options`.
        preprocess: the evaluation transform.
        make_tokenizer: of `read_tokenizer`.

    Raises:
        ConfigError: if the data cannot be opened as described.
    """
    source = apply_filters(open_source(**options["source"]), options["filters"])
    tokenizer = make_tokenizer(source)
    TextAugmenter(tokenizer, **options["augment_text"])  # it may not fit the tokenizer
    return Pipeline(source, preprocess, tokenizer, dict(options))


def read_pipeline(config: Mapping[str, Any]) -> Pipeline:
    """Open the data of a whole configuration, for tools that look at the data alone.

    Args:
        config: with the blocks `data`, `preprocess` and `tokenizer`; the rest is not read.

    Raises:
        ConfigError: for a mistake in one of the blocks.
    """
    for name in ("data", "preprocess", "tokenizer"):
        if name not in config:
            raise ConfigError(f"config.{name} is missing: this tool needs it.")
    return open_pipeline(
        call(data_options, plain(config["data"]), "data"),
        preprocess=call(Preprocess, config["preprocess"], "preprocess"),
        make_tokenizer=read_tokenizer(config["tokenizer"]),
    )
