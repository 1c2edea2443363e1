"""A local web page to try a model: type a text, see pictures; drop a picture, see its labels.

    python -m bigclip.demo runs/demo
    python -m bigclip.demo runs/b16 --pictures ~/Pictures --labels labels.txt
    python -m bigclip.demo runs/b16 --shards '/data/cc12m/0000{0..3}.tar'

Without pictures of one's own, those that the run evaluates itself with are shown. Embeddings are
kept in the user's cache folder. The page is for this machine alone unless --host says otherwise.
Exit codes: 0 ended with Ctrl-C; 2 a mistake of the user; 130 interrupted before it began.
"""

import argparse
import asyncio
import contextlib
import errno
import ipaddress
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import logging
from rich.console import Console
from rich.progress import Progress

import bigclip
from bigclip.config import ConfigError
from bigclip.serving import cache, galleries, guards
from bigclip.serving import labels as labelling
from bigclip.serving.embedding import EmbeddedGallery, embed_gallery
from bigclip.serving.search import Search
from bigclip.serving.server import Server, serve

TOWERS = ("image", "text")
_TOLD = 3  # pictures that are left out are named up to so many


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = _parse(arguments)
    logging.set_verbosity(logging.WARNING)  # Orbax tells a dozen lines for each checkpoint
    try:
        with contextlib.closing(_listen(args.host, args.port)) as listening:
            with _interruptible() as check:
                app = _prepare(args, check)
            asyncio.run(_serve(app, listening, args.host))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Give a function that raises KeyboardInterrupt if Ctrl-C was pressed and the news got lost.

    An exception in a callback of the garbage collector is printed and dropped, and JAX has one.
    """
    pressed = []

    def note(number: int, frame: Any) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bigclip.demo",
        description=__doc__.split("\n\n    ")[0],
        epilog="example:  python -m bigclip.demo runs/demo --pictures ~/Pictures",
    )
    parser.add_argument("path", metavar="PATH", help="a run's folder, or one checkpoint in it")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pictures", metavar="FOLDER", help="search the pictures in this folder")
    which.add_argument("--shards", metavar="TARS", help="search the pictures of webdataset shards")
    parser.add_argument("--labels", metavar="FILE", help="labels, one a line, or a .json list")
    parser.add_argument(
        "--templates",
        metavar="FILE",
        help="prompt templates with {}, one a line, or a .json list; or a table: clip:food101",
    )
    parser.add_argument("--step", type=int, help="which checkpoint of the run; default the newest")
    parser.add_argument("--ema", action="store_true", help="take the averaged parameters")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to bind to; default %(default)s"
    )
    parser.add_argument(
        "--port", type=int, default=8800, help="default %(default)s; 0 takes any free one"
    )
    parser.add_argument(
        "--allow_host",
        metavar="NAME",
        action="append",
        default=[],
        help="a further name under which the page may be asked for, for example of a proxy",
    )
    parser.add_argument(
        "--cache", metavar="FILE", help="where embeddings are kept, or 'off'; default ~/.cache"
    )
    return parser.parse_args(arguments)


def _listen(host: str, port: int) -> socket.socket:
    """Take the port, before any work.

    Raises:
        ConfigError: if that cannot be; says what to do.
    """
    if not 0 <= port <= 65535:  # the resolver would take it modulo 65536
        raise ConfigError(f"--port: {port} is no port; they go from 0, any free one, to 65535.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"--host {host} --port {port}: {reason}.") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        # Whoever comes early waits, and a second demo on this port hears so now.
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            mend = "is taken, perhaps by another demo. Choose another, or --port 0 for any free one"
        elif number == errno.EACCES:
            mend = "needs more rights than you have. Choose one from 1024 on"
        elif number == errno.EADDRNOTAVAIL:
            raise ConfigError(f"--host: {host} is no address of this machine.") from error
        else:
            mend = f"cannot be used: {error}"
        raise ConfigError(f"--port: {port} {mend}.") from error
    return listening


def _prepare(args: argparse.Namespace, check: Callable[[], None]) -> Any:
    """Check all that can be wrong, load, embed, and return the application.

    Args:
        args: the command line.
        check: called between the steps, to stop there.
    """
    labels = labelling.read_labels(args.labels) if args.labels else None
    templates = list(labelling.TEMPLATES)
    if args.templates:
        templates = labelling.read_templates(args.templates)
    if labels:
        _check_prompts(labels, templates)
    gallery = None
    if args.pictures is not None:
        gallery = galleries.FolderGallery(args.pictures)
    elif args.shards is not None:
        gallery = galleries.open_shards(args.shards)
    model = bigclip.load(args.path, step=args.step, ema=args.ema)
    check()
    _check_towers(model, args.path)
    if gallery is None:
        gallery = galleries.open_evaluation(model.manifest.get("config") or {})
    pictures = _embed(model, gallery, args.cache, check)
    if labels is None:
        labels = labelling.default_labels(pictures.entries)
        labels = labels[: labelling.MAX_PROMPTS // len(templates)]
    search = Search(model, pictures)
    search.warm_up(labels, templates)
    check()
    server = Server(
        search,
        labels=labels,
        templates=templates,
        about={"model": _name(args.path), "step": model.step, "version": bigclip.__version__},
    )
    return server.app(guards.own_names(args.host, args.allow_host))


def _name(path: str) -> str:
    """Name the run of a path that may be one of its checkpoints."""
    *above, last = Path(path).expanduser().resolve().parts
    while len(above) > 1 and (last.isdigit() or last == "checkpoints"):
        last = above.pop()
    return last


def _check_prompts(labels: list[str], templates: list[str]) -> None:
    try:
        labelling.prompts_of(labels, templates)
    except labelling.BadInput as error:
        raise ConfigError(f"--labels, --templates: {error}") from error


def _check_towers(model: Any, path: str) -> None:
    """Stop where texts and pictures cannot meet.

    Raises:
        ConfigError: names the tower that is missing.
    """
    held = model.manifest.get("towers", TOWERS)
    missing = [tower for tower in TOWERS if tower not in held]
    if missing:
        raise ConfigError(
            f"{path} has no {missing[0]} tower: the demo compares pictures with texts and needs "
            "both. Give the run that it was saved from, or save it with both towers."
        )


def _embed(
    model: Any, gallery: galleries.Gallery, where: str | None, check: Callable[[], None]
) -> EmbeddedGallery:
    path = cache.default_path(gallery.place) if where is None else Path(where).expanduser()
    kept = cache.EmbeddingCache(None if where == "off" else path, cache.model_fingerprint(model))
    began = time.perf_counter()
    try:
        with _progress(check) as on_progress:
            pictures = embed_gallery(model, gallery, kept, on_progress=on_progress)
    except OSError as error:
        raise ConfigError(
            f"--cache: {path} cannot be written ({error.strerror or error}): name another file, or "
            "--cache off."
        ) from error
    if not len(pictures):
        raise ConfigError(
            f"none of the {len(gallery):,} pictures of {gallery.title} can be read: "
            + "; ".join(pictures.left_out[:_TOLD])
        )
    print(
        f"{len(pictures):,} pictures of {gallery.title}: {pictures.num_kept:,} embedded before, "
        f"{len(pictures) - pictures.num_kept:,} now, {time.perf_counter() - began:.1f} s",
        flush=True,
    )
    if pictures.left_out:
        print(f"left out {len(pictures.left_out):,} that cannot be read:", file=sys.stderr)
        for line in pictures.left_out[:_TOLD]:
            print(f"  {line}", file=sys.stderr)
    return pictures


@contextlib.contextmanager
def _progress(check: Callable[[], None]) -> Iterator[Callable[[int, int], None]]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("embedding", total=None)

        def on_progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            check()

        yield on_progress


async def _serve(app: Any, listening: socket.socket, host: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    print(f"{_url(listening, host)}   Ctrl-C ends it", flush=True)
    if not _is_loopback(listening):
        print(
            "note: whoever reaches this machine can see these pictures; there is no password.",
            file=sys.stderr,
        )
    await serve(app, listening, stop)
    print("\nended", flush=True)


def _url(listening: socket.socket, host: str) -> str:
    address, port = listening.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified:
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _is_loopback(listening: socket.socket) -> bool:
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


if __name__ == "__main__":
    sys.exit(main())
