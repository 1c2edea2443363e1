"""Where records come from, by the configuration's word for it.

A random-access source is anything with `len(source)` and `source[i] -> Record`, that can be
pickled and read from several threads; it raises `BadRecord` for a record that is broken. Sources
may tell, in `num_lost` and `faults`, what was left out already when they were opened. The other
kind, for buckets, is a `StreamMixture` of tar shards that are read from front to back.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

from bigclip.config import ConfigError, call, choose
from bigclip.data.array_record_source import ArrayRecordSource
from bigclip.data.files import is_url
from bigclip.data.folder_source import FolderSource
from bigclip.data.mixture import Mixture, read_weights
from bigclip.data.records import Record
from bigclip.data.shard_paths import expand_shards
from bigclip.data.shard_streams import ShardStreams
from bigclip.data.stream_mixture import StreamMixture
from bigclip.data.synthetic_source import SyntheticSource
from bigclip.data.tfds_source import TfdsSource
from bigclip.data.webdataset import WebDataset


class Source(Protocol):
    """Random access to records."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


ACCESSES = {"auto": None, "random": WebDataset, "stream": ShardStreams}
_RANDOM_ONLY = ("index_dir", "needs_caption")


def open_webdataset(
    shards,
    *,
    access: str = "auto",
    caption_key: str = "captions",
    index_dir: str | None = None,
    num_streams: int | None = None,
    shuffle_window: int | None = None,
    num_records: int | None = None,
    needs_caption: bool = True,
) -> Source | StreamMixture:
    """Open tar shards.

    Args:
        shards: patterns of paths and URLs, see `expand_shards`.
        access: "random" reads single records, in an order shuffled over all of them, and knows
            their number; "stream" reads shards from front to back. "auto" takes random access on
            this machine's file systems or where an `index_dir` is given, and streams from URLs.
        caption_key: field of the .json that holds captions.
        index_dir: see `WebDataset`; for random access.
        num_streams: see `ShardStreams`, as for what follows; for streams.
        shuffle_window: likewise.
        num_records: likewise.
        needs_caption: see `WebDataset`; for random access.

    Raises:
        ConfigError: for an option that the access does not have, or shards that cannot be read.
    """
    kind = choose(access, ACCESSES, "config.data.source.access")
    if kind is None:
        far = any(is_url(path) for path in expand_shards(shards))
        kind = ShardStreams if far and index_dir is None else WebDataset
    options = {
        "index_dir": index_dir,
        "num_streams": num_streams,
        "shuffle_window": shuffle_window,
        "num_records": num_records,
        "needs_caption": None if needs_caption else False,
    }
    options = {name: value for name, value in options.items() if value is not None}
    useless = [name for name in options if (name in _RANDOM_ONLY) != (kind is WebDataset)]
    if useless:
        access, other = ("random", "stream") if kind is WebDataset else ("stream", "random")
        raise ConfigError(
            f"config.data.source.{useless[0]}: these shards are read with access={access!r}, and "
            f"this is for access={other!r}; set config.data.source.access, or leave it away"
        )
    block = {"shards": shards, "caption_key": caption_key, **options}
    source = call(kind, block, "data.source")
    return StreamMixture({"": source}) if isinstance(source, ShardStreams) else source


def open_mixture(*, sources: Mapping[str, Mapping[str, Any]]) -> Source | StreamMixture:
    """Open several sources as one.

    Args:
        sources: name -> a source block with `kind` and its options, and `weight`: how often it
            is drawn from, in any units. Without any weight, each source counts by its size.

    Raises:
        ConfigError: for a mistake in a weight or a source, or if some are streams and some not.
    """
    if not isinstance(sources, Mapping) or not sources:
        raise ConfigError(
            "config.data.source.sources must be a mapping of names to source blocks, "
            f"{{'mine': {{'kind': ..., 'weight': 1.0}}, ...}}, not {sources!r}"
        )
    opened, weights = {}, {}
    for name in sorted(sources):
        block = dict(sources[name])
        weights[name] = block.pop("weight", None)
        try:
            opened[name] = open_source(**block)
        except (ConfigError, TypeError) as error:
            raise ConfigError(f"config.data.source.sources.{name}: {error}") from error
    if any(isinstance(source, Mixture) for source in opened.values()):
        raise ConfigError("config.data.source.sources: a mixture cannot hold another; join them")
    streams = {name: s for name, s in opened.items() if isinstance(s, StreamMixture)}
    if not streams:
        sizes = {name: len(source) for name, source in opened.items()}
        return Mixture(opened, read_weights(weights, sizes))
    if len(streams) < len(opened):
        raise ConfigError(
            f"config.data.source.sources: {', '.join(streams)} are streamed, and the others are "
            "read at random, which cannot be mixed; set access='random' or access='stream' for "
            "the shards"
        )
    sizes = {name: source.num_records for name, source in streams.items()}
    single = {name: source.sources[0] for name, source in streams.items()}
    return StreamMixture(single, read_weights(weights, sizes))


SOURCES = {
    "webdataset": open_webdataset,
    "tfds": TfdsSource,
    "array_record": ArrayRecordSource,
    "folder": FolderSource,
    "synthetic": SyntheticSource,
    "mixture": open_mixture,
}


def open_source(*, kind: str, **options) -> Source | StreamMixture:
    """Open a source by its kind.

    Args:
        kind: one of `SOURCES`: "webdataset" (tar shards), "tfds" (tensorflow-datasets),
            "array_record" (files of tf.train.Example), "folder" (files of pictures), "synthetic"
            or "mixture".
        **options: keyword arguments of what stands there.

    Raises:
        ConfigError: if the kind is unknown, or the data cannot be opened as described.
    """
    return call(choose(kind, SOURCES, "config.data.source.kind"), options, "data.source")


def open_random_access(**block) -> Source:
    """Open a source whose records can be read by their number, as evaluation needs it.

    Its records need no caption, where the kind of source can do without: a picture with a label is
    enough for a classification. `needs_caption=True` in the block insists on one.

    Raises:
        ConfigError: as `open_source`; and if the shards are to be streamed.
    """
    if block.get("kind") == "webdataset" and block.get("access", "auto") == "auto":
        block["access"] = "random"
    kind = SOURCES.get(block.get("kind"))
    if kind is not None and "needs_caption" in inspect.signature(kind).parameters:
        block.setdefault("needs_caption", False)
    source = open_source(**block)
    if isinstance(source, StreamMixture):
        raise ConfigError("source: streamed shards have no record numbers; set access='random'")
    return source
