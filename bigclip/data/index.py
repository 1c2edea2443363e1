"""Index tar shards once, for random access to them: `python -m bigclip.data.index SHARDS`.

    python -m bigclip.data.index '/mnt/cc12m/{00000..01242}.tar' --index_dir ~/index/cc12m
    python -m bigclip.data.index 'gs://bucket/cc3m/*.tar' --index_dir ~/index/cc3m \\
        --duplicate_texts ~/index/cc3m-duplicates.txt

Training takes the folder as `config.data.source.index_dir`, and then starts at once. Without it,
training reads the headers itself, each time. An interrupted index goes on where it stopped.

`--duplicate_texts` writes the keys of all records that have a text of an earlier record, for
`config.data.filters.deny_ids`; all texts are read for it.
"""

import argparse
import concurrent.futures
import functools
import gzip
import os
import sys
from collections.abc import Iterator

import rich.progress

from bigclip.config import ConfigError
from bigclip.data.files import Files
from bigclip.data.first_texts import FirstTexts
from bigclip.data.kept_indexes import index_shard, kept_index
from bigclip.data.records import BadRecord
from bigclip.data.shard_paths import expand_shards, near_path
from bigclip.data.tar_members import TarError
from bigclip.data.tar_samples import sample_record
from bigclip.data.tars import KINDS, TarIndex

_NUM_NAMED = 10


def indexed(
    paths: list[str], *, index_dir: str | None, num_threads: int
) -> Iterator[tuple[str, TarIndex | str]]:
    """Index shards side by side.

    Args:
        paths: of the shards.
        index_dir: where the indexes are kept; None keeps none.
        num_threads: how many shards are read at once.

    Yields:
        Each path, in order, with its index, or with what keeps it from being read.
    """
    read = functools.partial(kept_index, index_dir=index_dir) if index_dir else index_shard

    def one(path: str) -> TarIndex | str:
        try:
            return read(path)
        except (TarError, OSError) as error:
            return f"{error}{near_path(path) if isinstance(error, FileNotFoundError) else ''}"

    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        yield from zip(paths, pool.map(one, paths), strict=True)


def duplicates(path: str, index: TarIndex, first: FirstTexts, *, caption_key: str) -> Iterator[str]:
    """Go through the keys of the records of a shard that have a text of an earlier record.

    Args:
        path: of the shard.
        index: of the shard.
        first: the texts of earlier shards; those of this one are added.
        caption_key: see `sample_record`.
    """
    files, shard = Files(), os.path.basename(path)
    txt, json_ = KINDS.index("txt"), KINDS.index("json")
    for row, name in enumerate(index.keys):
        key = f"{shard}/{name.decode('utf-8')}"
        texts = [
            files.read(path, int(index.offsets[row, kind]), int(index.sizes[row, kind]))
            if index.sizes[row, kind] >= 0
            else None
            for kind in (txt, json_)
        ]
        try:
            captions = sample_record(key, b"", *texts, caption_key=caption_key).captions
        except BadRecord:
            continue  # training counts it
        # Every text is added, also after one that is known.
        if not all([first.add(key, text) for found in captions.values() for text in found]):
            yield key


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bigclip.data.index",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shards", nargs="+", help="paths or URLs, with braces or globs")
    parser.add_argument("--index_dir", help="folder in which the indexes are kept")
    parser.add_argument("--num_threads", type=int, default=16, help="shards read at once")
    parser.add_argument("--duplicate_texts", metavar="FILE", help="write a deny list (.gz: zipped)")
    parser.add_argument("--caption_key", default="captions", help="field of the .json with texts")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns 0, or 1 if a shard cannot be read, or 2 for a mistake."""
    options = _parser().parse_args(argv)
    if not options.index_dir and not options.duplicate_texts:
        print("error: give --index_dir, --duplicate_texts, or both: else nothing is kept.")
        return 2
    try:
        paths = expand_shards(options.shards)
        index_dir = options.index_dir and os.path.expanduser(options.index_dir)
        if index_dir:
            os.makedirs(index_dir, exist_ok=True)
        return _index(paths, index_dir, options)
    except (ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _index(paths: list[str], index_dir: str | None, options: argparse.Namespace) -> int:
    names = [os.path.basename(path) for path in paths]
    if options.duplicate_texts and len(set(names)) < len(names):
        raise ConfigError(
            "--duplicate_texts: shards of the same name in several folders: their records could "
            "not be told apart on the list. List each folder by itself, or rename the shards"
        )
    num_samples, faults, unread, first = 0, [], [], FirstTexts()
    found: list[str] = []
    shards = indexed(paths, index_dir=index_dir, num_threads=options.num_threads)
    for path, index in rich.progress.track(shards, "indexing", total=len(paths)):
        if isinstance(index, str):
            unread.append(f"{path}: {index}")
            continue
        num_samples += len(index.keys)
        faults += [f"{os.path.basename(path)}: {fault}" for fault in index.faults]
        if options.duplicate_texts:
            found += duplicates(path, index, first, caption_key=options.caption_key)
    where = f", kept in {index_dir}" if index_dir else ""
    print(f"{num_samples:,} samples in {len(paths) - len(unread):,} shards{where}")
    if options.duplicate_texts:
        target = os.path.expanduser(options.duplicate_texts)
        with gzip.open(target, "wt") if target.endswith(".gz") else open(target, "w") as file:
            file.writelines(f"{key}\n" for key in found)
        print(f"{len(found):,} of them have a text of an earlier one: {target}")
    for what, lines in (("samples are not whole", faults), ("shards cannot be read", unread)):
        if lines:
            print(f"{len(lines):,} {what}:")
            print("\n".join(f"  {line}" for line in lines[:_NUM_NAMED]))
            if len(lines) > _NUM_NAMED:
                print(f"  ... and {len(lines) - _NUM_NAMED} more")
    return 1 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
