"""Batches taken and compared, and shards opened as streams."""

import itertools

import numpy as np

from bigclip.data.batches import open_batches
from bigclip.data.preprocess import Preprocess
from bigclip.data.sources import open_source

LENGTHS = (7, 5, 9, 6, 8, 7, 5, 9, 6, 8)  # of the shards of streams: 70 records


def stream(shards, **options):
    """Open shards of 5 to 9 records as 8 streams with windows of 4."""
    settings = {"num_streams": 8, "shuffle_window": 32, **options}
    return open_source(kind="webdataset", access="stream", shards=shards, **settings)


def stream_options(tokenizer):
    """Options of `open_batches` for small streams."""
    return {
        "preprocess": Preprocess(size=16),
        "tokenizer": tokenizer,
        "batch_size": 16,
        "seed": 5,
        "augment": {"crop": "resized", "scale": (0.5, 1.0), "flip": 0.5},
    }


def take(source, count, **options):
    with open_batches(source, **options) as batches:
        return list(itertools.islice(batches, count))


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
