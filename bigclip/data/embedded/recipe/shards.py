"""Write records as webdataset tars that are equal byte for byte whenever they are built."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import NamedTuple

from bigclip.data.embedded.recipe.split import fraction

SHARD_RECORDS = 1500


class PackRecord(NamedTuple):
    """One record as it is stored."""

    split: str
    image: bytes  # WebP
    text: str  # the main caption
    metadata: dict  # concept, group, style, origin, license, captions


def _member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # mtime 0, uid 0, no names: nothing of this machine
    info.size = len(data)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(data))


def shard_bytes(records: list[PackRecord], *, start: int) -> bytes:
    """Build one tar: KEY.webp, KEY.txt and KEY.json of each record, KEY its number in the split."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, record in enumerate(records, start):
            described = json.dumps(
                record.metadata, ensure_ascii=False, sort_keys=True, separators=(",", ":")
            )
            _member(tar, f"{number:06d}.webp", record.image)
            _member(tar, f"{number:06d}.txt", record.text.encode())
            _member(tar, f"{number:06d}.json", described.encode())
    return buffer.getvalue()


def order(records: list[PackRecord]) -> list[PackRecord]:
    """Mix styles and concepts: by a hash of the origin, the same on every machine."""
    return sorted(records, key=lambda r: fraction("order", r.metadata["origin"]))


def write(records: list[PackRecord], folder: Path) -> dict[str, dict]:
    """Write each split as shards of nearly equal length, ``SHARD_RECORDS`` at most.

    Returns:
        File name -> {"records", "bytes", "sha256"}.
    """
    written = {}
    for split in sorted({r.split for r in records}):
        part = order([r for r in records if r.split == split])
        num_shards = -(-len(part) // SHARD_RECORDS)
        bounds = [len(part) * i // num_shards for i in range(num_shards + 1)]
        for i in range(num_shards):
            chosen = part[bounds[i] : bounds[i + 1]]
            data = shard_bytes(chosen, start=bounds[i])
            name = f"{split}-{i:05d}.tar"
            (folder / name).write_bytes(data)
            written[name] = {
                "records": len(chosen),
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
    return written
