"""The manifest: what makes a checkpoint usable without the code and configuration of its run.

A JSON object beside the arrays of every checkpoint. Evaluation, probes, export and `load` read
nothing else to rebuild the model, its tokenizer and its preprocessing.
"""

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from bigclip import __version__
from bigclip.config import ConfigError, plain

FORMAT = 1
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def package_versions() -> dict[str, str]:
    """Versions of bigclip and of the packages that shape its numbers."""
    versions = {"bigclip": __version__}
    for package in _PACKAGES:
        versions[package] = importlib.metadata.version(package)
    return versions


def make_manifest(
    *,
    task: Mapping[str, Any],
    preprocess: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    config: Mapping[str, Any],
    run_id: str,
) -> dict[str, Any]:
    """Build the part of a manifest that is the same at every step of a run.

    Args:
        task: name and arguments of the task, with the architecture as plain data.
        preprocess: arguments of `Preprocess`.
        tokenizer: the whole tokenizer, as `Tokenizer.to_dict` gives it.
        config: the resolved configuration of the run.
        run_id: names the run.
    """
    return plain(
        {
            "format": FORMAT,
            "run_id": run_id,
            "task": task,
            "preprocess": preprocess,
            "tokenizer": tokenizer,
            "versions": package_versions(),
            "config": config,
        }
    )


def at_step(
    manifest: Mapping[str, Any],
    *,
    step: int,
    examples_seen: int,
    has_ema: bool,
    data_position: Mapping[str, Any] | None = None,
    record_counts: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Complete a manifest for one checkpoint.

    Args:
        manifest: of `make_manifest`.
        step: the step after which it is saved.
        examples_seen: by then.
        has_ema: whether the arrays hold an average of the parameters.
        data_position: where the run stands in streamed shards. Of random-access data the position
            is `step`: the batch of a step is a pure function of (seed, step), so that no iterator
            has a state to save.
        record_counts: how many records were bad or filtered out so far, by name.
    """
    return {
        **manifest,
        "step": step,
        "examples_seen": examples_seen,
        "has_ema": has_ema,
        "data_position": data_position,
        "record_counts": record_counts,
    }


def check_format(manifest: Mapping[str, Any], where: str) -> None:
    """Refuse a manifest of another format.

    Raises:
        ConfigError: names the format and the version that wrote it.
    """
    if manifest.get("format") != FORMAT:
        raise ConfigError(
            f"{where}: its manifest has format {manifest.get('format')!r}, this bigclip "
            f"({__version__}) reads format {FORMAT}. It was written by bigclip "
            f"{manifest.get('versions', {}).get('bigclip', '(unknown)')}: use that version."
        )
