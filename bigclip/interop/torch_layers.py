"""Layers as PyTorch's models name them: rows of tables, and what is computed where no row can say.

What a vision transformer of ours has and theirs has not is folded away, exactly: a bias of the
patch embedding is added to the positions of the patches, a projection that is missing becomes the
identity, and a bias that is missing zeros.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bigclip.interop.files import Spec
from bigclip.interop.format import ReadArray
from bigclip.interop.mapping import Row

FLOAT32 = np.dtype(np.float32)
Made = tuple[Spec, Callable[[ReadArray], np.ndarray]]  # what an array is, and how it is made
Extra = dict[str, Made]  # by their name
FOLDED = ("image/position", "image/stem/bias")  # ours, used up by `positions_with_bias`


def linear_rows(ours: str, theirs: str) -> tuple[Row, ...]:
    """Rows of a dense layer with bias."""
    return (
        Row(f"{ours}/kernel", f"{theirs}.weight", "transpose"),
        Row(f"{ours}/bias", f"{theirs}.bias"),
    )


def norm_rows(ours: str, theirs: str) -> tuple[Row, ...]:
    """Rows of a normalisation."""
    return Row(f"{ours}/scale", f"{theirs}.weight"), Row(f"{ours}/bias", f"{theirs}.bias")


def packed_rows(
    ours: str, theirs: str, parts: tuple[str, ...], *, dot: str = "."
) -> tuple[Row, ...]:
    """Rows of dense layers that theirs holds as one, `<theirs>.weight` and `.bias`."""
    return (
        Row(tuple(f"{ours}/{part}/kernel" for part in parts), f"{theirs}{dot}weight", "transpose"),
        Row(tuple(f"{ours}/{part}/bias" for part in parts), f"{theirs}{dot}bias"),
    )


def zeros(length: int) -> Made:
    """Say a bias that is always there: so many zeros."""
    return Spec((length,), FLOAT32), lambda _: np.zeros(length, np.float32)


def identity(width: int) -> Made:
    """Say a projection that changes nothing."""
    return Spec((width, width), FLOAT32), lambda _: np.eye(width, dtype=np.float32)


def positions_with_bias(image: Mapping[str, Any], *, lead: bool = False) -> Made:
    """Say the table of positions, the bias of the patches added.

    Args:
        image: the dict of a vision transformer in the architecture.
        lead: whether theirs has an axis of one in front.
    """
    first = 1 if image["pool"] == "class" else 0  # a class token is no patch
    count = first + (image["image_size"] // image["patch_size"]) ** 2

    def table(read: ReadArray) -> np.ndarray:
        positions = np.array(read("image/position"), np.float32)
        positions[first:] += read("image/stem/bias")
        return positions[None] if lead else positions

    shape = count, image["width"]
    return Spec((1, *shape) if lead else shape, FLOAT32), table
