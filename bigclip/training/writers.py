"""Where metrics go: JSON lines and TensorBoard, without TensorFlow."""

import json
import math
from collections.abc import Mapping

from etils import epath
from tensorboardX import SummaryWriter

from bigclip.parallel import is_main

FILE = "metrics.jsonl"


def read_metrics(workdir: epath.PathLike) -> list[dict[str, float]]:
    """Read a run's metrics, in the order of the steps; a half-written last line is left out."""
    path = epath.Path(workdir) / FILE
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break  # the writer was killed in the middle of this line
    return rows


class MetricWriter:
    """Writes flat metrics at a step; only on the process that writes for all.

    Args:
        workdir: the run's folder.
        first_step: where this process goes on. Lines of later steps, which a killed process wrote
            after its last checkpoint, are dropped: the same steps will be written again.
    """

    def __init__(self, workdir: epath.PathLike, *, first_step: int):
        self._file = None
        if not is_main():
            return
        path = epath.Path(workdir)
        kept = [row for row in read_metrics(path) if row["step"] <= first_step]
        temporary = path / f".{FILE}"
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
        temporary.replace(path / FILE)
        self._file = (path / FILE).open("a")
        self._tensorboard = SummaryWriter(
            str(path / "tensorboard"), purge_step=first_step + 1 if first_step else None
        )

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one line; what is not finite becomes null there, since JSON has no NaN."""
        if self._file is None:
            return
        row = {"step": step}
        for name, value in metrics.items():
            row[name] = float(value) if math.isfinite(value) else None
            self._tensorboard.add_scalar(name, value, step)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        if self._file is not None:
            self._file.close()
            self._tensorboard.close()
