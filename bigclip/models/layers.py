"""Convert parameters between scanned and unrolled layers.

A scanned tower holds its layers in one subtree, `blocks`, whose leaves have a leading layer axis.
An unrolled tower holds `block_00`, `block_01`, ... Both functions walk a whole tree (several
towers, or an optimizer's moments of the same shape) and leave everything else alone: also the
blocks of a ResNet's stages, which differ in their shapes and are never scanned.
"""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bigclip.parallel import path_name

STACKED = "blocks"
_UNSTACKED = re.compile(r"block_(\d{2,})")
_STAGE = re.compile(r"stage_\d+")


class Place(NamedTuple):
    """Where a parameter lies that is named as in an unrolled tower.

    Attributes:
        stored: path of the array, with slashes.
        layer: index along its leading axis; None if the array is the parameter.
        shape: of the parameter.
    """

    stored: str
    layer: int | None
    shape: tuple[int, ...]


def places(tree: Any) -> dict[str, Place]:
    """Name all parameters of a tree as in unrolled towers, whether it holds them scanned or not.

    Args:
        tree: nested dicts of what has a shape.

    Returns:
        "image/block_07/mlp/up/kernel" -> its place.
    """
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = path_name(path)
        head, scanned, tail = name.partition(f"/{STACKED}/")
        if not scanned:
            found[name] = Place(name, None, tuple(leaf.shape))
            continue
        for layer in range(leaf.shape[0]):
            unrolled = f"{head}/block_{layer:02d}/{tail}"
            found[unrolled] = Place(name, layer, tuple(leaf.shape[1:]))
    return found


def stack(tree: Any) -> Any:
    """Gather `block_00`, `block_01`, ... into `blocks`, wherever they occur in nested dicts.

    Raises:
        ValueError: a layer is missing from the sequence.
    """
    if not isinstance(tree, dict):
        return tree
    layers, rest = {}, {}
    for name, child in tree.items():
        match = _UNSTACKED.fullmatch(name)
        if match:
            layers[int(match.group(1))] = child
        else:
            rest[name] = child if _STAGE.fullmatch(name) else stack(child)
    if layers:
        missing = sorted(set(range(max(layers) + 1)) - set(layers))
        if missing:
            raise ValueError(f"cannot stack the layers: block_{missing[0]:02d} is missing")
        rest[STACKED] = jax.tree.map(
            lambda *leaves: jnp.stack(leaves), *(layers[i] for i in sorted(layers))
        )
    return rest


def unstack(tree: Any) -> Any:
    """Spread `blocks` into `block_00`, `block_01`, ...; the inverse of `stack`."""
    if not isinstance(tree, dict):
        return tree
    result = {}
    for name, child in tree.items():
        if name == STACKED:
            depth = jax.tree.leaves(child)[0].shape[0]
            for index in range(depth):
                result[f"block_{index:02d}"] = jax.tree.map(lambda x, i=index: x[i], child)
        else:
            result[name] = unstack(child)
    return result
