"""Which peers there are, and on what machine: the word for an absent one, and the environment."""

import datetime
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import time
from typing import Any

from benchmarks.workers import ROOT, num_cpus

_IDLE_CORES = 0.1  # what others may use in an idle machine

_PACKAGES = {
    "bigclip": ("jax", "jaxlib", "flax", "optax", "numpy"),
    "open_clip": ("torch", "torchvision", "open_clip_torch", "numpy"),
    "transformers": ("torch", "transformers", "numpy"),
    # What its towers and optimizer import; it is itself a clone.
    "big_vision": ("jax", "jaxlib", "flax", "optax", "einops", "ml_collections"),
}
_CLONE_FILE = "big_vision/trainers/proj/image_text/siglip.py"
_LIST_VERSIONS = """
import importlib.metadata, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


class PeerMissing(Exception):
    """A peer cannot be measured; says what to install."""


def find_packages(side: str, python: str) -> dict[str, str]:
    """Look for a peer in an interpreter, without importing it.

    Args:
        side: "open_clip" or "transformers".
        python: the interpreter.

    Returns:
        Versions of its packages.

    Raises:
        PeerMissing: if the interpreter or one of the packages is not there.
    """
    try:
        versions = package_versions(side, python)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PeerMissing(
            f"{side} is not measured: --peers_python {python} does not run ({error})."
        ) from error
    missing = [name for name, version in versions.items() if version is None]
    if not missing:
        return versions
    mend = []
    in_extra = {"torch", "transformers"}
    if in_extra & set(missing):
        mend.append("`pip install -e .[peers]`")
    if set(missing) - in_extra:
        mend.append("the lines under 'Installing open_clip' in benchmarks/README.md")
    raise PeerMissing(
        f"{side} is not measured: {python} has no {', '.join(missing)}. Install with "
        f"{', then '.join(mend)}; or name an interpreter that has them with --peers_python PATH."
    )


def find_big_vision(clone: str | None) -> dict[str, str]:
    """Look for a clone of big_vision, and in this interpreter for what it imports.

    Returns:
        Versions of the packages that it runs on, and the clone's commit.

    Raises:
        PeerMissing: if there is none, or a package is not there.
    """
    if clone is None:
        raise PeerMissing(
            "big_vision is not measured: it is no package. Clone "
            "https://github.com/google-research/big_vision and give --big_vision PATH."
        )
    if not (pathlib.Path(clone) / _CLONE_FILE).is_file():
        raise PeerMissing(
            f"big_vision is not measured: --big_vision {clone} holds no {_CLONE_FILE}."
        )
    versions = package_versions("big_vision")
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        raise PeerMissing(
            f"big_vision is not measured: {sys.executable} has no {', '.join(missing)}. "
            f"`pip install {' '.join(missing)}` (TensorFlow is not needed)."
        )
    return {"commit": _commit(clone), **versions}


def package_versions(side: str, python: str = sys.executable) -> dict[str, str | None]:
    """Return the versions of the packages that a side runs on; None for an absent one."""
    done = subprocess.run(
        [python, "-c", _LIST_VERSIONS, *_PACKAGES[side]],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def environment(peers: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Describe when, where and with what the figures are made.

    Args:
        peers: peer -> versions of its packages.
    """
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "cpu": _cpu_model(),
        "cores": num_cpus(),
        "python": platform.python_version(),
        "versions": {"bigclip": package_versions("bigclip"), **peers},
    }


class OtherWork:
    """What else the machine did from here on: it decides whether times mean anything.

    PyTorch's threads wait for each other at every operation. With a core taken away now and then,
    two of them were seen to be several times slower than one, which no ratio of turns makes good.
    """

    def __init__(self):
        self._start = self._now()

    def cores(self) -> float | None:
        """Return how many cores others used on average; None off Linux.

        To be called when the processes that were started have ended: only then they are known.
        """
        if self._start is None:
            return None
        seconds, busy, own = (b - a for a, b in zip(self._start, self._now(), strict=True))
        return round(max(busy - own, 0.0) / seconds, 2)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        try:
            words = pathlib.Path("/proc/stat").read_text().split()
        except OSError:
            return None
        # user, nice, system, (idle, waiting for disks,) interrupts, and stolen by other machines
        busy = sum(int(words[i]) for i in (1, 2, 3, 6, 7, 8)) / os.sysconf("SC_CLK_TCK")
        used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return time.monotonic(), busy, sum(one.ru_utime + one.ru_stime for one in used)


def describe(env: dict[str, Any]) -> str:
    """Put an environment, with `other_cores` of `OtherWork`, into a few lines of Markdown."""
    others = env["other_cores"]
    busy = others is not None and others > _IDLE_CORES
    versions = "; ".join(
        f"{side}: " + ", ".join(f"{name} {version}" for name, version in packages.items())
        for side, packages in env["versions"].items()
    )
    return (
        f"{env['date']}, commit {env['commit'] or 'unknown'}, {env['cores']} cores of "
        f"{env['cpu']}; others used {others} cores meanwhile.\nPython {env['python']}; {versions}."
        + ("\n\n**The machine was busy: these times mean nothing.**" if busy else "")
    )


def _commit(folder: str = str(ROOT)) -> str | None:
    """Short name of the commit, with "+" if files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", folder, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _cpu_model() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
