"""CLIP's ResNets as ONNX operators; mirrors `bigclip.models.resnet`. Feature maps are [b, C, h, w].

Batch normalisation goes by the running statistics, as in all use after training.
"""

from typing import Any

from bigclip.interop.onnx_out import layers
from bigclip.interop.onnx_out.graph import Graph
from bigclip.models.resnet import EXPANSION, BlockShape, block_shapes


def modified_resnet(graph: Graph, pixels: str, fields: dict[str, Any]) -> str:
    """Map pixels [b, 3, H, W] to features [b, D]."""
    eps, x = fields["bn_eps"], pixels
    for index, stride in enumerate((2, 1, 1)):
        x = _conv(graph, x, f"image/stem/conv_{index}", 3, stride=stride)
        x = _norm(graph, x, f"image/stem/bn_{index}", eps)
        x = graph.add("Relu", [x], f"image/stem/relu_{index}")
    x = _halve(graph, x, "image/stem")
    for stage, shapes in enumerate(block_shapes(fields["stages"], fields["width"])):
        for index, shape in enumerate(shapes):
            x = _bottleneck(graph, x, f"image/stage_{stage}/block_{index:02d}", shape, eps)
    return _attention_pool(graph, x, fields)


def _conv(graph: Graph, x: str, at: str, size: int, *, stride: int = 1) -> str:
    return graph.add(
        "Conv",
        [x, graph.parameter(f"{at}/kernel", "conv")],
        at,
        kernel_shape=(size, size),
        strides=(stride, stride),
        pads=(size // 2,) * 4,
    )


def _norm(graph: Graph, x: str, at: str, eps: float) -> str:
    names = ("scale", "bias", "running_mean", "running_var")
    inputs = [x, *(graph.parameter(f"{at}/{name}") for name in names)]
    return graph.add("BatchNormalization", inputs, at, epsilon=float(eps))


def _halve(graph: Graph, x: str, at: str) -> str:
    return graph.add("AveragePool", [x], at, kernel_shape=(2, 2), strides=(2, 2))


def _bottleneck(graph: Graph, x: str, at: str, shape: BlockShape, eps: float) -> str:
    y = x
    for index, size in enumerate((1, 3, 1)):
        if index == 2 and shape.stride > 1:
            x, y = _halve(graph, x, f"{at}/shortcut_pool"), _halve(graph, y, f"{at}/pool")
        y = _conv(graph, y, f"{at}/conv_{index}", size)
        y = _norm(graph, y, f"{at}/bn_{index}", eps)
        if index < 2:
            y = graph.add("Relu", [y], f"{at}/relu_{index}")
    if shape.has_shortcut:
        x = _norm(graph, _conv(graph, x, f"{at}/shortcut_conv", 1), f"{at}/shortcut_bn", eps)
    return graph.add("Relu", [graph.add("Add", [x, y], f"{at}/sum")], at)


def _attention_pool(graph: Graph, x: str, fields: dict[str, Any]) -> str:
    """Let the mean of the feature map attend to it and to all positions."""
    at, width = "image/attention_pool", fields["width"] * 8 * EXPANSION
    x = graph.add("Reshape", [x, graph.integers(0, width, -1)], f"{at}/columns")
    x = graph.add("Transpose", [x], f"{at}/tokens", perm=(0, 2, 1))
    mean = graph.add("ReduceMean", [x, graph.integers(1)], f"{at}/mean", keepdims=1)
    x = graph.add("Concat", [mean, x], f"{at}/with_mean", axis=1)
    x = graph.add("Add", [x, graph.parameter(f"{at}/position")], f"{at}/with_position")
    mean = graph.add("Gather", [x, graph.integers(0)], f"{at}/queries", axis=1)
    num_heads = fields["num_heads"]
    y = layers.attention(graph, x, at, width=width, num_heads=num_heads, queries=mean)
    return graph.add("Squeeze", [y, graph.integers(1)], at)
