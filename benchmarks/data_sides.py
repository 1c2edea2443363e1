"""Whom `benchmarks.data` measures: the peers that are there, and what each side is started with."""

import argparse
import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.peers import PeerMissing

_PEERS = {
    "open_clip": (
        "peers_python",
        ("torch", "torchvision", "open_clip", "webdataset", "numpy", "PIL"),
        "the lines under 'Installing open_clip' in benchmarks/README.md, and `pip install "
        "webdataset`",
    ),
    "tf.data": ("tf_python", ("tensorflow", "numpy"), "`pip install tensorflow-cpu`"),
}
# A module's package is not always called as it is: tensorflow comes of tensorflow-cpu, too.
_LIST_VERSIONS = """
import importlib.metadata as packages, json, sys
names = packages.packages_distributions()
found = {name: names.get(name, [None])[0] for name in sys.argv[1:]}
print(json.dumps({name: one and packages.version(one) for name, one in found.items()}))
"""


class Side(NamedTuple):
    """One line of the table.

    Attributes:
        name: of the line.
        library: "bigclip" or one of the peers.
        module: of the worker.
        python: its interpreter.
        options: what it is started with, besides the shards.
    """

    name: str
    library: str
    module: str
    python: str
    options: dict[str, Any]


def find_peer(peer: str, python: str) -> dict[str, str]:
    """Look for a peer in an interpreter, without importing it.

    Returns:
        Versions of its packages.

    Raises:
        PeerMissing: if the interpreter or a package is not there; says what to install.
    """
    option, modules, mend = _PEERS[peer]
    try:
        done = subprocess.run(
            [python, "-c", _LIST_VERSIONS, *modules], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise PeerMissing(
            f"{peer} is not measured: --{option} {python} does not run ({error})."
        ) from error
    versions = json.loads(done.stdout)
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        raise PeerMissing(
            f"{peer} is not measured: {python} has no {', '.join(missing)}. Install with {mend}; "
            f"or name an interpreter that has them with --{option} PATH."
        )
    return versions


def find_peers(options: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Return the peers that are there, with versions; say on stderr which are left out and why."""
    found = {}
    for peer, (option, _, _) in _PEERS.items():
        if peer == "tf.data" and options.format != "jpg":
            print("tf.data is not measured: its operations here are for JPEG.", file=sys.stderr)
            continue
        try:
            found[peer] = find_peer(peer, getattr(options, option))
        except PeerMissing as missing:
            print(missing, file=sys.stderr)
    return found


def sides_on(cores: int, peers: Sequence[str], options: argparse.Namespace) -> list[Side]:
    """List whom to measure on a number of cores, each with the natural way to use them."""
    ours = functools.partial(
        Side, library="bigclip", module="data_bigclip_worker", python=sys.executable
    )
    threads = {"num_threads": cores, "num_workers": 0, "interpolation": "area"}
    found = [ours(f"bigclip, {_count(cores, 'thread')}", options=threads)]
    if cores > 1:
        workers = {**threads, "num_threads": 1, "num_workers": cores}
        found.append(ours(f"bigclip, {_count(cores, 'worker')}", options=workers))
    # big_vision's default does not antialias: this is bigclip when it does not, either.
    aliased = {**threads, "interpolation": "bilinear_aliased"}
    found.append(ours(f"bigclip, {_count(cores, 'thread')}, aliased", options=aliased))
    if "open_clip" in peers:
        found.append(
            Side(
                f"open_clip, {_count(cores, 'worker')}",
                "open_clip",
                "data_open_clip_worker",
                options.peers_python,
                {"workers": cores, "records": options.records},
            )
        )
    if "tf.data" in peers:
        found += [
            Side(
                f"tf.data, {kind}",
                "tf.data",
                "data_tf_worker",
                options.tf_python,
                {"method": "bilinear", "antialias": kind == "antialiased"},
            )
            for kind in ("antialiased", "big_vision's default")
        ]
    return found


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + "s" * (number > 1)
