"""A run without its data: what learns, where, and by which rule.

Planning needs no more than this, so a configuration can be planned whose shards are not there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from bigclip.config import ConfigError, call, check, plain
from bigclip.data.captions import CaptionChooser
from bigclip.data.pipeline import data_options
from bigclip.data.preprocess import Preprocess
from bigclip.data.sources import Source
from bigclip.data.tokenizer import Tokenizer
from bigclip.data.tokenizer_options import read_tokenizer
from bigclip.parallel import check_batch, make_mesh
from bigclip.tasks import Task, make_task
from bigclip.training.durations import in_steps
from bigclip.training.groups import Group
from bigclip.training.optimizer import make_optimizer
from bigclip.training.options import checkpoint_options, log_options
from bigclip.training.schedules import Schedule, make_schedule

# Arguments of `make_schedule` and `make_optimizer` that are no keys of a configuration.
UNIT_KEYS = ("total_steps", "batch_size", "epoch_examples")
TREE_KEYS = ("params", "schedule")


class Outline(NamedTuple):
    """What of a run is known before any record is read.

    Attributes:
        task: what learns.
        preprocess: how pictures are brought to size.
        make_tokenizer: (training source) -> tokenizer.
        mesh: where.
        batch_size: B.
        optimizer: the block, plain.
        schedule: the block.
        data: the block of `data_options`, with its defaults.
        log: the block of `log_options`, with its defaults.
        checkpoints: the block of `checkpoint_options`, with its defaults.
    """

    task: Task
    preprocess: Preprocess
    make_tokenizer: Callable[[Source], Tokenizer]
    mesh: Mesh
    batch_size: int
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    data: dict[str, Any]
    log: dict[str, Any]
    checkpoints: dict[str, Any]


class Rule(NamedTuple):
    """How the parameters change from step to step.

    Attributes:
        total_steps: length of the run.
        optimizer: of `make_optimizer`.
        groups: {path: group} of the parameters.
        schedule: step -> factor of the learning rate.
    """

    total_steps: int
    optimizer: optax.GradientTransformation
    groups: dict[str, Group]
    schedule: Schedule


def _num_captions(block: Mapping[str, Any]) -> int | None:
    """C of the batches' text [b, C, L]; None where it is [b, L]."""
    chooser = call(CaptionChooser, block, "data.captions")
    return chooser.num_captions if chooser.policy == "all" else None


def outline(
    *,
    task: Mapping[str, Any],
    data: Mapping[str, Any],
    preprocess: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    batch_size: int,
    micro_batch_size: int | None,
    schedule: Mapping[str, Any] | None,
    mesh: Mapping[str, Any] | None,
    checkpoints: Mapping[str, Any] | None,
    log: Mapping[str, Any] | None,
    devices: Sequence[jax.Device] | None = None,
) -> Outline:
    """Read the blocks of a configuration; no data, tokenizer or shard is opened.

    Args:
        task: see `experiment`, as for all that follow.
        data: only checked, and asked how many captions an example has.
        preprocess: see `Preprocess`.
        tokenizer: only checked.
        optimizer: checked here, built by `learning_rule`.
        batch_size: B, over all devices.
        micro_batch_size: only checked.
        schedule: checked here, built by `learning_rule`.
        mesh: see `make_mesh`.
        checkpoints: see `checkpoint_options`.
        log: see `log_options`.
        devices: of the mesh; this process's own by default.

    Raises:
        ConfigError: for an unknown or missing key, or a value that cannot be.
    """
    optimizer, schedule = dict(optimizer.items()), dict((schedule or {}).items())
    data = call(data_options, plain(data), "data")
    make_tokenizer = read_tokenizer(tokenizer)
    check(make_optimizer, optimizer, "optimizer", given=TREE_KEYS)
    check(make_schedule, schedule, "schedule", given=UNIT_KEYS)
    check(make_mesh, mesh or {}, "mesh", given=("devices",))
    log = call(log_options, log or {}, "log")
    saving = call(checkpoint_options, checkpoints or {}, "checkpoints")

    prepare = call(Preprocess, preprocess, "preprocess")
    built = make_task(
        task, mean=prepare.mean, std=prepare.std, num_captions=_num_captions(data["captions"])
    )
    where = call(make_mesh, mesh or {}, "mesh", devices=devices)
    check_batch(where, batch_size, micro_batch_size)
    return Outline(
        task=built,
        preprocess=prepare,
        make_tokenizer=make_tokenizer,
        mesh=where,
        batch_size=batch_size,
        optimizer=optimizer,
        schedule=schedule,
        data=data,
        log=log,
        checkpoints=saving,
    )


def learning_rule(
    parts: Outline,
    *,
    total_steps: float | None,
    total_examples: float | None,
    total_epochs: float | None,
    epoch_examples: int | None,
) -> Rule:
    """Build the optimizer and the schedule, whose units may be epochs.

    Args:
        parts: the outline.
        total_steps: length of the run (or `total_examples`, or `total_epochs`).
        total_examples: see `total_steps`.
        total_epochs: see `total_steps`.
        epoch_examples: number of records of the training source; None if it is not known.

    Raises:
        ConfigError: if no length is given, or two; or for what does not fit it.
    """
    length = in_steps(
        "total",
        steps=total_steps,
        examples=total_examples,
        epochs=total_epochs,
        batch_size=parts.batch_size,
        epoch_examples=epoch_examples,
    )
    if not length:
        raise ConfigError("config: give one of total_steps, total_examples or total_epochs.")
    factor = make_schedule(
        **parts.schedule,
        total_steps=length,
        batch_size=parts.batch_size,
        epoch_examples=epoch_examples,
    )
    shapes = jax.eval_shape(parts.task.init, jax.random.key(0))
    rule, groups = make_optimizer(shapes, factor, **plain(parts.optimizer))
    return Rule(total_steps=length, optimizer=rule, groups=groups, schedule=factor)
