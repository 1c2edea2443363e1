"""python -m bigclip.data.convert"""

import argparse
import sys
import time

from bigclip.config import ConfigError
from bigclip.data.convert.conversion import convert
from bigclip.data.convert.inputs import KINDS, open_rows
from bigclip.data.convert.shards import FORMATS

_EPILOG = """examples:
  python -m bigclip.data.convert --input 'cc3m/{00000..00331}.tar' --out cc3m_ar --workers 8
  python -m bigclip.data.convert --input list.csv --image_column path --caption_column title \\
      --image_root photos --out photos_ar
  python -m bigclip.data.convert --input hub_folder --split validation --out tars --format tars

The output is the same for any number of workers. An interrupted conversion, started again, goes
on after the shards that are complete. Records that cannot be used are left out, counted, and
listed in OUT/.conversion/SPLIT/bad_records.jsonl."""


class _Progress:
    """One line on the terminal, or one every ten seconds in a log."""

    def __init__(self, file=sys.stderr):
        self._file = file
        self._is_terminal = file.isatty()
        self._first: tuple[float, int, int] | None = None
        self._told = 0.0

    def __call__(self, shards: int, num_shards: int, records: int, bad: int):
        now = time.monotonic()
        if self._first is None:
            # What was complete before this call says nothing about how fast it goes.
            self._first = now, shards, records
        started, shards_before, records_before = self._first
        if not self._is_terminal and now - self._told < 10 and shards < num_shards:
            return
        self._told = now
        seconds, done = now - started, shards - shards_before
        line = f"{shards}/{num_shards} shards, {records:,} records, {bad:,} bad"
        if done:
            left = seconds / done * (num_shards - shards)
            line += f", {(records - records_before) / seconds:,.0f} records/s, {left:.0f} s left"
        end = "\n" if not self._is_terminal or shards == num_shards else ""
        start = "\r\x1b[K" if self._is_terminal else ""
        print(start + line, end=end, file=self._file, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and convert; returns the exit code.

    It is 2 for what the user can mend, 1 for failures of the disk.
    """
    arguments = _parser().parse_args(argv)
    try:
        chosen = {
            "kind": arguments.kind,
            "split": arguments.split,
            "image_column": arguments.image_column,
            "caption_columns": _caption_columns(arguments.caption_column),
            "image_root": arguments.image_root,
            "templates": arguments.template,
        }
        rows = open_rows(arguments.input, **chosen, num_workers=max(1, arguments.workers))
        summary = convert(
            rows,
            out=arguments.out,
            format=arguments.format,
            split=arguments.split,
            shard_records=arguments.shard_records,
            max_side=arguments.max_side,
            max_bad_fraction=arguments.max_bad_fraction,
            num_workers=arguments.workers,
            options=chosen,
            report=_Progress(),
        )
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}; started again, it goes on from here", file=sys.stderr)
        return 1
    print(f"{summary.num_records} records in {summary.num_shards} shards in {arguments.out}")
    if summary.num_kept:
        print(f"{summary.num_kept} of the shards were complete before")
    if summary.num_bad:
        counts = ", ".join(f"{fault}: {count}" for fault, count in summary.faults.items())
        print(f"{summary.num_bad} left out ({counts}); listed in {summary.bad_records}")
    print(f"to train on it: config.data.source = {_source(arguments)}")
    return 0


def _source(arguments: argparse.Namespace) -> dict[str, str]:
    if arguments.format == "array_record":
        return {"kind": "tfds", "data_dir": arguments.out, "split": arguments.split}
    return {"kind": "webdataset", "shards": f"{arguments.out.rstrip('/')}/*.tar"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bigclip.data.convert",
        description="Convert image-text data to ArrayRecord (TFDS) or webdataset tars.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--input",
        nargs="+",
        required=True,
        help="files (also brace lists and globs), or one folder",
    )
    add("--out", required=True, help="folder of the output; TFDS calls the data set by its name")
    add("--kind", choices=KINDS, help="of the input; guessed from the names")
    add("--format", choices=FORMATS, default="array_record", help="of the output")
    add("--image_column", help="column, or feature, with pictures or their paths")
    add(
        "--caption_column",
        nargs="+",
        default=[],
        metavar="[SOURCE=]COLUMN",
        help="columns with captions; SOURCE names the caption source, else the column does. Of "
        "tars and folders, the field of the .json",
    )
    add("--image_root", help="folder that paths in a table are relative to; the table's own")
    add(
        "--template",
        action="append",
        help="what the names of classes are put into, 'a photo of a {}.'; may be repeated",
    )
    add("--split", default="train", help="to read, where there are several; and its name for TFDS")
    add("--shard_records", type=int, default=10_000, help="rows for each shard")
    add(
        "--max_side",
        type=int,
        help="make larger pictures smaller, to so many pixels on the longer side (JPEG or WebP of "
        "quality 95); without it every picture is copied byte for byte",
    )
    add(
        "--max_bad_fraction",
        type=float,
        default=0.01,
        help="stop, with exit code 2, if a larger share of the rows is bad",
    )
    add("--workers", type=int, default=1, help="processes")
    return parser


def _caption_columns(words: list[str]) -> dict[str, str] | None:
    columns = {}
    for word in words:
        source, _, column = word.rpartition("=")
        source = source or column
        if not column or source in columns:
            what = "names no column" if not column else "is named twice"
            raise ConfigError(f"--caption_column: {word!r} {what}")
        columns[source] = column
    return columns or None


if __name__ == "__main__":
    sys.exit(main())
