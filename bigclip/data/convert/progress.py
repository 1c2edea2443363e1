"""What a conversion has done already, kept beside its shards.

`OUT/.conversion/SPLIT/plan.json` says what is being made of what, and `00000.json`, ... what became
of each shard. They are small, and stay when the conversion is complete: they say where the data
came from, and which records were left out and why.
"""

import dataclasses
import json
import os
from pathlib import Path

from bigclip.config import ConfigError, differences
from bigclip.data.records import BadRecord

_FOLDER = ".conversion"


@dataclasses.dataclass(frozen=True)
class ShardReport:
    """What became of the rows of one shard."""

    num_records: int
    num_bytes: int  # of the file; 0 where no file was written, since no record is left
    bad: list[tuple[str, str, str]]  # key, fault, reason


class Progress:
    """The reports of one split; what is complete survives the process."""

    def __init__(self, out: str, *, split: str, plan: dict):
        """Find out what is there.

        Args:
            out: folder of the shards.
            split: which.
            plan: everything that decides what the shards hold, as plain data.

        Raises:
            ConfigError: if what lies in `out` was made of something else or in another way.
        """
        self._folder = Path(out, _FOLDER, split)
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = self._folder / "plan.json"
        if kept.exists():
            changed = differences(json.loads(kept.read_text()), plan, where="conversion")
            if changed:
                raise ConfigError(
                    f"--out: {out} holds a conversion of something else; remove the folder, or "
                    "name another. What differs:\n  " + "\n  ".join(changed[:10])
                )
        else:
            _write(kept, plan)

    def read(self, shard: int) -> ShardReport | None:
        """The report of a shard, or None where it is not complete."""
        try:
            report = json.loads(self._path(shard).read_text())
        except FileNotFoundError:
            return None
        return ShardReport(**{**report, "bad": [tuple(entry) for entry in report["bad"]]})

    def write(self, shard: int, report: ShardReport):
        """Note that a shard is complete; to be called when its file has its name."""
        _write(self._path(shard), dataclasses.asdict(report))

    def finish(self, lost: list[BadRecord], reports: list[ShardReport]) -> Path:
        """Write all that was left out, one JSON object a line; returns the path."""
        path = self._folder / "bad_records.jsonl"
        entries = [(bad.key, bad.fault, bad.reason) for bad in lost]
        entries += [entry for report in reports for entry in report.bad]
        lines = (json.dumps(dict(zip(("key", "fault", "reason"), e, strict=True))) for e in entries)
        _replace(path, "".join(f"{line}\n" for line in lines))
        return path

    def complete(self):
        """Note that no shard is missing."""
        _write(self._folder / "complete.json", {})

    def _path(self, shard: int) -> Path:
        return self._folder / f"{shard:05d}.json"


def complete_splits(out: str) -> dict[str, list[dict]]:
    """The splits in a folder that are complete: split -> reports of its shards, in order."""
    splits = {}
    for mark in sorted(Path(out, _FOLDER).glob("*/complete.json")):
        reports = sorted(mark.parent.glob("[0-9]*.json"), key=lambda path: int(path.stem))
        splits[mark.parent.name] = [json.loads(path.read_text()) for path in reports]
    return splits


def _write(path: Path, content: dict):
    _replace(path, json.dumps(content, indent=1))


def _replace(path: Path, content: str):
    temporary = path.with_suffix(".tmp")
    temporary.write_text(content)
    os.replace(temporary, path)
