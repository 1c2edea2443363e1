"""Which kind of input it is, and opening it."""

import glob
import json
import os
import re
from collections.abc import Mapping, Sequence

from bigclip.config import ConfigError, choose
from bigclip.data.convert.folders import FolderRows
from bigclip.data.convert.rows import Rows, SourceRows
from bigclip.data.convert.tables import TableRows
from bigclip.data.files import is_url
from bigclip.data.folder_source import PICTURES
from bigclip.data.shard_paths import expand_shards

KINDS = ("tars", "table", "folder", "huggingface", "tfds", "array_record")
_KIND_OF_END = {
    ".tar": "tars",
    **dict.fromkeys((".csv", ".tsv", ".parquet"), "table"),
    ".arrow": "huggingface",
    **dict.fromkeys((".array_record", ".arrayrecord"), "array_record"),
}
_TFDS_SHARD = re.compile(r"\.array_record-\d{5}-of-\d{5}$")
_HUB_SHARD = re.compile(r"(.+?)-\d{5}-of-\d{5}(-\w+)?\.parquet$")
# Which options mean something for which kind.
_TAKES = {
    "tars": {"caption_columns"},
    "table": {"image_column", "caption_columns", "image_root", "templates"},
    "folder": {"caption_columns", "templates"},
    "huggingface": {"image_column", "caption_columns", "image_root", "templates"},
    "tfds": {"image_column", "caption_columns", "templates"},
    "array_record": {"image_column", "caption_columns"},
}
_FLAGS = {
    "image_column": "--image_column",
    "caption_columns": "--caption_column",
    "image_root": "--image_root",
    "templates": "--template",
}


def open_rows(
    inputs: Sequence[str],
    *,
    kind: str | None = None,
    split: str = "train",
    image_column: str | None = None,
    caption_columns: Mapping[str, str] | None = None,
    image_root: str | None = None,
    templates: Sequence[str] | None = None,
    num_workers: int = 1,
) -> Rows:
    """Open an input.

    Args:
        inputs: paths, brace lists and globs of files, or one folder. Tars may be URLs, see
            `WebDataset`.
        kind: one of `KINDS`; guessed from the names.
        split: which to read, where the input has several.
        image_column: column, or feature, with the pictures.
        caption_columns: caption source -> column or feature; of tars and folders, one field of
            the .json.
        image_root: folder that the paths in a table are relative to.
        templates: what the names of classes are put into.
        num_workers: processes that count the records of many tars.

    Raises:
        ConfigError: if it is not there, its kind cannot be told, or an option is not for it.
    """
    paths = expand_shards(inputs)
    kind = kind or guess_kind(paths)
    choose(kind, dict.fromkeys(KINDS), "--kind")
    options = {
        "image_column": image_column,
        "caption_columns": caption_columns,
        "image_root": image_root,
        "templates": templates,
    }
    given = {name: value for name, value in options.items() if value}
    for name in given:
        if name not in _TAKES[kind]:
            raise ConfigError(f"{_FLAGS[name]} says nothing about {kind}; leave it away")
    far = [path for path in paths if is_url(path)]
    if far and kind not in ("tars", "array_record"):
        raise ConfigError(
            f"--input: {far[0]} is a URL; only tars and ArrayRecord files are read from there. "
            "Copy it to this machine, or mount the bucket"
        )
    if kind == "tars":
        return _open_tars(paths, caption_columns, num_workers)
    if kind == "folder":
        return _open_folder(paths, caption_columns, templates)
    if kind == "tfds":
        return _open_tfds(paths, split, given)
    if kind == "array_record":
        return _open_array_records(paths, given)
    if kind == "huggingface":
        paths = huggingface_files(paths, split)
    return TableRows(_in_folder(paths, ("csv", "tsv", "parquet")), **given)


def guess_kind(paths: Sequence[str]) -> str:
    """Tell the kind from the names.

    Raises:
        ConfigError: if that is not possible.
    """
    first = paths[0]
    if is_url(first) or not os.path.isdir(first):
        if not is_url(first) and not os.path.exists(first):
            raise ConfigError(f"--input: {first} does not exist")
        kind = _KIND_OF_END.get(os.path.splitext(first)[1].lower())
        if kind is None and _TFDS_SHARD.search(first):
            kind = "array_record"
        if kind is None:
            raise ConfigError(
                f"--kind: the name {os.path.basename(first)!r} does not tell; choose one of "
                f"{', '.join(KINDS)}"
            )
        return kind
    names = set(os.listdir(first))
    if {"dataset_info.json", "features.json"} <= names:
        return "tfds"
    if names & {"state.json", "dataset_dict.json"} or _find(first, ("parquet", "arrow")):
        return "huggingface"
    if _find(first, ("tar",), depth=1):
        return "tars"
    if _find(first, ("csv", "tsv"), depth=1):
        return "table"
    if _find(first, tuple(end[1:] for end in PICTURES)):
        return "folder"
    raise ConfigError(
        f"--input: {first} holds none of: tars, tables (.csv, .tsv, .parquet), a data set of TFDS "
        "or of Hugging Face, pictures"
    )


def huggingface_files(paths: Sequence[str], split: str) -> list[str]:
    """Find the Arrow or parquet files of one split, in order.

    Args:
        paths: files; or one folder as `save_to_disk` or the Hub lays it out.
        split: "train"; without meaning for a folder of a single split.

    Raises:
        ConfigError: if there are none; names the splits that are there.
    """
    folder = paths[0]
    if not os.path.isdir(folder):
        return list(paths)
    listed = os.path.join(folder, "dataset_dict.json")
    if os.path.exists(listed):
        splits = _json(listed)["splits"]
        if split not in splits:
            raise _no_split(split, splits, folder)
        folder = os.path.join(folder, split)
    state = os.path.join(folder, "state.json")
    if os.path.exists(state):
        named = [part["filename"] for part in _json(state)["_data_files"]]
        return [os.path.join(folder, name) for name in named]
    files = _find(folder, ("arrow",)) or _find(folder, ("parquet",))
    by_split: dict[str, list[str]] = {}
    for path in files:
        match = _HUB_SHARD.match(os.path.basename(path))
        # The Hub writes train-00000-of-00002.parquet, its converter train/0000.parquet.
        parent = os.path.relpath(os.path.dirname(path), folder)
        by_split.setdefault(match[1] if match else os.path.basename(parent), []).append(path)
    if split in by_split:
        return by_split[split]
    if len(by_split) != 1:
        raise _no_split(split, by_split, folder)
    return files


def _open_tars(paths, caption_columns, num_workers: int) -> SourceRows:
    from bigclip.data.webdataset import WebDataset

    tars = _in_folder(paths, ("tar",))
    options = _json_field(caption_columns)
    each = [{"shards": path, **options} for path in tars]
    return SourceRows(WebDataset, each, tars, num_workers=num_workers)


def _open_folder(paths, caption_columns, templates) -> FolderRows:
    if len(paths) != 1 or not os.path.isdir(paths[0]):
        raise ConfigError(f"--input: the kind folder is one folder, not {', '.join(paths[:3])}")
    options = {**_json_field(caption_columns), **({"templates": templates} if templates else {})}
    return FolderRows(paths[0], **options)


def _open_tfds(paths, split: str, given: dict) -> SourceRows:
    from bigclip.data.tfds_source import TfdsSource

    names = {"image_column": "image_key", "caption_columns": "caption_keys"}
    options = {names.get(name, name): value for name, value in given.items()}
    files = sorted(glob.glob(os.path.join(paths[0], "*.array_record*")))
    return SourceRows(TfdsSource, [{"data_dir": paths[0], "split": split, **options}], files)


def _open_array_records(paths, given: dict) -> SourceRows:
    from bigclip.data.array_record_source import ArrayRecordSource

    names = {"image_column": "image_key", "caption_columns": "caption_keys"}
    options = {names[name]: value for name, value in given.items()}
    return SourceRows(ArrayRecordSource, [{"shards": path, **options} for path in paths], paths)


def _json_field(caption_columns: Mapping[str, str] | None) -> dict:
    if not caption_columns:
        return {}
    if len(caption_columns) > 1:
        raise ConfigError(
            "--caption_column: of tars and folders, name one field of the .json; if it holds a "
            "dict, that gives several caption sources"
        )
    return {"caption_key": next(iter(caption_columns.values()))}


def _in_folder(paths: Sequence[str], ends: tuple[str, ...]) -> list[str]:
    if not os.path.isdir(paths[0]):
        return list(paths)
    found = _find(paths[0], ends, depth=1)
    if not found:
        raise ConfigError(f"--input: no .{' or .'.join(ends)} lies in {paths[0]}")
    return found


def _find(folder: str, ends: tuple[str, ...], *, depth: int | None = None) -> list[str]:
    """Paths of files by the end of their names, in order; depth 1 is the folder itself."""
    pattern = os.path.join(glob.escape(folder), "**" if depth is None else "", "*")
    return sorted(
        path
        for path in glob.iglob(pattern, recursive=True)
        if path.lower().endswith(tuple(f".{end}" for end in ends)) and os.path.isfile(path)
    )


def _no_split(split: str, splits, folder: str) -> ConfigError:
    return ConfigError(
        f"--split: {folder} has no split {split!r}; it has {', '.join(sorted(splits)) or 'none'}"
    )


def _json(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except ValueError as error:
        raise ConfigError(f"--input: {path} cannot be read: {error}") from None
