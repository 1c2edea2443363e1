"""How fast the input pipeline of a configuration is by itself, and whether a host keeps up.

    python -m bigclip.data.bench --config configs/quickstart.py
    python -m bigclip.data.bench --config configs/siglip.py:b16 --config.data.num_workers=8
    python -m bigclip.data.bench --config C --chips 256 --step_seconds 0.9 --json bench.json

Reads the batches that `bigclip.train` reads, with no model: examples a second, and of one core;
where the time goes; memory. With --chips and --step_seconds (of a step on all chips, as
`bigclip.plan` tells it) this process makes the rows of one host, and says whether it keeps up; else
it makes all rows of the batch. Exit code 2 for a mistake of the user.
"""

import json
import math
import pathlib
import sys
from typing import Any

from absl import app, flags
from ml_collections import config_flags
from rich.console import Console

from bigclip.config import ConfigError, parse_config_flags
from bigclip.data.bench.stages import time_stages
from bigclip.data.bench.tables import figures, print_figures
from bigclip.data.bench.throughput import measure
from bigclip.data.bench.verdict import host_cores, judge, read_need
from bigclip.data.run_records import open_run


def define_flags() -> None:
    """Define the command's flags."""
    config_flags.DEFINE_config_file("config", None, "file.py or file.py:argument")
    flags.DEFINE_float("seconds", 20, "how long to measure")
    flags.DEFINE_integer("batches", None, "measure no more than so many batches")
    flags.DEFINE_integer("sample", 2048, "examples whose parts are timed in one thread")
    flags.DEFINE_integer("chips", None, "of the whole run; with --step_seconds")
    flags.DEFINE_integer("chips_per_host", 4, "chips that one host feeds")
    flags.DEFINE_float("step_seconds", None, "of a step of config.batch_size on all chips")
    flags.DEFINE_float("examples_per_second", None, "needed of this host, instead of the above")
    flags.DEFINE_string("json", None, "where to write the figures")


def run(values: Any, console: Console) -> dict[str, Any]:
    """Measure what the flags ask for, print it, and return the figures.

    Raises:
        ConfigError: for a mistake in the flags, the configuration or the data.
    """
    for name in ("seconds", "batches", "sample"):
        value = values[name].value
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"--{name} must be positive, not {value}.")
    batch_size = values.config.get("batch_size") if values.config else None
    need_flags = ("chips", "chips_per_host", "step_seconds", "examples_per_second")
    asked = {name: values[name].value for name in need_flags}
    need = read_need(**asked, batch_size=batch_size if isinstance(batch_size, int) else 0)
    opened = open_run(values.config)
    num_hosts = need.num_hosts if need else 1
    how_long = {"seconds": values.seconds, "batches": values.batches}
    found = measure(opened, num_hosts=num_hosts, **how_long)
    stages = time_stages(opened, values.sample)
    verdict = judge(
        measured=found.examples_per_second,
        per_core_second=found.examples_per_core_second,
        cores=host_cores(),
        need=need,
    )
    data = figures(found, stages, verdict)
    rejected = getattr(opened.pipeline.source, "rejected", {})  # when it was opened
    data["filtered"] = {**rejected, **data["filtered"]}
    num_workers = opened.pipeline.options["num_workers"]
    print_figures(data, verdict.sentences(num_workers=num_workers), console)
    return data


def main(argv: list[str]) -> None:
    """The command."""
    values = flags.FLAGS
    try:
        if len(argv) > 1:
            raise ConfigError(f"{argv[1]!r} is no option; see --help.")
        if values.json is not None:
            path = pathlib.Path(values.json)
            path.parent.mkdir(parents=True, exist_ok=True)
        data = run(values, Console())
        if values.json is not None:
            path.write_text(json.dumps(data, indent=2) + "\n")
    except (ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=parse_config_flags)
