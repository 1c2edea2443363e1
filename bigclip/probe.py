"""Fit a linear probe to a model's image features: the CLIP paper's protocol in one command.

    python -m bigclip.probe --checkpoint runs/demo --data flowers

`flowers` has folders `train`, `test` and, if there is one, `val`, each with a folder of pictures
for each class. What else `--data` takes, with `--test` and `--val` beside it:

    'shards/train-*.tar'      webdataset tars, labels in .cls (or --label, a key of the .json)
    tfds:cifar10              a TFDS data set: its split train, with --test tfds:cifar10
    folder:pictures           a folder of classes alone

Without `--test` but with `--folds`, the one set is cut into folds. Features are computed once for
all layers; the strength of the penalty is searched on the validation pictures.

Exit codes: 0 done; 2 a mistake in the command or the data.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bigclip import api
from bigclip.config import ConfigError
from bigclip.data.sources import open_random_access
from bigclip.evals.embedding import Pictures
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.multi_label import VARIANTS
from bigclip.evals.probes.linear.feature_files import KeptFeatures, save_features
from bigclip.evals.probes.linear.suite import NORMALIZE, LinearProbe
from bigclip.evals.records import read_records
from bigclip.evals.sets import EvalSet

SPLITS = ("train", "val", "test")
_KINDS = ("tfds", "folder", "array_record")


def find_sources(
    data: str, *, test: str | None = None, val: str | None = None, folds: bool = False
) -> dict[str, dict[str, Any]]:
    """Turn the words of the command into source blocks: set -> block.

    Args:
        data: what is learned from; or a folder with `train` and `test`.
        test, val: the other sets.
        folds: whether `data` is the one set that is cut into folds.

    Raises:
        ConfigError: if there is no test set.
    """
    place = Path(data).expanduser()
    if test is None and (place / "train").is_dir():
        there = {name: place / name for name in SPLITS if (place / name).is_dir()}
        if "test" not in there:
            if "val" not in there:
                raise ConfigError(
                    f"--data {data}: beside train there is no folder test or val. What is to be "
                    "classified? Give it with --test."
                )
            there["test"] = there.pop("val")  # ImageNet has labels for no other
        blocks = {name: {"kind": "folder", "path": str(path)} for name, path in there.items()}
    elif test is None:
        if not folds:
            lacks = "it has no folder train" if place.exists() else "it does not exist"
            raise ConfigError(
                f"--data {data}: {lacks}, and there is no --test. Give --test, or --folds to "
                "cut the one set."
            )
        blocks = {"test": _source(data, "train")}
    else:
        blocks = {"train": _source(data, "train"), "test": _source(test, "test")}
    if val is not None:
        blocks["val"] = _source(val, "validation")
    return blocks


def _source(text: str, split: str) -> dict[str, Any]:
    kind, colon, rest = text.partition(":")
    if colon and kind in _KINDS:
        if kind == "folder":
            return {"kind": kind, "path": rest}
        if kind == "array_record":
            return {"kind": kind, "shards": rest}
        name, _, own = rest.partition("@")
        place = {"data_dir": name} if os.path.isdir(name) else {"name": name}
        return {"kind": kind, **place, "split": own or split}
    if os.path.isdir(text):
        return {"kind": "folder", "path": text}
    return {"kind": "webdataset", "shards": text}


def _open(name: str, block: Mapping[str, Any], batch_size: int) -> EvalSet:
    try:
        source = open_random_access(**block)
        # Every picture is embedded once: none need be kept.
        return EvalSet(read_records(source), Pictures(source, cache_bytes=0, batch_size=batch_size))
    except ConfigError as error:
        raise ConfigError(f"the set {name!r}: {error}") from error


def probe(
    checkpoint: str | None,
    sources: Mapping[str, Mapping[str, Any]],
    *,
    options: Mapping[str, Any],
    step: int | None = None,
    ema: bool = False,
    batch_size: int = 64,
    features_out: str | None = None,
    features: str | None = None,
) -> Evaluation:
    """Fit and evaluate.

    Args:
        checkpoint: as for `bigclip.load`; None with `features`.
        sources: set -> source block; empty with `features`.
        options: keywords of `LinearProbe`.
        step, ema: as for `bigclip.load`.
        batch_size: pictures per call of the model.
        features_out: file that gets the features.
        features: such a file, instead of a model and pictures.

    Raises:
        ConfigError: for data and options that do not fit.
    """
    if features is not None:
        kept = KeptFeatures(features)
        return LinearProbe(**kept.sets, **options).evaluate(kept.model)
    sets = {name: _open(name, block, batch_size) for name, block in sources.items()}
    suite = LinearProbe(**sets, **options)  # before the model: mistakes are told at once
    model = api.load(checkpoint, step=step, ema=ema, tower="image")
    if features_out is not None:
        layers = options.get("layers", ("pooled",))
        save_features(features_out, sets, model, layers)
    return suite.evaluate(model)


def _make_folder(path: str) -> None:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {path}: it must be a folder: {error}") from error


def save(folder: str, evaluation: Evaluation) -> None:
    """Write probe.npz, for `bigclip.evals.probes.linear.saved.load_probe`, and probe.json."""
    place = Path(folder)
    with (place / "probe.npz").open("wb") as file:
        np.savez(file, **evaluation.arrays)
    told = {
        "metrics": evaluation.metrics,
        "chance": evaluation.chance,
        "counts": evaluation.counts,
        **evaluation.details,
    }
    text = json.dumps(told, indent=1, ensure_ascii=False)
    (place / "probe.json").write_text(text + "\n", encoding="utf-8")


def show(evaluation: Evaluation, console: Console) -> None:
    """Print one line a layer: metrics, the strength, seconds."""
    details, metrics = evaluation.details, evaluation.metrics
    names = [name for name in metrics if "layer=" not in name and not name.endswith("/std")]
    table = Table(box=None, header_style="bold")
    table.add_column("layer")
    for name in [*names, "strength", "C", "seconds"]:
        table.add_column(name, justify="right", no_wrap=name in names, min_width=len(name))
    for position, (layer, strengths) in enumerate(details["strength"].items()):
        prefix = f"layer={layer}/" if position else ""
        cells = []
        for name in names:
            spread = metrics.get(f"{prefix}{name}/std")
            cells.append(f"{100 * metrics[prefix + name]:.2f}")
            cells[-1] += "" if spread is None else f" ± {100 * spread:.2f}"
        chosen = sorted({one for one in strengths if one is not None})
        cells.append(" ".join(f"{one:.3g}" for one in chosen))
        cells.append(" ".join(f"{1 / one:.3g}" for one in chosen))
        table.add_row(escape(layer), *cells, f"{details['seconds'][layer]:.1f}")
    chance = [f"{100 * evaluation.chance[name]:.2f}" for name in names]
    table.add_row("(chance)", *chance, "", "", "", style="dim")
    console.print(table)
    counts = "  ".join(f"{name} {n:,}" for name, n in evaluation.counts.items() if n)
    console.print(counts, style="dim", highlight=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bigclip.probe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", help="a run, a checkpoint or an exported folder")
    parser.add_argument("--data", help="what is learned from")
    parser.add_argument("--test", help="what is classified")
    parser.add_argument("--val", help="what chooses the strength; default: part of --data")
    parser.add_argument("--label", help="metadata key of the class; default: label or concept")
    parser.add_argument(
        "--layers", default="pooled", help="with commas between; default: pooled, as CLIP's probes"
    )
    parser.add_argument("--folds", help="a metadata key, or a number of stratified folds")
    parser.add_argument("--normalize", default="none", choices=NORMALIZE)
    parser.add_argument("--strength", type=float, help="of the penalty, 1 / C; default: searched")
    parser.add_argument("--select_by", help="metric that the search compares")
    parser.add_argument("--ap", default="area", choices=VARIANTS, help="average precision")
    parser.add_argument("--held_out", type=float, default=0.2, help="share for a missing --val")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max_iter", type=int, default=1000)
    parser.add_argument("--step", type=int, help="of a run; default: the newest")
    parser.add_argument("--ema", action="store_true", help="the averaged parameters")
    parser.add_argument("--batch_size", type=int, default=64, help="pictures per call of the model")
    parser.add_argument("--out", metavar="DIR", help="folder for probe.npz and probe.json")
    parser.add_argument("--features_out", metavar="F.npz", help="keep the features")
    parser.add_argument("--features", metavar="F.npz", help="take them from there; needs no model")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for a mistake of the user."""
    args = _parser().parse_args(arguments)
    logging.set_verbosity(logging.WARNING)
    folds = int(args.folds) if (args.folds or "").isdigit() else args.folds
    options = {
        "label": args.label,
        "layers": tuple(args.layers.split(",")),
        "folds": folds,
        "normalize": args.normalize,
        "strength": args.strength,
        "select_by": args.select_by,
        "ap": args.ap,
        "held_out": args.held_out,
        "seed": args.seed,
        "max_iter": args.max_iter,
    }
    try:
        if args.features is None and not (args.checkpoint and args.data):
            raise ConfigError("give --checkpoint and --data, or --features of an earlier call.")
        if args.features is not None and (args.checkpoint or args.data or args.features_out):
            raise ConfigError("--features stands for --checkpoint and --data: leave them out.")
        if args.out is not None:  # before the work, not after it
            _make_folder(args.out)
        sources = {}
        if args.features is None:
            sources = find_sources(args.data, test=args.test, val=args.val, folds=folds is not None)
        evaluation = probe(
            args.checkpoint,
            sources,
            options=options,
            step=args.step,
            ema=args.ema,
            batch_size=args.batch_size,
            features_out=args.features_out,
            features=args.features,
        )
        if args.out is not None:
            save(args.out, evaluation)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(evaluation, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
