"""The geometry of towers, read from the shapes in a file of weights and held against others.

Shapes come from a file that may claim anything, so each function checks what it uses, and a number
of layers is never larger than the number of arrays.
"""

import math
import re
from collections.abc import Mapping

from bigclip.config import ConfigError
from bigclip.interop.files import Weights


def shape_of(weights: Weights, name: str, num_axes: int) -> tuple[int, ...]:
    """Return the shape of an array that must be there.

    Raises:
        ConfigError: if it is missing, empty or has another number of axes.
    """
    if name not in weights:
        raise ConfigError(f"{weights.path} has no array {name!r}, which tells its architecture.")
    shape = weights[name].shape
    if len(shape) != num_axes or 0 in shape:
        raise ConfigError(
            f"{weights.path}: {name} has shape {list(shape)}; {num_axes} axes, none empty, "
            "are needed."
        )
    return shape


def num_layers(weights: Weights, prefix: str) -> int:
    """Count the layers `<prefix>0.`, `<prefix>1.`, ...

    Raises:
        ConfigError: if there is none, or a number is missing.
    """
    start = re.compile(re.escape(prefix) + r"(0|[1-9]\d{0,5})\.")
    found = {int(match[1]) for match in map(start.match, weights) if match}
    if found != set(range(len(found))) or not found:
        missing = min(set(range(len(found) + 1)) - found)
        raise ConfigError(f"{weights.path} has no layer {prefix}{missing}, of {len(found)} others.")
    return len(found)


def side_of(num_positions: int, where: str) -> int:
    """Return the side of a square grid of so many patches.

    Raises:
        ConfigError: if it is no square.
    """
    side = math.isqrt(num_positions)
    if side < 1 or side * side != num_positions:
        raise ConfigError(
            f"{where}: {num_positions} positions of patches are no square grid; only square "
            "images are supported."
        )
    return side


def heads_of(width: int, head_width: int, where: str) -> int:
    """Return how many heads of a given width there are.

    Raises:
        ConfigError: if the width does not divide.
    """
    if head_width < 1 or width % head_width or width < head_width:
        raise ConfigError(
            f"{where}: a width of {width} does not divide into heads of {head_width}."
        )
    return width // head_width


def mlp_ratio(width: int, mlp_width: int) -> float:
    """Return a ratio for which int(width * ratio), as PyTorch's models compute, is `mlp_width`."""
    ratio = mlp_width / width
    return ratio if int(width * ratio) == mlp_width else math.nextafter(ratio, math.inf)


def check_same(found: Mapping[str, object], told: Mapping[str, object], where: str) -> None:
    """Hold sizes that were told against those that the arrays have.

    Raises:
        ConfigError: names the first that differ.
    """
    wrong = [
        f"{name} is {told[name]!r}, but the arrays say {value!r}"
        for name, value in found.items()
        if told[name] != value
    ]
    if wrong:
        raise ConfigError(f"{where}: {'; '.join(wrong)}.")


def differences(
    fields: Mapping[str, object], needed: Mapping[str, object], where: str
) -> list[str]:
    """Say what a model has, and what it had to have instead.

    Args:
        fields: of a tower, in the architecture.
        needed: values of some of them.
        where: the tower.

    Returns:
        A phrase for each field that differs.
    """
    return [
        f"{where}.{name} is {fields[name]!r}, not {value!r}"
        for name, value in needed.items()
        if fields[name] != value
    ]
