"""Rows of a conversion, read in pieces, and what is wrong with them."""

from bigclip.data.records import BadRecord


def read_all(rows, *pieces):
    """Read in the given pieces, by default in one; the pieces must not matter."""
    cuts = [0, *pieces, len(rows)]
    return [row for a, b in zip(cuts, cuts[1:], strict=False) for row in rows.piece(a, b)()]


def faults(found):
    return [row.fault if isinstance(row, BadRecord) else None for row in found]
