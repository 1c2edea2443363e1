"""The proof of a format that no other framework reads: back again, bit by bit."""

import tempfile
from pathlib import Path

import numpy as np
from etils import epath

from bigclip.interop.format import Format, ReadOptions
from bigclip.interop.importing import import_model
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.verify import Figure


def compare_parameters(one: Outgoing, other: Outgoing) -> list[Figure]:
    """Count the parameters that are not bit-identical in two checkpoints, or only in one."""
    differ = one.shapes.keys() ^ other.shapes.keys()
    for name in one.shapes.keys() & other.shapes.keys():
        if not np.array_equal(one.read(name), other.read(name)):
            differ.add(name)
    return [Figure("arrays", f"{len(one.shapes)} parameters", float(len(differ)), "differ", 0)]


def compare_read_back(format: Format, written: Path, source: Outgoing) -> list[Figure]:
    """Bring an export in again, and compare it with its checkpoint.

    Args:
        format: one that comes in and goes out.
        written: the export.
        source: the checkpoint.
    """
    with tempfile.TemporaryDirectory(dir=written.parent) as temporary:
        again = Path(temporary) / "again"
        import_model(format.read(written, ReadOptions()), again, origin={})
        return compare_parameters(source, Outgoing(again))


def compare_written_again(format: Format, imported: epath.PathLike) -> list[Figure]:
    """Take an import out again and back in, and compare the two checkpoints.

    Args:
        format: one that comes in and goes out.
        imported: the checkpoint.
    """
    source = Outgoing(imported)
    with tempfile.TemporaryDirectory() as temporary:
        again = Path(temporary) / f"again{format.suffixes[0] if format.suffixes else ''}"
        if not format.suffixes:
            again.mkdir()
        format.write(again, source)
        return compare_read_back(format, again, source)
