"""Rows of CSV, TSV, parquet and Arrow files, the last as Hugging Face `datasets` writes them."""

import functools
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence

from bigclip.config import ConfigError
from bigclip.data.convert.columns import Columns, choose_columns
from bigclip.data.convert.rows import Piece, spans
from bigclip.data.records import BadRecord, Record

_BATCH_ROWS = 64  # held in memory at a time, with their pictures


class TableRows:
    """The rows of tables of the same columns, one after the other."""

    def __init__(
        self,
        files: Sequence[str],
        *,
        image_column: str | None = None,
        caption_columns: Mapping[str, str] | None = None,
        image_root: str | None = None,
        templates: Sequence[str] = ("a photo of a {}.",),
    ):
        """Open the tables: of CSV everything is read, of the others what describes them.

        Args:
            files: .csv, .tsv, .parquet or .arrow.
            image_column: the column with pictures or paths; found by its name.
            caption_columns: caption source -> column; found by its name.
            image_root: folder that paths are relative to; that of the first table.
            templates: for columns of class labels.

        Raises:
            ConfigError: if a file cannot be read as what its name says, or a column is missing.
        """
        self.files = list(files)
        self.lost: list[BadRecord] = []
        self._tables = [_readable(path, _open, path) for path in self.files]
        first = self._tables[0]
        for table in self._tables[1:]:
            if set(table.names) != set(first.names):
                odd = sorted(set(table.names) ^ set(first.names))
                raise ConfigError(
                    f"--input: {table.path} has not the columns of {first.path}: {', '.join(odd)}"
                )
        class_names = first.class_names
        image, captions = choose_columns(
            first.names,
            image_column=image_column,
            caption_columns=caption_columns,
            images=first.image_columns,
            labels=list(class_names),
        )
        for table in self._tables:
            if isinstance(table, _Csv):
                _readable(table.path, table.load, [image, *captions.values()], self.lost)
        self._ends = list(itertools.accumulate(len(table) for table in self._tables))
        root = image_root or os.path.dirname(first.path)
        self.columns = Columns(image, captions, root, class_names, tuple(templates))

    def __len__(self) -> int:
        return self._ends[-1]

    def piece(self, start: int, stop: int) -> Piece:
        """See `Rows`."""
        parts = [
            (os.path.basename(self.files[number]), first, self._tables[number].reader(first, end))
            for number, first, end in spans(self._ends, start, stop)
        ]
        return functools.partial(_read_tables, self.columns, parts)


def _open(path: str):
    end = os.path.splitext(path)[1].lower()
    if end == ".parquet":
        return _Parquet(path)
    if end == ".arrow":
        return _ArrowStream(path)
    return _Csv(path, "," if end == ".csv" else "\t")


def _readable(path: str, read, *arguments):
    import pyarrow as pa

    try:
        return read(*arguments)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"--input: {path} cannot be read: {error}") from None


class _Csv:
    """A whole table in memory; a piece takes its rows along."""

    def __init__(self, path: str, delimiter: str):
        from pyarrow import csv

        self.path, self.class_names, self.image_columns = path, {}, []
        self._delimiter = delimiter
        with csv.open_csv(path, parse_options=self._parse_options(_skip)) as reader:
            self.names = reader.schema.names

    def load(self, columns: Sequence[str], lost: list[BadRecord]):
        """Read it, `columns` as they stand there: what Arrow would guess makes a number of the
        caption "7", and stops at the first text that is not UTF-8."""
        import pyarrow as pa
        from pyarrow import csv

        def note(row) -> str:
            key = f"{os.path.basename(self.path)}/line {row.number}"
            reason = f"has {row.actual_columns} instead of {row.expected_columns} columns"
            lost.append(BadRecord(key, "broken_record", f"{reason}: {row.text[:80]!r}"))
            return "skip"

        self._table = csv.read_csv(
            self.path,
            read_options=csv.ReadOptions(use_threads=False),  # else rows have no number
            parse_options=self._parse_options(note),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.binary())),
        )

    def __len__(self) -> int:
        return self._table.num_rows

    def reader(self, first: int, end: int) -> list[dict]:
        return self._table.slice(first, end - first).to_pylist()

    def _parse_options(self, invalid_row_handler):
        from pyarrow import csv

        return csv.ParseOptions(
            delimiter=self._delimiter,
            newlines_in_values=True,
            invalid_row_handler=invalid_row_handler,
        )


def _skip(row) -> str:
    del row
    return "skip"


class _Parquet:
    def __init__(self, path: str):
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            self._ends = list(
                itertools.accumulate(
                    file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)
                )
            )
        self.path, self.names = path, schema.names
        self.class_names, self.image_columns = _features(schema)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def reader(self, first: int, end: int):
        return _OfParquet(self.path, list(spans(self._ends, first, end)))


class _OfParquet:
    def __init__(self, path: str, groups: list[tuple[int, int, int]]):
        self.path, self.groups = path, groups

    def __iter__(self) -> Iterator[dict]:
        from pyarrow import parquet

        with parquet.ParquetFile(self.path) as file:
            for group, first, end in self.groups:
                row = 0
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group]):
                    begin, stop = max(first - row, 0), min(end - row, batch.num_rows)
                    if begin < stop:
                        yield from batch.slice(begin, stop - begin).to_pylist()
                    row += batch.num_rows
                    if row >= end:
                        break


class _ArrowStream:
    def __init__(self, path: str):
        table = _map_stream(path)
        self.path, self.names, self._count = path, table.schema.names, table.num_rows
        self.class_names, self.image_columns = _features(table.schema)

    def __len__(self) -> int:
        return self._count

    def reader(self, first: int, end: int):
        return _OfStream(self.path, first, end)


class _OfStream:
    def __init__(self, path: str, first: int, end: int):
        self.path, self.first, self.end = path, first, end

    def __iter__(self) -> Iterator[dict]:
        table = _map_stream(self.path).slice(self.first, self.end - self.first)
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
            yield from batch.to_pylist()


def _map_stream(path: str):
    """Map the file; only the headers of its batches are read until rows are."""
    import pyarrow as pa

    return pa.ipc.open_stream(pa.memory_map(path)).read_all()


def _features(schema) -> tuple[dict[str, list[str]], list[str]]:
    """What `datasets` writes into the schema: names of classes by column, columns of pictures."""
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = described.get("info", {}).get("features", {})
    class_names, images = {}, []
    for column, feature in features.items():
        # A list of labels is {"_type": "List", "feature": ...}; once it was [...].
        inner = feature[0] if isinstance(feature, list) else feature.get("feature", feature)
        kind = inner.get("_type") if isinstance(inner, dict) else None
        if kind == "ClassLabel":
            class_names[column] = inner["names"]
        elif kind == "Image" and inner is feature:
            images.append(column)
    return class_names, images


def _read_tables(columns: Columns, parts: list) -> Iterator[Record | BadRecord]:
    for name, first, rows in parts:
        for number, row in enumerate(rows, first):
            key = f"{name}/{number}"
            try:
                yield columns.record(key, row)
            except BadRecord as error:
                yield error
