"""A graph under construction: nodes, constants, and the names of the parameters it needs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bigclip.interop.onnx_out import messages


class Graph:
    """Collects nodes in the order in which they run.

    Values are known by name, and each node has the name of its one result: the path of the module
    of ours that it stands for ("image/block_07/mlp/up"), with the step inside behind it where
    there are several. So a viewer shows our architecture.

    Attributes:
        parameters: path of ours -> key of `bigclip.interop.mapping.CHANGES` that brings the
            array into ONNX's layout; in the order of their use.
    """

    def __init__(self):
        self.parameters: dict[str, str] = {}
        self._nodes: dict[str, Any] = {}
        self._constants: dict[tuple, str] = {}
        self._constant_tensors: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: Any, shape: Sequence[int | str]) -> str:
        """Declare an input; strings name dimensions of any length. Returns its name."""
        self._inputs.append(messages.value_info(name, dtype, tuple(shape)))
        return name

    def output(self, name: str, shape: Sequence[int | str]) -> None:
        """Declare the float32 value of that name an output."""
        self._outputs.append(messages.value_info(name, np.float32, tuple(shape)))

    def parameter(self, path: str, change: str = "same") -> str:
        """Use a parameter of ours; it has the same name in the graph. Returns it."""
        self.parameters[path] = change
        return path

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Use a small array that is no parameter; equal ones are stored once. Returns its name."""
        array = np.asarray(value, dtype)
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constants/{len(self._constants)}"
            self._constants[key] = name
            little = array.astype(array.dtype.newbyteorder("<"))
            self._constant_tensors.append(
                messages.tensor(name, array.shape, dtype, raw_data=little.tobytes())
            )
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """Use int64 [n], as shapes and axes are given. Returns its name."""
        return self.constant(values, np.int64)

    def add(self, op: str, inputs: Sequence[str], at: str, **attributes: Any) -> str:
        """Append a node.

        Args:
            op: operator of the default domain, such as "MatMul".
            inputs: names of values.
            at: name of the node and of its result; must be new.
            **attributes: of the operator.

        Returns:
            `at`.
        """
        if at in self._nodes or at in self.parameters:
            raise ValueError(f"the graph has two values named {at!r}")
        self._nodes[at] = messages.message(
            "Node",
            name=at,
            op_type=op,
            input=inputs,
            output=[at],
            attribute=[messages.attribute(*item) for item in attributes.items()],
        )
        return at

    def message(self, name: str) -> Any:
        """Return the graph's message, without its parameters."""
        return messages.message(
            "Graph",
            name=name,
            node=list(self._nodes.values()),
            initializer=self._constant_tensors,
            input=self._inputs,
            output=self._outputs,
        )


def model_message(graph: Any, *, version: str, metadata: Mapping[str, str]) -> Any:
    """Wrap a graph's message; `metadata` are texts for whoever opens the file."""
    return messages.message(
        "Model",
        ir_version=messages.IR_VERSION,
        opset_import=[messages.message("OperatorSet", domain="", version=messages.OPSET)],
        producer_name="bigclip",
        producer_version=version,
        graph=graph,
        metadata_props=[
            messages.message("Entry", key=key, value=value) for key, value in metadata.items()
        ],
    )
