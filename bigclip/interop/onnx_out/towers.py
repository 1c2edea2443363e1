"""The towers as ONNX graphs, and both with the logits of all pairs.

Names and layouts of inputs and outputs are those of optimum's exports, which transformers.js and
many servers know: `pixel_values`, `input_ids`, `image_embeds`, `text_embeds`, `logits_per_image`,
`logits_per_text`. These embeddings have unit length, in the files of one tower, too; there,
`image_features` and `text_features` are the same before they are scaled.
"""

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from bigclip import models
from bigclip.config import choose
from bigclip.interop.onnx_out import layers
from bigclip.interop.onnx_out.graph import Graph
from bigclip.interop.onnx_out.resnet import modified_resnet

IMAGES, TEXTS, TOKENS = "image_batch_size", "text_batch_size", "sequence_length"


def add_image_tower(graph: Graph, arch: dict[str, Any]) -> tuple[str, str]:
    """Add `pixel_values` float32 [I, 3, H, W], normalised.

    Returns:
        The names of the embeddings [I, D], of unit length and before.
    """
    fields = arch["image"]
    size = fields["image_size"]
    pixels = graph.input("pixel_values", np.float32, (IMAGES, 3, size, size))
    tower = modified_resnet if models.is_resnet(fields) else _vision_transformer
    x = tower(graph, pixels, fields)
    return layers.unit_length(graph, x, "image/embedding", "image_embeds"), x


def _vision_transformer(graph: Graph, pixels: str, fields: dict) -> str:
    stems = {"patch": _patch_stem, "conv": _conv_stem}
    x = choose(fields["stem"], stems, "image.stem")(graph, pixels, fields)  # [b, P, E]
    if fields["pool"] == "class":
        count = graph.add("Shape", [x], "image/class_token/batch", start=0, end=1)
        shape = graph.add(
            "Concat", [count, graph.integers(1, fields["width"])], "image/class_token/shape", axis=0
        )
        token = graph.parameter("image/class_token")
        token = graph.add("Expand", [token, shape], "image/class_token/expanded")
        x = graph.add("Concat", [token, x], "image/with_class_token", axis=1)
    x = graph.add("Add", [x, graph.parameter("image/position")], "image/with_position")
    eps = fields["ln_eps"]
    if fields["ln_pre"]:
        x = layers.layer_norm(graph, x, "image/ln_pre", eps)
    x = layers.blocks(graph, x, "image", fields)
    return layers.projection(graph, _pooled(graph, x, fields), "image", fields)


def _pooled(graph: Graph, x: str, fields: dict) -> str:
    """[b, P, E] -> [b, E]."""
    eps = fields["ln_eps"]
    choose(fields["pool"], dict.fromkeys(("class", "mean", "map")), "image.pool")
    if fields["pool"] == "class":
        x = graph.add("Gather", [x, graph.constant(0, np.int64)], "image/class_output", axis=1)
        return layers.layer_norm(graph, x, "image/ln_post", eps)
    x = layers.layer_norm(graph, x, "image/ln_post", eps)
    if fields["pool"] == "mean":
        return graph.add("ReduceMean", [x, graph.integers(1)], "image/pooled", keepdims=0)
    return _map_head(graph, x, fields)


def _map_head(graph: Graph, x: str, fields: dict) -> str:
    at, width = "image/map_head", fields["width"]
    probe = graph.parameter(f"{at}/probe")
    probe = graph.add("Reshape", [probe, graph.integers(1, 1, width)], f"{at}/queries")
    y = layers.attention(
        graph,
        x,
        f"{at}/attention",
        width=width,
        num_heads=fields["num_heads"],
        queries=probe,
    )
    y = graph.add("Squeeze", [y, graph.integers(1)], f"{at}/attended")
    z = layers.layer_norm(graph, y, f"{at}/ln_mlp", fields["ln_eps"])
    z = layers.mlp(graph, z, f"{at}/mlp", fields["activation"])
    return graph.add("Add", [y, z], at)


def _patch_stem(graph: Graph, pixels: str, fields: dict) -> str:
    size = fields["patch_size"]
    inputs = [pixels, graph.parameter("image/stem/kernel", "conv")]
    if fields["patch_bias"]:
        inputs.append(graph.parameter("image/stem/bias"))
    x = graph.add(
        "Conv", inputs, "image/stem/patches", kernel_shape=(size, size), strides=(size, size)
    )
    x = graph.add("Reshape", [x, graph.integers(0, fields["width"], -1)], "image/stem/columns")
    return graph.add("Transpose", [x], "image/stem", perm=(0, 2, 1))


def _conv_stem(graph: Graph, pixels: str, fields: dict) -> str:
    x = pixels
    for index in range(int(math.log2(fields["patch_size"]))):
        at = f"image/stem/conv_{index}"
        x = graph.add(
            "Conv",
            [x, graph.parameter(f"{at}/kernel", "conv")],
            at,
            kernel_shape=(3, 3),
            strides=(2, 2),
            pads=(1, 1, 1, 1),
        )
        # The norm is over the channels, and operators normalise last axes.
        x = graph.add("Transpose", [x], f"{at}/channels_last", perm=(0, 2, 3, 1))
        x = layers.layer_norm(graph, x, f"image/stem/ln_{index}", fields["ln_eps"])
        x = graph.add("Relu", [x], f"{at}/relu")
        x = graph.add("Transpose", [x], f"{at}/channels_first", perm=(0, 3, 1, 2))
    x = graph.add("Reshape", [x, graph.integers(0, fields["width"], -1)], "image/stem/columns")
    x = graph.add("Transpose", [x], "image/stem/patches", perm=(0, 2, 1))
    return layers.dense(graph, x, "image/stem/projection")


def takes_any_length(arch: dict[str, Any]) -> bool:
    """Whether shorter rows of ids give the same text embedding as padded ones.

    So it is where no token sees those behind it and the embedding is taken at the end of the text.
    """
    return arch["text"]["causal"] and arch["text"]["pool"] == "eot"


def add_text_tower(graph: Graph, arch: dict[str, Any]) -> tuple[str, str]:
    """Add `input_ids` int64 [T, L].

    L is the context length; or at most that, where padding makes no difference.

    Returns:
        The names of the embeddings [T, D], of unit length and before.
    """
    fields = arch["text"]
    length = fields["context_length"]
    any_length = takes_any_length(arch)
    ids = graph.input("input_ids", np.int64, (TEXTS, TOKENS if any_length else length))
    position = graph.parameter("text/position")
    mask = None
    if fields["causal"]:
        lowest = np.finfo(np.float32).min
        mask = graph.constant(np.triu(np.full((length, length), lowest, np.float32), 1))
    if any_length:
        end = graph.add("Shape", [ids], "text/length", start=1, end=2)
        inputs = [position, graph.integers(0), end, graph.integers(0)]
        position = graph.add("Slice", inputs, "text/position/used")
        ends = graph.add("Concat", [end, end], "text/mask/ends", axis=0)
        inputs = [mask, graph.integers(0, 0), ends, graph.integers(0, 1)]
        mask = graph.add("Slice", inputs, "text/mask")
    embedding = graph.parameter("text/token_embedding")
    x = graph.add("Gather", [embedding, ids], "text/tokens", axis=0)
    x = graph.add("Add", [x, position], "text/with_position")
    x = layers.blocks(graph, x, "text", fields, mask=mask)
    choose(fields["pool"], dict.fromkeys(("eot", "last")), "text.pool")
    if fields["pool"] == "eot":
        # The first of the largest ids, as everywhere.
        end = graph.add("ArgMax", [ids], "text/end", axis=1, keepdims=1, select_last_index=0)
        x = graph.add("GatherND", [x, end], "text/end_output", batch_dims=1)
    else:
        x = graph.add("Gather", [x, graph.constant(-1, np.int64)], "text/last_output", axis=1)
    x = layers.layer_norm(graph, x, "text/ln_post", fields["ln_eps"])
    x = layers.projection(graph, x, "text", fields)
    return layers.unit_length(graph, x, "text/embedding", "text_embeds"), x


def image_graph(arch: dict[str, Any]) -> Graph:
    """The image tower."""
    graph = Graph()
    emb, features = add_image_tower(graph, arch)
    for name in (emb, graph.add("Identity", [features], "image_features")):
        graph.output(name, (IMAGES, arch["embed_dim"]))
    return graph


def text_graph(arch: dict[str, Any]) -> Graph:
    """The text tower."""
    graph = Graph()
    emb, features = add_text_tower(graph, arch)
    for name in (emb, graph.add("Identity", [features], "text_features")):
        graph.output(name, (TEXTS, arch["embed_dim"]))
    return graph


def joint_graph(arch: dict[str, Any], scalars: Collection[str]) -> Graph:
    """Both towers, and `logits_per_image` [I, T] and `logits_per_text` [T, I] of all pairs.

    Args:
        arch: the architecture.
        scalars: which of "log_logit_scale" and "logit_bias" the model has.
    """
    graph = Graph()
    image_emb, _ = add_image_tower(graph, arch)
    text_emb, _ = add_text_tower(graph, arch)
    graph.output(image_emb, (IMAGES, arch["embed_dim"]))
    graph.output(text_emb, (TEXTS, arch["embed_dim"]))
    columns = graph.add("Transpose", [text_emb], "logits/texts", perm=(1, 0))
    logits = graph.add("MatMul", [image_emb, columns], "logits/cosines")
    scale = graph.add("Exp", [graph.parameter("log_logit_scale")], "logits/scale")
    if "logit_bias" in scalars:
        logits = graph.add("Mul", [logits, scale], "logits/scaled")
        logits = graph.add("Add", [logits, graph.parameter("logit_bias")], "logits_per_image")
    else:
        logits = graph.add("Mul", [logits, scale], "logits_per_image")
    graph.add("Transpose", [logits], "logits_per_text", perm=(1, 0))
    graph.output("logits_per_image", (IMAGES, TEXTS))
    graph.output("logits_per_text", (TEXTS, IMAGES))
    return graph
