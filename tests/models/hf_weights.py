"""Random weights under the names of transformers, and their place in bigclip's trees.

The weights of a name are drawn from a generator seeded by the name, so goldens hold outputs only.
"""

import math
import re
import zlib

import numpy as np


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


def _linear(ours: str, theirs: str) -> list[tuple]:
    return [
        (f"{ours}/kernel", f"{theirs}.weight", np.transpose),
        (f"{ours}/bias", f"{theirs}.bias"),
    ]


def _norm(ours: str, theirs: str) -> list[tuple]:
    return [(f"{ours}/scale", f"{theirs}.weight"), (f"{ours}/bias", f"{theirs}.bias")]


def _row(x: np.ndarray) -> np.ndarray:
    return x.reshape(1, -1)


def _third(index: int):
    """Take query, key or value out of PyTorch's packed matrix or bias."""
    return lambda x: np.split(x, 3)[index].T


def _block(ours: str, theirs: str) -> list[tuple]:
    return [
        *_norm(f"{ours}/ln_attention", f"{theirs}.layer_norm1"),
        *_linear(f"{ours}/attention/query", f"{theirs}.self_attn.q_proj"),
        *_linear(f"{ours}/attention/key", f"{theirs}.self_attn.k_proj"),
        *_linear(f"{ours}/attention/value", f"{theirs}.self_attn.v_proj"),
        *_linear(f"{ours}/attention/out", f"{theirs}.self_attn.out_proj"),
        *_norm(f"{ours}/ln_mlp", f"{theirs}.layer_norm2"),
        *_linear(f"{ours}/mlp/up", f"{theirs}.mlp.fc1"),
        *_linear(f"{ours}/mlp/down", f"{theirs}.mlp.fc2"),
    ]


# (our path, their name, what to do with the array); {} is the number of the layer.
TABLE = [
    (
        "image/stem/kernel",
        "vision_model.embeddings.patch_embedding.weight",
        lambda x: x.transpose(2, 3, 1, 0),
    ),
    ("image/stem/bias", "vision_model.embeddings.patch_embedding.bias"),
    ("image/class_token", "vision_model.embeddings.class_embedding", _row),
    ("image/position", "vision_model.embeddings.position_embedding.weight"),
    *_norm("image/ln_pre", "vision_model.pre_layrnorm"),
    *_block("image/block_{}", "vision_model.encoder.layers.{}"),
    *_norm("image/ln_post", "vision_model.post_layernorm"),
    ("image/map_head/probe", "vision_model.head.probe", _row),
    *[
        (
            f"image/map_head/attention/{name}/{ours}",
            f"vision_model.head.attention.in_proj_{theirs}",
            _third(i),
        )
        for i, name in enumerate(("query", "key", "value"))
        for ours, theirs in (("kernel", "weight"), ("bias", "bias"))
    ],
    *_linear("image/map_head/attention/out", "vision_model.head.attention.out_proj"),
    *_norm("image/map_head/ln_mlp", "vision_model.head.layernorm"),
    *_linear("image/map_head/mlp/up", "vision_model.head.mlp.fc1"),
    *_linear("image/map_head/mlp/down", "vision_model.head.mlp.fc2"),
    ("image/projection/kernel", "visual_projection.weight", np.transpose),
    ("text/token_embedding", "text_model.embeddings.token_embedding.weight"),
    ("text/position", "text_model.embeddings.position_embedding.weight"),
    *_block("text/block_{}", "text_model.encoder.layers.{}"),
    *_norm("text/ln_post", "text_model.final_layer_norm"),
    ("text/projection/kernel", "text_projection.weight", np.transpose),
    *_linear("text/projection", "text_model.head"),
]


def to_bigclip(weights: dict[str, np.ndarray]) -> dict:
    """Return {"image": params, "text": params} of unrolled towers; every weight must be used."""
    tree, left = {}, set(weights) - {"logit_scale", "logit_bias"}
    for name in sorted(left):
        for ours, theirs, *change in TABLE:
            match = re.fullmatch(re.escape(theirs).replace(r"\{\}", r"(\d+)"), name)
            if not match:
                continue
            path = ours.format(*(f"{int(number):02d}" for number in match.groups()))
            *parents, leaf = path.split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = change[0](weights[name]) if change else weights[name]
            left.discard(name)
    assert not left, f"no place in bigclip's trees for {sorted(left)}"
    return tree
