"""Will it fit, what will it cost: the very train step, compiled for a pod that is not there.

    python -m bigclip.plan --config configs/siglip.py:b16 --topology v5e:16x16
    python -m bigclip.plan --config configs/clip.py:l14 --topology v5e:16x16 --sweep --price 1.2
    python -m bigclip.plan --loss-only --loss sigmoid --batch 1048576 --dim 768 --topology v5e:16x16
    python -m bigclip.plan --config configs/clip.py:b16 --topology h100:64

Needs the TPU compiler (`pip install 'bigclip[tpu]'`) and no TPU; GPU clusters are planned by
formula. Values of the configuration change on the command line as for `bigclip.train`; its data
need not be there. Exit code 0 for a plan, whether the step fits or not (see `fits` in the JSON),
2 for a mistake of the user.
"""

import json
import pathlib
import sys
from typing import Any

from absl import app, flags
from ml_collections import config_flags
from rich.console import Console

from bigclip.config import ConfigError, parse_config_flags, plain
from bigclip.planning import (
    is_gpu,
    plan_gpus,
    plan_loss,
    plan_training,
    print_plan,
    sweep,
    sweep_row,
    sweep_summary,
    use_cpu,
)

_DASHED = ("loss-only", "row-tile", "column-tile", "epoch-examples", "max-trials", "trial-minutes")
_PAIRS = ("implementation", "row_tile", "column_tile", "precision", "duplicates")


def define_flags() -> None:
    """Define the command's flags; each may be written with dashes, too."""
    config_flags.DEFINE_config_file("config", None, "file.py or file.py:argument")
    flags.DEFINE_string("topology", None, "v5e:16x16, v4:8x8x16, h100:64, ...")
    flags.DEFINE_integer("slices", 1, "TPU slices, joined by the data-centre network")
    flags.DEFINE_string("json", None, "where to write the figures")
    flags.DEFINE_bool("sweep", False, "try micro-batches, remat and fsdp; recommend the fastest")
    flags.DEFINE_integer("max_trials", 8, "choices that a sweep compiles at most")
    flags.DEFINE_float("trial_minutes", 15, "after which a sweep gives a compilation up")
    flags.DEFINE_float("price", None, "USD per chip and hour")
    flags.DEFINE_integer("epoch_examples", None, "records of the data, for lengths in epochs")
    flags.DEFINE_bool("loss_only", False, "plan the objective and its gradient alone")
    flags.DEFINE_enum("loss", "softmax", ("softmax", "sigmoid"), "for --loss-only")
    flags.DEFINE_integer("batch", None, "for --loss-only: B, over all chips")
    flags.DEFINE_integer("dim", None, "for --loss-only: D, the embedding")
    flags.DEFINE_string("implementation", None, "for --loss-only: auto, dense, gather or ring")
    flags.DEFINE_integer("row_tile", None, "for --loss-only: rows of a tile of pairs")
    flags.DEFINE_integer("column_tile", None, "for --loss-only: columns of a tile of pairs")
    flags.DEFINE_string("precision", None, "for --loss-only: highest, high or default")
    flags.DEFINE_string("duplicates", None, "for --loss-only: negative, mask or positive")


def parse_flags(argv: list[str]) -> list[str]:
    """Parse the command line, whose flags may be written with dashes."""
    plain_names = {f"--{name}": f"--{name.replace('-', '_')}" for name in _DASHED}
    argv = [
        plain_names.get(name, name) + equals + value
        for name, equals, value in (word.partition("=") for word in argv)
    ]
    return parse_config_flags(argv)


def _plan_loss(values: Any) -> dict[str, Any]:
    if values.batch is None or values.dim is None:
        raise ConfigError("--loss-only needs --batch B and --dim D.")
    if is_gpu(values.topology):
        raise ConfigError("--loss-only compiles; give a TPU topology, such as v5e:16x16.")
    pairs = {name: values[name].value for name in _PAIRS if values[name].value is not None}
    return plan_loss(
        loss=values.loss,
        batch_size=values.batch,
        embed_dim=values.dim,
        topology=values.topology,
        num_slices=values.slices,
        pairs=pairs,
    )


def _sweep(values: Any, options: dict[str, Any], console: Console) -> dict[str, Any]:
    done = 0

    def report(trial: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        console.print(sweep_row(done, trial), highlight=False, soft_wrap=True)

    found = sweep(
        plain(values.config),
        values.topology,
        num_slices=values.slices,
        max_trials=values.max_trials,
        trial_minutes=values.trial_minutes,
        report=report,
        **options,
    )
    console.print(sweep_summary(found["trials"], found["skipped"]), soft_wrap=True)
    plan, choice = found.pop("plan"), found["recommended"]
    if plan is None:
        console.print("[red]Nothing fits.[/] Take more chips.")
        return found
    console.print(
        "Recommended: "
        + " ".join(
            f"--config.{key}={value}"
            for key, value in (
                ("micro_batch_size", choice["micro_batch_size"]),
                ("task.remat", choice["remat"]),
                ("mesh.fsdp", choice["fsdp"]),
            )
            if value is not None
        ),
        highlight=False,
        soft_wrap=True,
    )
    print_plan(plan, console)
    return {**plan, "sweep": found}


def run(values: Any, console: Console) -> dict[str, Any]:
    """Make the plan that the flags ask for, print it, and return its figures.

    Raises:
        ConfigError: for a mistake in the flags or the configuration.
    """
    if values.topology is None:
        raise ConfigError("--topology is missing: v5e:16x16, v4:8x8x16, h100:64, ...")
    if values.loss_only:
        plan = _plan_loss(values)
        print_plan(plan, console)
        return plan
    if values.config is None:
        raise ConfigError("--config is missing: a file such as configs/siglip.py:b16.")
    options = {"price": values.price, "epoch_examples": values.epoch_examples}
    if values.sweep:
        return _sweep(values, options, console)
    if is_gpu(values.topology):
        if values.slices != 1:
            raise ConfigError("--slices is for TPUs; the nodes of a GPU cluster are of 8 GPUs.")
        plan = plan_gpus(values.config, values.topology, **options)
    else:
        plan = plan_training(values.config, values.topology, num_slices=values.slices, **options)
    print_plan(plan, console)
    return plan


def main(argv: list[str]) -> None:
    """The command."""
    del argv
    use_cpu()
    values = flags.FLAGS
    try:
        plan = run(values, Console())
        if values.json is not None:
            path = pathlib.Path(values.json)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(plan, indent=2) + "\n")
    except (ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=parse_flags)
