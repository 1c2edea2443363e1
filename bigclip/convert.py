"""Weights in and out: `python -m bigclip.convert SOURCE DESTINATION --format F [--verify]`.

    python -m bigclip.convert openai/ViT-B-32.pt models/clip-b-32          # in
    python -m bigclip.convert runs/demo exported/demo --format transformers --verify   # out

A SOURCE that is a bigclip run, checkpoint or folder of `Model.save` goes out; anything else comes
in, as a checkpoint that `bigclip.load`, `config.init_from` and the evaluation job read.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import logging
from etils import epath
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bigclip import api, checkpoints
from bigclip.config import ConfigError
from bigclip.interop.exporting import export_model
from bigclip.interop.format import Format, ReadOptions
from bigclip.interop.formats import FORMATS, check_ready, chosen, recognise
from bigclip.interop.importing import import_model
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.round_trip import compare_read_back, compare_written_again
from bigclip.interop.verify import Figure, check, compare

_IN, _OUT = "comes in", "goes out"
_OWN = ("checkpoints", "run.json", "manifest", "state")  # what lies in a folder of ours


def convert(
    source: epath.PathLike,
    dest: epath.PathLike,
    *,
    format: str | None = None,
    verify: bool = False,
    step: int | None = None,
    ema: bool = False,
    architecture: str | None = None,
    tokenizer: str | None = None,
    tower: str | None = None,
    image_size: int | None = None,
    context_length: int | None = None,
    scan: bool = True,
) -> tuple[Sequence[str], Sequence[Figure] | None]:
    """Convert a model.

    Args:
        source: a bigclip checkpoint (see `bigclip.load`), which goes out, or another framework's
            file or folder, which comes in.
        dest: a new local folder, or a new file where the format is one.
        format: a name of `bigclip.interop.formats.FORMATS`; needed on the way out.
        verify: compare with the other framework's own code, which must be installed.
        step: out: which checkpoint of a run; the newest by default.
        ema: out: the averaged parameters.
        architecture: in: a name of `bigclip.models.ARCHITECTURES`, for files that do not tell it.
        tokenizer: in: path of a tokenizer's file, for files that hold none.
        tower: in: "image" or "text" to take that tower alone.
        image_size: in: pixels; resizes the positions.
        context_length: in: tokens; resizes the positions.
        scan: in: whether layers are stored scanned.

    Returns:
        Notes, and the figures of `verify`.

    Raises:
        ConfigError: for what cannot be; nothing is left at `dest` then.
    """
    if "://" in str(dest):
        raise ConfigError(f"{dest}: the destination is a local path; copy it from there.")
    dest = Path(dest).expanduser()
    if _is_checkpoint(source):
        _refuse(_IN, architecture=architecture, tokenizer=tokenizer, tower=tower)
        _refuse(_IN, image_size=image_size, context_length=context_length)
        _refuse(_IN, unrolled=None if scan else True)
        if format is None:
            raise ConfigError(f"{source} {_OUT}: say --format, one of {', '.join(_going(_OUT))}.")
        return _export(source, dest, chosen(format), verify=verify, step=step, ema=ema)
    _refuse(_OUT, step=step, ema=ema or None)
    place = Path(source).expanduser()
    found = recognise(place) if format is None else chosen(format)
    if found.read is None:
        raise ConfigError(
            f"{source} is no bigclip checkpoint, and models of the format {found.name!r} only go "
            f"out. These come in: {', '.join(_going(_IN))}."
        )
    if not place.exists():
        raise ConfigError(f"{source} does not exist.")
    if verify:
        check_ready(found)
    for name, value in (("image_size", image_size), ("context_length", context_length)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: give a positive number.")
    if verify and (image_size or context_length):
        raise ConfigError("--verify compares models of one size: leave the resizing away.")
    figures: list[Figure] = []

    def proof(written: Path) -> None:
        if found.reference is None:
            figures.extend(compare_written_again(found, written))
        else:
            figures.extend(compare(api.load(written, dtype="float32"), found.reference(place)))
        check(figures, str(dest))

    notes = import_model(
        found.read(place, ReadOptions(architecture, tokenizer, tower)),
        dest,
        origin={"format": found.name, "source": place.name},
        image_size=image_size,
        context_length=context_length,
        scan=scan,
        verify=proof if verify else None,
    )
    return notes, figures or None


def _export(
    source: epath.PathLike, dest: Path, format: Format, *, verify: bool, step: int | None, ema: bool
) -> tuple[Sequence[str], Sequence[Figure] | None]:
    if format.write is None:
        raise ConfigError(f"models of the format {format.name!r} only come in.")
    if verify:
        check_ready(format)

    model = Outgoing(source, step=step, ema=ema)

    def proof(written: Path) -> Sequence[Figure]:
        if format.reference is None:
            figures = compare_read_back(format, written, model)
        else:
            ours = api.load(source, step=step, ema=ema, dtype="float32")
            figures = compare(ours, format.reference(written))
        check(figures, str(dest), model.notes)
        return figures

    figures = export_model(model, format, dest, verify=proof if verify else None)
    return model.notes, figures


def _is_checkpoint(source: epath.PathLike) -> bool:
    """Tell whether a source is bigclip's; one that is, and cannot be read, is an error."""
    try:
        place = checkpoints.step_path(source)
    except ConfigError:
        # A run that has not saved yet, or half a checkpoint, says so; anything else may be foreign.
        if any((epath.Path(source) / name).exists() for name in _OWN):
            raise
        return False
    except (ImportError, KeyError) as error:  # no library for gs://, or no such protocol
        raise ConfigError(
            f"{source} cannot be opened from here: {error}. Copy it first."
        ) from error
    checkpoints.read_manifest(place)
    return True


def _going(way: str) -> list[str]:
    return [one.name for one in FORMATS.values() if (one.read if way == _IN else one.write)]


def _refuse(way: str, **options: object) -> None:
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise ConfigError(f"{', '.join(given)}: for a model that {way}, and this one does not.")


def _show(figures: Sequence[Figure], console: Console) -> None:
    table = Table("what", "on", "largest difference", box=box.SIMPLE)
    for one in figures:
        told = f"{one.value:.3g} {one.unit}" + (f" ({one.note})" if one.note else "")
        table.add_row(one.what, one.inputs, escape(told))
    console.print(table)


def _parser() -> argparse.ArgumentParser:
    lines = ""
    for one in FORMATS.values():
        ways = f"{'in' if one.read else '':<3}{'out' if one.write else '':<3}"
        lines += f"  {one.name:<13} {ways}  {one.title}\n"
    parser = argparse.ArgumentParser(
        prog="python -m bigclip.convert",
        description="Bring weights in, as a bigclip checkpoint, or out of one.",
        epilog=f"formats:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="a bigclip run or checkpoint; or another framework's model")
    parser.add_argument("destination", help="a new folder, or a new file where the format is one")
    parser.add_argument("--format", help="see below; needed on the way out")
    parser.add_argument(
        "--verify", action="store_true", help="compare the outputs in both frameworks"
    )
    out = parser.add_argument_group("out")
    out.add_argument("--step", type=int, help="of a run; default: the newest")
    out.add_argument("--ema", action="store_true", help="the averaged parameters")
    into = parser.add_argument_group("in")
    into.add_argument("--architecture", help="a named one, for files that do not tell")
    into.add_argument("--tokenizer", metavar="FILE", help="for files that hold none")
    into.add_argument("--tower", choices=api.TOWERS, help="take that tower alone")
    into.add_argument("--image_size", type=int, help="pixels: resizes the positions")
    into.add_argument("--context_length", type=int, help="tokens: resizes the positions")
    into.add_argument("--unrolled", action="store_true", help="store layers one by one")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for a mistake of the user."""
    args = _parser().parse_args(arguments)
    logging.set_verbosity(logging.WARNING)
    console = Console()
    try:
        notes, figures = convert(
            args.source,
            args.destination,
            format=args.format,
            verify=args.verify,
            step=args.step,
            ema=args.ema,
            architecture=args.architecture,
            tokenizer=args.tokenizer,
            tower=args.tower,
            image_size=args.image_size,
            context_length=args.context_length,
            scan=not args.unrolled,
        )
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    for note in notes:
        console.print(f"note: {escape(note)}", highlight=False, soft_wrap=True)
    if figures is not None:
        _show(figures, console)
    console.print(f"written: {escape(args.destination)}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
