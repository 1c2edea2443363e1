"""Eight fake CPU devices for every test, set before JAX looks for devices; and tiny runs."""

import importlib.metadata
import importlib.util
import io
import json
import os
import pathlib
import shutil
import sys
import tarfile
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        # Tests compile much and run little: machine code without LLVM's optimisation is ready in
        # half the time. What is compiled, and how it is partitioned, stays the same.
        "--xla_backend_optimization_level=0",
        # Eight devices on two busy cores may keep each other waiting: XLA aborts after 40 s.
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
    )
)
# Fusions made by way of MLIR take three times as long to compile. The flag is gone from jaxlib
# 0.11, and XLA ends a process that sets a flag which it does not know.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
# Commands that tests start compile the same few steps again and again: the first keeps them for the
# others. Test workers inherit the folder of the process that starts them, which also removes it.
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ.get(
    "JAX_COMPILATION_CACHE_DIR",
    str(pathlib.Path(tempfile.gettempdir(), f"bigclip-tests-{os.getpid()}")),
)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
sys.path.insert(0, str(pathlib.Path(__file__).parent))

import jax
import numpy as np
import PIL.Image
import pytest

# Tests themselves compile: what they see must not depend on which ran before.
jax.config.update("jax_enable_compilation_cache", False)

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (40, 60, 220)}
SHAPES = ("square", "bar", "frame", "cross")


def pytest_collection_modifyitems(items):
    """Begin with the files beside this one: they start whole runs, and would else come last,
    when other workers have nothing left to do. Skip what needs a compiler that is not there."""
    here = pathlib.Path(__file__).parent
    items.sort(key=lambda item: item.path.parent != here)
    if importlib.util.find_spec("libtpu") is None:
        reason = "needs the TPU compiler, which exists for Linux on x86-64: pip install 'jax[tpu]'"
        for item in items:
            if item.get_closest_marker("tpu_compiler"):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_unconfigure():
    cache = pathlib.Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    if cache.name == f"bigclip-tests-{os.getpid()}":
        shutil.rmtree(cache, ignore_errors=True)


def _picture(colour: str, shape: str, rng: np.random.Generator) -> bytes:
    pixels = np.full((32, 32, 3), 255, np.uint8)
    x, y = rng.integers(2, 8, 2)
    inside = pixels[y : y + 22, x : x + 22]
    if shape == "bar":
        inside[8:14] = COLOURS[colour]
    elif shape == "cross":
        inside[8:14] = inside[:, 8:14] = COLOURS[colour]
    else:
        inside[:] = COLOURS[colour]
        if shape == "frame":
            inside[5:-5, 5:-5] = 255
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "WEBP", lossless=True)
    return file.getvalue()


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """Two shards of 24 coloured shapes each, with names and keywords; returns their glob."""
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    names = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    for shard in range(2):
        with tarfile.open(folder / f"part-{shard}.tar", "w") as tar:
            for number, (colour, shape) in enumerate(2 * names):
                captions = {"name": [f"{colour} {shape}"], "keywords": [colour, shape]}
                members = {
                    "webp": _picture(colour, shape, rng),
                    "txt": f"{colour} {shape}".encode(),
                    "json": json.dumps({"captions": captions}).encode(),
                }
                for end, content in members.items():
                    info = tarfile.TarInfo(f"{shard}{number:04d}.{end}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return str(folder / "part-*.tar")
