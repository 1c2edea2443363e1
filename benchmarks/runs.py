"""What the programs share: the configuration, the files for the sides, starting them, options."""

import argparse
import contextlib
import json
import pathlib
import runpy
import sys
from typing import Any, NamedTuple

import numpy as np

from benchmarks.open_clip_model import open_clip_model
from benchmarks.peers import PeerMissing, find_packages
from benchmarks.workers import ROOT, Worker
from bigclip.config import ConfigError, call, plain
from bigclip.data.sources import open_random_access
from bigclip.data.tokenizer import Tokenizer
from bigclip.training.experiment import Experiment, experiment

SIDES = ("bigclip", "open_clip")
OPEN_CLIP_LEARNING_RATE = 5e-4  # open_clip_train.params.get_default_params


class Row(NamedTuple):
    """One line of the tables: a side with its settings.

    Attributes:
        name: of the line.
        worker: the process.
        num_params: of the model.
        own_data: whether it makes its own batches; else it is given bigclip's.
    """

    name: str
    worker: Worker
    num_params: int
    own_data: bool


def parser(description: str) -> argparse.ArgumentParser:
    """Begin a program's command line with the options that all have."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument("--config", default="configs/quickstart.py", help="file.py or file.py:arg")
    options.add_argument("--only", choices=SIDES, help="measure one side")
    options.add_argument("--json", type=pathlib.Path, help="also write the figures to this file")
    options.add_argument(
        "--peers_python", default=sys.executable, help="interpreter that has open_clip"
    )
    return options


def peers_of(options: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Return the peers to measure with their versions; tell about those that are absent.

    Raises:
        SystemExit: nothing is left to measure.
    """
    if options.only == "bigclip":
        return {}
    try:
        return {"open_clip": find_packages("open_clip", options.peers_python)}
    except PeerMissing as missing:
        print(missing, file=sys.stderr)
        if options.only:
            sys.exit(2)
        return {}


def read_config(path: str, *, total_steps: int | None = None) -> dict[str, Any]:
    """Read a configuration as plain data.

    Args:
        path: `file.py` or `file.py:argument`, from the project's root.
        total_steps: in place of the configuration's; warm-up and cool-down shrink or grow with it.
    """
    file, _, argument = path.partition(":")
    get_config = runpy.run_path(str(ROOT / file))["get_config"]
    config = plain(get_config(argument) if argument else get_config())
    if total_steps is not None:
        if "total_steps" not in config:
            raise ConfigError(f"{path} gives its length in another unit: leave --steps away.")
        factor = total_steps / config["total_steps"]
        for key, value in config.get("schedule", {}).items():
            if key.endswith("_steps"):
                config["schedule"][key] = int(value * factor)
        config["total_steps"] = total_steps
    return config


def build(config: dict[str, Any]) -> Experiment:
    """Build the run that both sides take their architecture, tokens and batches from."""
    return call(experiment, config, "")


def write_batches(parts: Experiment, path: pathlib.Path, *, first: int, count: int) -> str:
    """Write batches `first`, `first + 1`, ... of a run: `image` [n, B, H, W, 3], `text`."""
    with parts.open_batches(first) as batches:
        taken = [next(batches) for _ in range(count)]
    np.savez(path, **{name: np.stack([one[name] for one in taken]) for name in ("image", "text")})
    return str(path)


def write_pairs(parts: Experiment, path: pathlib.Path) -> str:
    """Write the training set as open_clip's webdataset reader would take it: picture and .txt.

    The texts become ids by bigclip's tokenizer, so that both sides have one vocabulary.
    """
    source = open_random_access(**parts.config["data"]["source"])
    tokenizer = Tokenizer.from_dict(parts.manifest["tokenizer"])
    records = [source[i] for i in range(len(source))]
    without = [record.key for record in records if "txt" not in record.captions]
    if without:
        raise ConfigError(f"{without[0]} has no .txt, which open_clip's reader wants.")
    np.savez(
        path,
        image_bytes=np.frombuffer(b"".join(record.image for record in records), np.uint8),
        image_ends=np.cumsum([len(record.image) for record in records]),
        text=tokenizer([record.captions["txt"][0] for record in records]),
    )
    return str(path)


def start_bigclip(
    name: str,
    config: dict[str, Any],
    *,
    workers: contextlib.ExitStack,
    folder: pathlib.Path,
    own_data: bool,
) -> Row:
    """Start bigclip on a configuration; `workers` ends the process, `folder` is for files."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    worker = workers.enter_context(Worker("bigclip_worker"))
    return Row(name, worker, worker.start(config=str(path))["num_params"], own_data)


def start_open_clip(
    name: str,
    parts: Experiment,
    *,
    workers: contextlib.ExitStack,
    python: str,
    learning_rate: float,
    pairs: str | None = None,
) -> Row:
    """Start open_clip on the geometry, length and batch size of a run.

    Args:
        name: of the row.
        parts: the run.
        workers: ends the process.
        python: interpreter that has open_clip.
        learning_rate: the peak.
        pairs: of `write_pairs`, for open_clip's own recipe; else it is to be given batches.
    """
    arch, preprocess = parts.manifest["task"]["architecture"], parts.manifest["preprocess"]
    factors = np.asarray(parts.schedule(np.arange(parts.total_steps)))
    worker = workers.enter_context(Worker("open_clip_worker", python=python))
    answer = worker.start(
        # Its recipe leaves out no patches; on bigclip's terms, it does what bigclip does.
        model=open_clip_model(arch, patch_dropout=pairs is None),
        seed=parts.config["seed"],
        batch_size=parts.batch_size,
        total_steps=parts.total_steps,
        warmup_steps=int(factors.argmax()) + 1,
        learning_rate=learning_rate,
        mean=preprocess["mean"],
        std=preprocess["std"],
        pairs=pairs,
    )
    return Row(name, worker, answer["num_params"], pairs is not None)


def write_json(path: pathlib.Path | None, figures: dict[str, Any]) -> None:
    """Write the figures where the user wants them, if so."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n")
