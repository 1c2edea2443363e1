"""A run's folder: its configuration, its status, and the guard against mixing two runs.

config.json         the resolved configuration
run.json            run id, status, step, versions, devices
metrics.jsonl       one object a line, see `writers`
tensorboard/        the same numbers
checkpoints/STEP/   see `bigclip.checkpoints`
"""

import json
import os
import time
import uuid
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath

from bigclip import checkpoints
from bigclip.config import ConfigError, differences
from bigclip.parallel import is_main

# What may differ when a run goes on: where and how it runs, and what it tells. Everything else
# shapes its numbers.
_FREE = ("mesh", "checkpoints", "log", "evals", "micro_batch_size")
_FREE_DATA = ("num_threads", "num_workers", "max_bad_fraction")
_VISIBLE_SECONDS = 90.0


def _shaping(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key not in _FREE}
    if isinstance(kept.get("data"), Mapping):
        # An empty block is as good as none: a run goes on that an older version began without it.
        kept["data"] = {
            key: value
            for key, value in kept["data"].items()
            if key not in _FREE_DATA and value != {}
        }
    return kept


def write_json(path: epath.Path, value: Any) -> None:
    """Write a JSON file so that readers see the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.replace(path)


def _read_json(path: epath.Path) -> Any:
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is no JSON ({error}): restore or remove it.") from error


class Workdir:
    """The folder of one run. Made or reopened by `Workdir.open`."""

    def __init__(self, path: epath.Path, run: dict[str, Any]):
        self.path = path
        self._run = run

    @classmethod
    def open(cls, path: epath.PathLike, config: Mapping[str, Any]) -> "Workdir":
        """Make the folder, or check that it holds a run of the same configuration.

        Args:
            path: the folder; also `gs://`.
            config: the resolved configuration, plain data.

        Raises:
            ConfigError: if it holds another run; lists what differs.
        """
        path = epath.Path(path)
        saved = checkpoints.steps(path)
        if (path / "config.json").exists():
            before = _read_json(path / "config.json")
            changed = differences(_shaping(before), _shaping(config))
            if changed and not saved:
                changed = []  # nothing was learned yet: the new configuration replaces the old
            if changed:
                listed = "\n  ".join(changed[:12])
                raise ConfigError(
                    f"{path} holds another run (checkpoints {saved}): its configuration differs.\n"
                    f"  {listed}\nGo on with its configuration ({path / 'config.json'}), choose "
                    "another --workdir, or remove the folder if its results are not needed."
                )
        elif saved:
            raise ConfigError(
                f"{path} holds checkpoints {saved} but no config.json: they belong to another "
                "run. Choose another --workdir."
            )
        run = {"run_id": uuid.uuid4().hex[:12], "started": time.time()}
        if (path / "run.json").exists() and saved:
            run = _read_json(path / "run.json")
        if is_main():
            path.mkdir(parents=True, exist_ok=True)
            write_json(path / "config.json", config)
        return cls(path, run)

    def check_shared(self) -> None:
        """Check that this process sees what process 0 has written.

        Raises:
            ConfigError: if it does not, after a time that the caches of network file systems need.
        """
        deadline = time.monotonic() + _VISIBLE_SECONDS
        while not (self.path / "config.json").exists():
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"{self.path}: process {jax.process_index()} does not see there what process "
                    "0 has written. --workdir must be a folder that all hosts share (a bucket, a "
                    "network file system), under the same name."
                )
            time.sleep(0.5)

    @property
    def run_id(self) -> str:
        """Names the run, also after it was resumed."""
        return self._run["run_id"]

    def report(self, status: str, **facts: Any) -> None:
        """Write run.json: "running", "stopped" (will be resumed), "failed" or "complete"."""
        self._run.update(facts, status=status, updated=time.time())
        if is_main():
            write_json(self.path / "run.json", self._run)

    def describe_devices(self) -> dict[str, Any]:
        """Devices of the run, for run.json."""
        return {
            "platform": jax.devices()[0].platform,
            "device_kind": jax.devices()[0].device_kind,
            "num_devices": jax.device_count(),
            "num_processes": jax.process_count(),
        }
