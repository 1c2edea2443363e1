"""From a configuration to the parts of a run: everything that is checked before the first step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from bigclip import checkpoints
from bigclip.config import ConfigError, call, check, choose, plain, resolve
from bigclip.data.augment import Augmenter
from bigclip.data.batches import open_batches
from bigclip.data.captions import CaptionChooser
from bigclip.data.preprocess import Preprocess
from bigclip.data.records import BadRecord
from bigclip.data.sources import open_source
from bigclip.data.tokenizer import Tokenizer, clip_bpe, train_tokenizer
from bigclip.parallel import check_batch, make_mesh
from bigclip.tasks import Task, make_task
from bigclip.training.durations import in_steps
from bigclip.training.groups import Group
from bigclip.training.optimizer import make_optimizer
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


def log_options(
    *,
    every_steps: int = 20,
    profile_first_step: int | None = None,
    profile_steps: int = 5,
) -> dict[str, Any]:
    """How a run tells what it does.

    Args:
        every_steps: metrics are averaged over, and written after, so many steps.
        profile_first_step: from which step of this process on a profile is traced into
            `WORKDIR/profile` (for TensorBoard or xprof); None traces none.
        profile_steps: number of steps to trace.
    """
    if every_steps < 1 or profile_steps < 1:
        raise ConfigError("config.log: every_steps and profile_steps must be at least 1.")
    return {
        "every_steps": every_steps,
        "profile_first_step": profile_first_step,
        "profile_steps": profile_steps,
    }


def checkpoint_options(
    *,
    every_steps: int | None = 1000,
    every_minutes: float | None = None,
    keep_last: int = 3,
    keep_every_steps: int | None = None,
) -> dict[str, Any]:
    """When a run saves, besides at its end and on SIGTERM.

    Args:
        every_steps: save after each multiple of this.
        every_minutes: and when so long has passed since the last save.
        keep_last: newest checkpoints to keep; a follower evaluates them as long as they exist.
        keep_every_steps: those at multiples of this are kept for good.
    """
    if keep_last < 1 or any(x is not None and x <= 0 for x in (every_steps, every_minutes)):
        raise ConfigError(
            "config.checkpoints: every_steps and every_minutes must be positive, keep_last at "
            "least 1."
        )
    return {
        "every_steps": every_steps,
        "every_minutes": every_minutes,
        "keep_last": keep_last,
        "keep_every_steps": keep_every_steps,
    }


def _clip_tokenizer(source: Any, *, context_length: int = 77) -> Tokenizer:
    """CLIP's byte-pair encoding of 49,408 tokens."""
    return clip_bpe(context_length=context_length)


def _trained_tokenizer(
    source: Any,
    *,
    vocab_size: int,
    context_length: int,
    min_frequency: int = 2,
    clean: str = "clip",
    caption_sources: Sequence[str] | None = None,
) -> Tokenizer:
    """One trained on the captions of the training source (deterministic).

    Args:
        source: the training source.
        vocab_size: largest number of tokens.
        context_length: L.
        min_frequency: see `train_tokenizer`.
        clean: see `train_tokenizer`.
        caption_sources: which captions to read; all by default.
    """
    texts = []
    for index in range(len(source)):
        try:
            captions = source[index].captions
        except BadRecord:
            continue  # counted, named and judged when the batches are opened
        for name in sorted(captions) if caption_sources is None else caption_sources:
            texts += captions.get(name, [])
    return train_tokenizer(
        texts,
        vocab_size=vocab_size,
        context_length=context_length,
        min_frequency=min_frequency,
        clean=clean,
    )


TOKENIZERS = {"clip_bpe": _clip_tokenizer, "trained": _trained_tokenizer}


def _data(
    *,
    source: Mapping[str, Any],
    augment: Mapping[str, Any] | None = None,
    captions: Mapping[str, Any] | None = None,
    num_threads: int = 2,
    num_workers: int = 0,
    max_bad_fraction: float = 0.01,
) -> dict[str, Any]:
    return {
        "source": source,
        "augment": augment or {},
        "captions": captions or {},
        "num_threads": num_threads,
        "num_workers": num_workers,
        "max_bad_fraction": max_bad_fraction,
    }


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
        data: `source` (see `open_source`), `augment`, `captions`, `num_threads`, `num_workers`,
            `max_bad_fraction` (see `open_batches`).
        preprocess: see `Preprocess`.
        tokenizer: `kind` ("clip_bpe" or "trained") and its arguments.
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
    preprocess, tokenizer_block = dict(preprocess.items()), dict(tokenizer.items())
    optimizer, schedule = dict(optimizer.items()), dict((schedule or {}).items())
    if "kind" not in tokenizer_block:
        raise ConfigError(f"config.tokenizer.kind is missing. Valid: {', '.join(TOKENIZERS)}.")
    tokenizer_fn = choose(tokenizer_block.pop("kind"), TOKENIZERS, "config.tokenizer.kind")
    unit_keys, tree_keys = ("total_steps", "batch_size", "epoch_examples"), ("params", "schedule")
    check(_data, data, "data")
    check(Augmenter, data.get("augment") or {}, "data.augment", given=("preprocess",))
    check(CaptionChooser, data.get("captions") or {}, "data.captions")
    check(Preprocess, preprocess, "preprocess")
    check(tokenizer_fn, tokenizer_block, "tokenizer", given=("source",))
    check(make_optimizer, optimizer, "optimizer", given=tree_keys)
    check(make_schedule, schedule, "schedule", given=unit_keys)
    check(make_mesh, mesh or {}, "mesh", given=("devices",))
    log = call(log_options, log or {}, "log")
    saving = call(checkpoint_options, checkpoints or {}, "checkpoints")

    prepare = Preprocess(**preprocess)
    built = make_task(task, mean=prepare.mean, std=prepare.std)
    where = call(make_mesh, mesh or {}, "mesh")
    check_batch(where, batch_size, micro_batch_size)

    data = _data(**plain(data))
    source = open_source(**data["source"])
    if len(source) < batch_size:
        raise ConfigError(
            f"config.data.source holds {len(source)} records, fewer than config.batch_size = "
            f"{batch_size}: a contrastive batch must not repeat a record. Lower batch_size."
        )
    words = tokenizer_fn(source, **tokenizer_block)
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
