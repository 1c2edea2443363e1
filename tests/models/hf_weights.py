"""Random weights under the names of transformers, and their place in bigclip's trees.

The weights of a name are drawn from a generator seeded by the name, so goldens hold outputs only.
"""

import math
import re
import zlib

import numpy as np

from bigclip.interop.mapping import links
from bigclip.interop.transformers_folder.tables import rows


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the weights called `name`; RandomState's stream is frozen by NumPy's promise."""
    if name == "logit_scale":
        return np.full(shape, math.log(1 / 0.07), np.float32)
    if name == "logit_bias":
        return np.full(shape, -10.0, np.float32)
    normal = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if "norm" in name and name.endswith("weight"):
        return (1 + 0.2 * normal).astype(np.float32)
    if "embedding" in name or "probe" in name:
        scale = 0.5 if "patch" not in name or name.endswith("bias") else shape[1:] and _fan(shape)
    elif len(shape) == 1:
        scale = 0.2
    else:
        scale = 1.5 * _fan(shape)
    return (scale * normal).astype(np.float32)


def _fan(shape: tuple[int, ...]) -> float:
    return float(np.prod(shape[1:])) ** -0.5


def to_bigclip(weights: dict[str, np.ndarray]) -> dict:
    """Return {"image": params, "text": params} of unrolled towers; every weight must be used."""
    model_type = "siglip" if "vision_model.head.probe" in weights else "clip"
    depths = {}
    for tower, theirs in (("image", "vision"), ("text", "text")):
        pattern = re.compile(rf"{theirs}_model\.encoder\.layers\.(\d+)\.")
        numbers = [int(match[1]) for match in map(pattern.match, weights) if match]
        depths[tower] = {"depth": 1 + max(numbers)}
    tree, left = {}, set(weights)
    for link in links(rows(model_type), depths):
        if link.theirs not in left:
            continue
        left.discard(link.theirs)
        for path, array in link.to_ours(weights[link.theirs]).items():
            *parents, leaf = path.split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = array
    assert not left, f"no place in bigclip's trees for {sorted(left)}"
    return {tower: tree[tower] for tower in depths}
