"""From a configuration to the parts of a run: everything that is checked before the first step."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax
from jax.sharding import Mesh

from bigclip import checkpoints
from bigclip.config import ConfigError, plain, resolve
from bigclip.data.batches import Batches
from bigclip.data.pipeline import open_pipeline
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import Tokenizer
from bigclip.parallel import host_rows
from bigclip.tasks import Task
from bigclip.training.groups import Group
from bigclip.training.initial.options import InitFrom, plain_init_from, read_init_from
from bigclip.training.optimizer import make_optimizer
from bigclip.training.outline import TREE_KEYS, UNIT_KEYS, learning_rule, outline
from bigclip.training.schedules import Schedule, make_schedule


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
        open_batches: (start_batch, position) -> `Batches` of this process.
        filtered: rule -> how many records were left out beforehand.
        total_steps: length of the run.
        batch_size: B.
        init_from: the checkpoint that the run begins with, or None.
        manifest: the part of `checkpoints.make_manifest` that the configuration decides.
    """

    config: dict[str, Any]
    task: Task
    mesh: Mesh
    optimizer: optax.GradientTransformation
    groups: dict[str, Group]
    schedule: Schedule
    learning_rate: float
    open_batches: Callable[..., Batches]
    filtered: dict[str, int]
    total_steps: int
    batch_size: int
    init_from: InitFrom | None
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
    if text["pool"] == "eot" and tokenizer.eot != tokenizer.vocab_size - 1:
        raise ConfigError(
            f"config.task.architecture.text.pool = 'eot' looks for the largest id, but the "
            f"tokenizer ends its texts with {tokenizer.eot} of {tokenizer.vocab_size} ids: take "
            "another tokenizer, or config.task.overrides.text = "
            '{"pool": "last", "causal": False}, for a text tower that is not trained yet.'
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
    init_from: str | Mapping[str, Any] | None = None,
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
        init_from: a workdir or checkpoint whose parameters the run begins with, all of them; or
            a block that also says what differs, see `init_from_options`.

    Raises:
        ConfigError: for whatever would stop the run later; names the key and the mend.
    """
    parts = outline(
        task=task,
        data=data,
        preprocess=preprocess,
        tokenizer=tokenizer,
        optimizer=optimizer,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        schedule=schedule,
        mesh=mesh,
        checkpoints=checkpoints,
        log=log,
    )
    data, prepare, where = parts.data, parts.preprocess, parts.mesh
    begins_with = read_init_from(init_from)

    pipeline = open_pipeline(data, preprocess=prepare, make_tokenizer=parts.make_tokenizer)
    num_records, words = pipeline.num_records, pipeline.tokenizer
    if num_records is not None and num_records < batch_size:
        raise ConfigError(
            f"config.data.source holds {num_records} records, fewer than config.batch_size = "
            f"{batch_size}: a contrastive batch must not repeat a record. Lower batch_size."
        )
    _check_sizes(parts.task, prepare, words)
    rule = learning_rule(
        parts,
        total_steps=total_steps,
        total_examples=total_examples,
        total_epochs=total_epochs,
        epoch_examples=num_records,
    )

    rows = host_rows(where)

    def batches(start_batch: int, position: dict[str, Any] | None = None) -> Batches:
        return pipeline.open_batches(
            batch_size=batch_size,
            seed=seed,
            process_index=rows.index,
            process_count=rows.count,
            start_batch=start_batch,
            position=position,
        )

    config = plain(
        {
            "task": parts.task.manifest,
            "data": data,
            "preprocess": prepare.to_dict(),
            "tokenizer": dict(tokenizer.items()),
            "optimizer": resolve(make_optimizer, parts.optimizer, given=TREE_KEYS),
            "schedule": resolve(make_schedule, parts.schedule, given=UNIT_KEYS),
            "batch_size": batch_size,
            "micro_batch_size": micro_batch_size,
            "total_steps": rule.total_steps,
            "ema_decay": ema_decay,
            "seed": seed,
            "mesh": {axis: where.shape[axis] for axis in where.axis_names},
            "checkpoints": parts.checkpoints,
            "log": parts.log,
            "evals": evals or {},
            "init_from": plain_init_from(init_from),
        }
    )
    return Experiment(
        config=config,
        task=parts.task,
        mesh=where,
        optimizer=rule.optimizer,
        groups=rule.groups,
        schedule=rule.schedule,
        learning_rate=parts.optimizer["learning_rate"],
        open_batches=batches,
        filtered=pipeline.filtered,
        total_steps=rule.total_steps,
        batch_size=batch_size,
        init_from=begins_with,
        manifest={
            "task": parts.task.manifest,
            "preprocess": prepare.to_dict(),
            "tokenizer": words.to_dict(),
            "config": config,
        },
    )


def run_manifest(parts: Experiment, run_id: str) -> dict[str, Any]:
    """The manifest of the run's checkpoints, without what changes from step to step."""
    return checkpoints.make_manifest(**parts.manifest, run_id=run_id)
