"""Peak memory of conversions, as a share of the file's size, for a model of any size.

    python -m benchmarks.convert_memory --architecture openclip-vit-bigg-14 --format open_clip

writes random weights of that architecture in that format, brings them in and takes them out again,
each in a process of its own, and prints the peak of its resident memory beside the bytes on the
disk. bigG/14 takes 10 GB of disk for each of the three.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.workers import ROOT
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import clip_bpe
from bigclip.interop.formats import chosen
from bigclip.interop.outgoing import Outgoing
from bigclip.models import architecture
from bigclip.models.layers import Place, places
from bigclip.tasks import make_task

_GIB = 2**30
# The child tells its own peak when it is done: ru_maxrss is in KiB on Linux.
_CHILD = """
import resource, sys, time
from bigclip.convert import main
begin = time.perf_counter()
code = main(sys.argv[1:])
usage = resource.getrusage(resource.RUSAGE_SELF)
print(f"PEAK {usage.ru_maxrss * 1024} {time.perf_counter() - begin:.1f}")
sys.exit(code)
"""


class Drawn(Outgoing):
    """A model of random weights that are drawn when they are asked for; none is kept."""

    def __init__(self, name: str, loss: str):
        arch = architecture(name)
        self.architecture, self.loss, self.towers = arch, loss, ("image", "text")
        self.preprocess = Preprocess(size=arch["image"]["image_size"], resize="crop")
        self.tokenizer = clip_bpe(context_length=arch["text"]["context_length"])
        self.step = self.examples_seen = 0
        block = {"name": "contrastive", "architecture": arch, "loss": loss, "scan": False}
        task = make_task(block, mean=self.preprocess.mean, std=self.preprocess.std)
        self.manifest: dict[str, Any] = {"task": task.manifest}
        shapes = jax.eval_shape(task.init, jax.random.key(0))
        self._places: dict[str, Place] = places(shapes)
        self.shapes = {name: place.shape for name, place in self._places.items()}
        self._held, self.notes = {}, []

    def read(self, name: str) -> np.ndarray:
        """Draw one parameter."""
        if name == "log_logit_scale":
            return np.float32(np.log(20.0)).reshape(())
        rng = np.random.default_rng(len(name))
        return rng.standard_normal(self.shapes[name], np.float32) * np.float32(0.02)


def size_of(path: pathlib.Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def convert(*arguments: str) -> tuple[int, float]:
    """Run one conversion in a process of its own: (peak bytes, seconds)."""
    command = [sys.executable, "-c", _CHILD, *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    _, peak, seconds = done.stdout.splitlines()[-1].split()
    return int(peak), float(seconds)


def main(argv: Sequence[str] | None = None) -> None:
    """Write, bring in, take out; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--architecture", default="clip-vit-b-32")
    parser.add_argument("--format", default="open_clip")
    parser.add_argument("--loss", default="softmax", choices=("softmax", "sigmoid"))
    parser.add_argument("--folder", help="where there is room for three times the model")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    format = chosen(options.format)
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = pathlib.Path(temporary)
        names = [folder / f"{name}{''.join(format.suffixes[:1])}" for name in ("there", "again")]
        there, again = names
        if not format.suffixes:
            there.mkdir()
        format.write(there, Drawn(options.architecture, options.loss))
        for what, source, dest in (("in", there, folder / "ours"), ("out", folder / "ours", again)):
            peak, seconds = convert(str(source), str(dest), "--format", format.name)
            rows.append((what, size_of(source), peak, seconds))
    if options.json:
        print(json.dumps(rows))
        return
    print(
        "| way | source GiB | peak memory GiB | share | seconds |\n| --- | --- | --- | --- | --- |"
    )
    for what, size, peak, seconds in rows:
        sizes = f"{size / _GIB:.2f} | {peak / _GIB:.2f} | {peak / size:.2f}"
        print(f"| {what} | {sizes} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
