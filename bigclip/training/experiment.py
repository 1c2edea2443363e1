"""From a configuration to the parts of a run: everything that is checked before the first step."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from bigclip import checkpoints
from bigclip.config import ConfigError, call, check, plain, resolve
from bigclip.data.batches import open_batches
from bigclip.data.preprocess import Preprocess
from bigclip.data.sources import open_source
from bigclip.data.tokenizer import Tokenizer
from bigclip.parallel import check_batch, make_mesh
from bigclip.tasks import Task, make_task
from bigclip.training.durations import in_steps
from bigclip.training.groups import Group
from bigclip.training.optimizer import make_optimizer
from bigclip.training.options import checkpoint_options, data_options, log_options
from bigclip.training.schedules import Schedule, make_schedule
from bigclip.training.tokenizers import read_tokenizer


class Experiment(NamedTuple):
    """A run that is ready to begin.

    Attributes:
        config: the resolved configuration, plain data, with every default written out.
        task: what learns.
        mesh: where.
        optimizer: of `make_optimizer`.
        groups: {path: group} of the parameters.
        schedule: step -> factor of the learning rate.
        learning_rate: the peak.
        open_batches: (start_batch) -> iterator of host batches of this process, with `close()`.
        total_steps: length of the run.
        batch_size: B.
        manifest: the part of `checkpoints.make_manifest` that the configuration decides.
    """

    config: dict[str, Any]
    task: Task
    mesh: Mesh
    optimizer: optax.GradientTransformation
    groups: dict[str, Group]
    schedule: Schedule
    learning_rate: float
    open_batches: Callable[[int], Iterator[dict[str, np.ndarray]]]
    total_steps: int
    batch_size: int
    manifest: dict[str, Any]


def _check_sizes(task: Task, preprocess: Preprocess, tokenizer: Tokenizer) -> None:
    """The towers, the pictures and the tokens must agree on their sizes."""
    image, text = (task.manifest["architecture"][tower] for tower in ("image", "text"))
    if preprocess.size != image["image_size"]:
        raise ConfigError(
            f"config.preprocess.size = {preprocess.size}, but the architecture takes "
            f"{image['image_size']} pixels: make them equal (config.task.overrides.image."
            "image_size changes the architecture)."
        )
    if tokenizer.context_length != text["context_length"]:
        raise ConfigError(
            f"config.tokenizer.context_length = {tokenizer.context_length}, but the architecture "
            f"takes {text['context_length']} tokens: make them equal (config.task.overrides.text."
            "context_length changes the architecture)."
        )
    if tokenizer.vocab_size > text["vocab_size"]:
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, but the architecture only "
            f"{text['vocab_size']}: raise config.task.overrides.text.vocab_size."
        )


def experiment(
    *,
    task: Mapping[str, Any],
    data: Mapping[str, Any],
    preprocess: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    batch_size: int,
    micro_batch_size: int | None = None,
    total_steps: float | None = None,
    total_examples: float | None = None,
    total_epochs: float | None = None,
    schedule: Mapping[str, Any] | None = None,
    ema_decay: float | None = None,
    seed: int = 0,
    mesh: Mapping[str, Any] | None = None,
    checkpoints: Mapping[str, Any] | None = None,
    log: Mapping[str, Any] | None = None,
    evals: Mapping[str, Any] | None = None,
    init_from: str | None = None,
) -> Experiment:
    """Read a whole configuration; its keys are this function's arguments.

    Args:
        task: `name` and the arguments of one of `bigclip.tasks.TASKS`.
        data: see `data_options`.
        preprocess: see `Preprocess`.
        tokenizer: see `read_tokenizer`.
        optimizer: see `make_optimizer`.
        batch_size: B, over all devices.
        micro_batch_size: examples whose activations are held at once; None holds all.
        total_steps: length of the run (or `total_examples`, or `total_epochs`).
        total_examples: see `total_steps`.
        total_epochs: see `total_steps`.
        schedule: see `make_schedule`.
        ema_decay: decay per step of an average of the parameters; None keeps none.
        seed: decides the parameters, the order and augmentation of the data, and dropout.
        mesh: see `make_mesh`.
        checkpoints: see `checkpoint_options`.
        log: see `log_options`.
        evals: {name: suite block} for the evaluation job.
        init_from: a workdir or checkpoint whose parameters the run begins with.

    Raises:
        ConfigError: for whatever would stop the run later; names the key and the mend.
    """
    optimizer, schedule = dict(optimizer.items()), dict((schedule or {}).items())
    unit_keys, tree_keys = ("total_steps", "batch_size", "epoch_examples"), ("params", "schedule")
    data = call(data_options, plain(data), "data")
    make_tokenizer = read_tokenizer(tokenizer)
    check(make_optimizer, optimizer, "optimizer", given=tree_keys)
    check(make_schedule, schedule, "schedule", given=unit_keys)
    check(make_mesh, mesh or {}, "mesh", given=("devices",))
    log = call(log_options, log or {}, "log")
    saving = call(checkpoint_options, checkpoints or {}, "checkpoints")

    prepare = call(Preprocess, preprocess, "preprocess")
    built = make_task(task, mean=prepare.mean, std=prepare.std)
    where = call(make_mesh, mesh or {}, "mesh")
    check_batch(where, batch_size, micro_batch_size)

    source = open_source(**data["source"])
    if len(source) < batch_size:
        raise ConfigError(
            f"config.data.source holds {len(source)} records, fewer than config.batch_size = "
            f"{batch_size}: a contrastive batch must not repeat a record. Lower batch_size."
        )
    words = make_tokenizer(source)
    _check_sizes(built, prepare, words)
    length = in_steps(
        "total",
        steps=total_steps,
        examples=total_examples,
        epochs=total_epochs,
        batch_size=batch_size,
        epoch_examples=len(source),
    )
    if not length:
        raise ConfigError("config: give one of total_steps, total_examples or total_epochs.")
    unit = {"total_steps": length, "batch_size": batch_size, "epoch_examples": len(source)}
    factor = make_schedule(**schedule, **unit)
    shapes = jax.eval_shape(built.init, jax.random.key(0))
    rule, groups = make_optimizer(shapes, factor, **plain(optimizer))

    def batches(start_batch: int) -> Iterator[dict[str, np.ndarray]]:
        return open_batches(
            source,
            preprocess=prepare,
            tokenizer=words,
            batch_size=batch_size,
            seed=seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            start_batch=start_batch,
            **{key: value for key, value in data.items() if key != "source"},
        )

    config = plain(
        {
            "task": built.manifest,
            "data": data,
            "preprocess": prepare.to_dict(),
            "tokenizer": dict(tokenizer.items()),
            "optimizer": resolve(make_optimizer, optimizer, given=tree_keys),
            "schedule": resolve(make_schedule, schedule, given=unit_keys),
            "batch_size": batch_size,
            "micro_batch_size": micro_batch_size,
            "total_steps": length,
            "ema_decay": ema_decay,
            "seed": seed,
            "mesh": {axis: where.shape[axis] for axis in where.axis_names},
            "checkpoints": saving,
            "log": log,
            "evals": evals or {},
            "init_from": init_from,
        }
    )
    return Experiment(
        config=config,
        task=built,
        mesh=where,
        optimizer=rule,
        groups=groups,
        schedule=factor,
        learning_rate=optimizer["learning_rate"],
        open_batches=batches,
        total_steps=length,
        batch_size=batch_size,
        manifest={
            "task": built.manifest,
            "preprocess": prepare.to_dict(),
            "tokenizer": words.to_dict(),
            "config": config,
        },
    )


def run_manifest(parts: Experiment, run_id: str) -> dict[str, Any]:
    """The manifest of the run's checkpoints, without what changes from step to step."""
    return checkpoints.make_manifest(**parts.manifest, run_id=run_id)
