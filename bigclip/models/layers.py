"""Convert parameters between scanned and unrolled layers.

A scanned tower holds its layers in one subtree, `blocks`, whose leaves have a leading layer axis.
An unrolled tower holds `block_00`, `block_01`, ... Both functions walk a whole tree (several
towers, or an optimizer's moments of the same shape) and leave everything else alone.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp

STACKED = "blocks"
_UNSTACKED = re.compile(r"block_(\d{2,})")


def stacked_layer(path: str, layer: int) -> str:
    """Return the unrolled path of one layer of "image/blocks/..."."""
    return f"/{path}".replace(f"/{STACKED}/", f"/block_{layer:02d}/", 1)[1:]


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
            rest[name] = stack(child)
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
