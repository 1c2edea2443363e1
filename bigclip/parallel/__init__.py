"""Mesh, partition rules, activation sharding and process start-up."""

from bigclip.parallel.activations import BATCH_AXES, shard_batch
from bigclip.parallel.mesh import (
    AXES,
    batch_sharding,
    check_batch,
    make_mesh,
    num_batch_shards,
    replicated,
)
from bigclip.parallel.processes import agree, is_main, start
from bigclip.parallel.rows import HostRows, assign_rows, host_rows
from bigclip.parallel.rules import Rules, match_patterns, path_name, shard_params

__all__ = [
    "AXES",
    "BATCH_AXES",
    "HostRows",
    "Rules",
    "agree",
    "assign_rows",
    "batch_sharding",
    "check_batch",
    "host_rows",
    "is_main",
    "make_mesh",
    "match_patterns",
    "num_batch_shards",
    "path_name",
    "replicated",
    "shard_batch",
    "shard_params",
    "start",
]
