"""The layers of both towers as ONNX operators; each mirrors a module of `bigclip.models`."""

from bigclip.config import ConfigError
from bigclip.interop.onnx_out.graph import Graph

_GELU_APPROXIMATIONS = {"gelu": "none", "gelu_tanh": "tanh"}


def layer_norm(graph: Graph, x: str, at: str, eps: float) -> str:
    """Normalise the last axis."""
    inputs = [x, graph.parameter(f"{at}/scale"), graph.parameter(f"{at}/bias")]
    return graph.add("LayerNormalization", inputs, at, axis=-1, epsilon=float(eps))


def dense(graph: Graph, x: str, at: str, *, bias: bool = True) -> str:
    """Multiply [..., in] by a matrix [in, out]."""
    kernel = graph.parameter(f"{at}/kernel")
    if not bias:
        return graph.add("MatMul", [x, kernel], at)
    product = graph.add("MatMul", [x, kernel], f"{at}/product")
    return graph.add("Add", [product, graph.parameter(f"{at}/bias")], at)


def activate(graph: Graph, x: str, at: str, activation: str) -> str:
    """Apply one of `bigclip.models.transformer.ACTIVATIONS`."""
    if activation == "quick_gelu":
        scaled = graph.add("Mul", [x, graph.constant(1.702)], f"{at}/scaled")
        gate = graph.add("Sigmoid", [scaled], f"{at}/gate")
        return graph.add("Mul", [x, gate], at)
    if activation not in _GELU_APPROXIMATIONS:
        raise ConfigError(f"ONNX: no operators are known here for the activation {activation!r}.")
    return graph.add("Gelu", [x], at, approximate=_GELU_APPROXIMATIONS[activation])


def mlp(graph: Graph, x: str, at: str, activation: str) -> str:
    """Two dense layers with an activation between."""
    y = dense(graph, x, f"{at}/up")
    y = activate(graph, y, f"{at}/activation", activation)
    return dense(graph, y, f"{at}/down")


def attention(
    graph: Graph,
    x: str,
    at: str,
    *,
    width: int,
    num_heads: int,
    queries: str | None = None,
    mask: str | None = None,
) -> str:
    """Attend from queries [1 or b, Q, E], or from x, to x [b, L, E]; gives [b, Q, E].

    `mask` [Q, L] is added to the logits.
    """
    size = width // num_heads

    def heads(inputs: str, name: str, order: tuple[int, ...]) -> str:
        y = dense(graph, inputs, f"{at}/{name}")
        y = graph.add("Reshape", [y, graph.integers(0, 0, num_heads, size)], f"{at}/{name}/heads")
        return graph.add("Transpose", [y], f"{at}/{name}/transposed", perm=order)

    query = heads(queries or x, "query", (0, 2, 1, 3))
    key = heads(x, "key", (0, 2, 3, 1))
    value = heads(x, "value", (0, 2, 1, 3))
    y = graph.add("MatMul", [query, key], f"{at}/products")
    y = graph.add("Mul", [y, graph.constant(size**-0.5)], f"{at}/logits")
    if mask:
        y = graph.add("Add", [y, mask], f"{at}/masked")
    y = graph.add("Softmax", [y], f"{at}/weights", axis=-1)
    y = graph.add("MatMul", [y, value], f"{at}/mixed")
    y = graph.add("Transpose", [y], f"{at}/mixed/transposed", perm=(0, 2, 1, 3))
    y = graph.add("Reshape", [y, graph.integers(0, 0, width)], f"{at}/mixed/joined")
    return dense(graph, y, f"{at}/out")


def blocks(graph: Graph, x: str, at: str, fields: dict, *, mask: str | None = None) -> str:
    """Run x [b, L, E] through all blocks of the tower `at` with these `fields`."""
    for index in range(fields["depth"]):
        here = f"{at}/block_{index:02d}"
        y = layer_norm(graph, x, f"{here}/ln_attention", fields["ln_eps"])
        y = attention(
            graph,
            y,
            f"{here}/attention",
            width=fields["width"],
            num_heads=fields["num_heads"],
            mask=mask,
        )
        x = graph.add("Add", [x, y], f"{here}/after_attention")
        y = layer_norm(graph, x, f"{here}/ln_mlp", fields["ln_eps"])
        y = mlp(graph, y, f"{here}/mlp", fields["activation"])
        x = graph.add("Add", [x, y], f"{here}/after_mlp")
    return x


def projection(graph: Graph, x: str, at: str, fields: dict) -> str:
    """Map the pooled vector [b, E] to the embedding [b, D], where the tower does."""
    if not fields["projection"]:
        return x
    return dense(graph, x, f"{at}/projection", bias=fields["projection_bias"])


def unit_length(graph: Graph, x: str, at: str, result: str) -> str:
    """Scale the rows of x [b, D] to unit length; a zero row stays zero."""
    y = graph.add("ReduceSumSquare", [x, graph.integers(-1)], f"{at}/squares", keepdims=1)
    y = graph.add("Max", [y, graph.constant(1e-16)], f"{at}/bounded")
    y = graph.add("Sqrt", [y], f"{at}/length")
    return graph.add("Div", [x, y], result)
