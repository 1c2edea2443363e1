"""Fuzzes the manifest of a plain .safetensors file through the whole import; run as a script.

    python hostile_manifests.py GOOD.safetensors FOLDER

prints how often an import succeeded, how often it was refused, and the MiB by which the process's
peak of resident memory grew. Anything but success or ConfigError, or an import that takes long,
ends it with a traceback.
"""

import contextlib
import copy
import json
import pathlib
import shutil
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bigclip.config import ConfigError
from bigclip.convert import convert
from bigclip.interop.files import Spec, open_weights, write_safetensors

DEADLINE = 20_000  # milliseconds; an import takes a tenth of a second on a machine of its own
HUGE = (-1, 0, 10**3, 2**31, 10**15, 10**400, 1e30, 0.5, 1 / 3, True, None, "x", "9" * 99, [], {})
values = st.sampled_from(HUGE) | st.recursive(
    st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


def peak() -> int:
    """MiB of resident memory, at most until now."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


def paths_in(block, before=()):
    """All paths of keys, but for those of the vocabulary, which the library of tokenizers reads."""
    for key, value in block.items():
        yield (*before, key)
        if isinstance(value, dict) and key not in ("pieces", "versions"):
            yield from paths_in(value, (*before, key))


def changed(manifest, path, value):
    """Replace, or with a value of `...` remove, what is at a path; it may be gone already."""
    block = manifest
    for key in path[:-1]:
        block = block.get(key) if isinstance(block, dict) else None
    if isinstance(block, dict):
        block[path[-1]] = copy.deepcopy(value)
        if value is ...:
            del block[path[-1]]


class Fuzz:
    """One good file, and imports of bad copies of it."""

    def __init__(self, good: str, folder: str):
        weights, self.folder = open_weights(good), pathlib.Path(folder)
        self.metadata = weights.metadata
        self.arrays = {name: tensor.read() for name, tensor in weights.items()}
        self.manifest = json.loads(self.arrays.pop("manifest").tobytes())
        self.counts = {"read": 0, "refused": 0}

    def outcome(self, manifest, **more) -> str | None:
        """Import; return the message of a refusal."""
        text = np.frombuffer(json.dumps(manifest).encode(), np.uint8)
        arrays = {**self.arrays, "manifest": text, **more}
        path, dest = self.folder / "x.safetensors", self.folder / "m"
        specs = {name: Spec(array.shape, array.dtype) for name, array in arrays.items()}
        path.unlink(missing_ok=True)
        write_safetensors(path, specs, arrays.items(), metadata=self.metadata)
        try:
            convert(path, dest)
        except ConfigError as error:
            assert not dest.exists()
            self.counts["refused"] += 1
            return str(error)
        shutil.rmtree(dest)
        self.counts["read"] += 1
        return None

    def run(self) -> None:
        """The good file, every field once, and then at random."""
        assert self.outcome(self.manifest) is None
        before = peak()
        task = ("task", "architecture")
        for tower, field, value in (
            ("image", "depth", 300_000),
            ("image", "depth", 1000),
            ("text", "vocab_size", 10**8),
            ("text", "context_length", 1 << 16),
            ("image", "mlp_width", 1 << 18),
            ("image", "image_size", 1 << 14),
        ):
            bad = copy.deepcopy(self.manifest)
            changed(bad, (*task, tower, field), value)
            assert self.outcome(bad), field
        paths = sorted(paths_in(self.manifest))

        @settings(max_examples=60, deadline=DEADLINE, database=None, derandomize=True)
        @given(st.lists(st.tuples(st.sampled_from(paths), st.just(...) | values), max_size=2))
        def at_random(changes):
            bad = copy.deepcopy(self.manifest)
            for path, value in changes:
                changed(bad, path, value)
            with contextlib.suppress(ValueError):  # JSON has no lone surrogates, say
                self.outcome(bad)

        at_random()
        print(json.dumps({**self.counts, "grown": peak() - before}))


if __name__ == "__main__":
    Fuzz(*sys.argv[1:]).run()
