"""Rows into shards: one piece of the input, one shard, whatever process makes it."""

import collections
import concurrent.futures.process
import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bigclip.config import ConfigError
from bigclip.data.convert.pictures import checked
from bigclip.data.convert.progress import Progress, ShardReport, complete_splits
from bigclip.data.convert.rows import Piece, Rows, file_identities
from bigclip.data.convert.shards import FORMATS, open_shard, shard_name, write_tfds_metadata
from bigclip.data.records import BadRecord
from bigclip.data.workers import start_worker, use_one_thread

_NUM_NAMED = 10
_SPLIT = re.compile(r"\w+")


class Summary(NamedTuple):
    """What a conversion did."""

    num_records: int  # stored
    num_bad: int  # left out
    faults: dict[str, int]  # fault -> how many records were left out for it
    num_shards: int
    num_kept: int  # shards that were complete before
    bad_records: str  # file with all that was left out


class TooManyBad(ConfigError):
    """More records are bad than may be."""


class _Job(NamedTuple):
    """What a process needs to know to make one shard."""

    piece: Piece
    path: str
    format: str
    shard: int
    shard_records: int
    max_side: int | None


def convert(
    rows: Rows,
    *,
    out: str,
    format: str = "array_record",
    split: str = "train",
    shard_records: int = 10_000,
    max_side: int | None = None,
    max_bad_fraction: float = 0.01,
    num_workers: int = 1,
    options: dict | None = None,
    report: Callable[[int, int, int, int], None] = lambda shards, of, records, bad: None,
) -> Summary:
    """Write all rows as shards, and go on where an earlier call was interrupted.

    Shard k holds rows k * shard_records and following, without the bad ones; so its bytes depend
    neither on the number of processes nor on how often the conversion was interrupted.

    Args:
        rows: the input.
        out: folder of the output. Several splits may go into one, in several calls.
        format: "array_record", which TFDS and `TfdsSource(data_dir=out)` open, or "tars", for
            `WebDataset`.
        split: name of the split for TFDS; tars have none.
        shard_records: rows of the input that one shard takes.
        max_side: see `pictures.checked`.
        max_bad_fraction: the most bad rows, as a share of all, that are left out.
        num_workers: processes.
        options: what else decides what the rows hold, as plain data; a conversion is continued
            only with the same.
        report: called from time to time with the number of complete shards, of all shards, of
            stored records, and of bad ones.

    Raises:
        TooManyBad: if there are more bad rows than allowed; what is complete stays, and with a
            higher `max_bad_fraction` the conversion goes on.
        ConfigError: if an option makes no sense, `out` holds something else, or a worker died.
        OSError: if something cannot be read or written; what is complete stays.
    """
    _check_options(format, split, shard_records, max_side, max_bad_fraction, num_workers)
    if not len(rows):
        raise ConfigError("--input: has no rows")
    num_shards = -(-len(rows) // shard_records)
    out = os.path.abspath(os.path.expanduser(out))
    name, version = _name_and_version(out)
    os.makedirs(out, exist_ok=True)
    identity = json.dumps(file_identities(rows.files))
    plan = {
        "files": len(rows.files),
        "first_file": os.path.abspath(rows.files[0]),
        "files_sha256": hashlib.sha256(identity.encode()).hexdigest(),  # with sizes and times
        "rows": len(rows),
        "format": format,
        "shard_records": shard_records,
        "max_side": max_side,
        "name": name,
        "options": options or {},
    }
    progress = Progress(out, split=split if format == "array_record" else "tars", plan=plan)

    def path(shard: int) -> str:
        file = shard_name(format=format, name=name, split=split, shard=shard, num_shards=num_shards)
        return os.path.join(out, file)

    reports: dict[int, ShardReport] = {}
    for shard in range(num_shards):
        kept = progress.read(shard)
        if kept is not None and kept.num_bytes == _size(path(shard)):
            reports[shard] = kept
    num_kept = len(reports)
    jobs = (
        _Job(
            rows.piece(shard * shard_records, min((shard + 1) * shard_records, len(rows))),
            path(shard),
            format,
            shard,
            shard_records,
            max_side,
        )
        for shard in range(num_shards)
        if shard not in reports
    )
    total = len(rows) + len(rows.lost)

    def judge():
        """Stop as soon as no further record can change that there are too many."""
        bad = len(rows.lost) + sum(len(r.bad) for r in reports.values())
        report(len(reports), num_shards, sum(r.num_records for r in reports.values()), bad)
        if bad > max_bad_fraction * total:
            raise _too_many(rows, reports, max_bad_fraction, progress)

    judge()
    for shard, done in _run(jobs, num_workers):
        progress.write(shard, done)
        reports[shard] = done
        judge()

    ordered = [reports[shard] for shard in range(num_shards)]
    listed = progress.finish(rows.lost, ordered)
    progress.complete()
    if format == "array_record":
        write_tfds_metadata(out, name=name, version=version, splits=complete_splits(out))
    faults = collections.Counter(bad.fault for bad in rows.lost)
    faults.update(fault for r in ordered for _, fault, _ in r.bad)
    return Summary(
        num_records=sum(r.num_records for r in ordered),
        num_bad=faults.total(),
        faults=dict(faults.most_common()),
        num_shards=num_shards,
        num_kept=num_kept,
        bad_records=str(listed),
    )


def _check_options(format, split, shard_records, max_side, max_bad_fraction, num_workers):
    if format not in FORMATS:
        raise ConfigError(f"--format: {format!r} is none of {', '.join(FORMATS)}")
    if not _SPLIT.fullmatch(split):
        raise ConfigError(f"--split: {split!r} must be letters, digits and underscores")
    for flag, value in (
        ("shard_records", shard_records),
        ("max_side", max_side),
        ("workers", num_workers),
    ):
        if value is not None and value < 1:
            raise ConfigError(f"--{flag} must be at least 1, not {value}")
    if not 0 <= max_bad_fraction <= 1:
        raise ConfigError(f"--max_bad_fraction must lie in [0, 1], not {max_bad_fraction}")


def _name_and_version(out: str) -> tuple[str, str]:
    """What TFDS shall call it: from .../name/1.0.0, where `tfds.builder(name)` finds it, too."""
    folder, last = os.path.split(out)
    if re.fullmatch(r"\d+\.\d+\.\d+", last):
        version, last = last, os.path.basename(folder)
    else:
        version = "1.0.0"
    name = re.sub(r"\W+", "_", last, flags=re.ASCII).strip("_").lower()
    return (name if name[:1].isalpha() else f"data_{name}"), version


def _run(jobs: Iterator[_Job], num_workers: int) -> Iterator[tuple[int, ShardReport]]:
    """Make shards, here or in processes; yields them as they are complete."""
    if num_workers == 1:
        use_one_thread()
        for job in jobs:
            yield job.shard, _make_shard(job)
        return
    # Spawned: this process has threads, of Arrow and others, which a fork would cut off.
    pool = concurrent.futures.ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
        initargs=(0, num_workers),
    )
    running: dict[concurrent.futures.Future, int] = {}
    try:
        while True:
            # Two for each: a piece of a CSV holds its rows, so not all of them at once.
            while len(running) < 2 * num_workers and (job := next(jobs, None)) is not None:
                running[pool.submit(_make_shard, job)] = job.shard
            if not running:
                return
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in sorted(done, key=running.get):
                yield running.pop(future), future.result()
    except concurrent.futures.process.BrokenProcessPool:
        raise ConfigError(
            "--workers: a worker process was killed, perhaps for the memory it took; start again "
            "with fewer, it goes on after what is complete"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _make_shard(job: _Job) -> ShardReport:
    bad, num_records = [], 0
    with open_shard(
        job.path, format=job.format, shard=job.shard, shard_records=job.shard_records
    ) as writer:
        for record in job.piece():
            try:
                if isinstance(record, BadRecord):
                    raise record
                writer.write(checked(record, max_side=job.max_side))
                num_records += 1
            except BadRecord as error:
                bad.append((error.key, error.fault, error.reason))
    if not num_records and job.format == "tars":
        os.unlink(job.path)  # WebDataset takes a tar without a sample for a mistake
    return ShardReport(num_records, _size(job.path), bad)


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def _too_many(rows, reports: dict[int, ShardReport], max_bad_fraction, progress) -> TooManyBad:
    ordered = [reports[shard] for shard in sorted(reports)]
    listed = progress.finish(rows.lost, ordered)
    entries = [(bad.key, bad.fault, bad.reason) for bad in rows.lost]
    entries += [entry for report in ordered for entry in report.bad]
    lines = [f"  {key}: {fault}: {reason}" for key, fault, reason in entries[:_NUM_NAMED]]
    if len(entries) > _NUM_NAMED:
        lines.append(f"  ... and {len(entries) - _NUM_NAMED} more, all in {listed}")
    return TooManyBad(
        f"--max_bad_fraction: {len(entries)} of {len(rows) + len(rows.lost)} rows are bad so far, "
        f"more than {max_bad_fraction} allows. Mend them, or call again with a higher "
        "--max_bad_fraction, which goes on from here:\n" + "\n".join(lines)
    )
