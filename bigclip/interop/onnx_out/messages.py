"""The messages of an ONNX file, as far as an export needs them.

ONNX files are Protocol Buffers. The fields below are those of ONNX's public `onnx.proto` (IR
version 9), with its names and numbers, which never change; declaring them here spares whoever
exports a model the installation of `onnx`.
"""

import functools
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

IR_VERSION = 9  # ONNX 1.15
OPSET = 20  # of the same release: the first with Gelu; onnxruntime 1.17 or newer

# AttributeProto.AttributeType
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7
# TensorProto.DataType
ELEMENT_TYPES = {np.dtype(np.float32): 1, np.dtype(np.int64): 7}
EXTERNAL = 1  # TensorProto.DataLocation

GRAPH_FIELD = 7  # of Model
INITIALIZER_FIELD = 5  # of Graph
RAW_DATA_FIELD = 9  # of Tensor

# Message -> its fields: name, type ("*" in front: repeated), number.
_MESSAGES = {
    "Model": (
        ("ir_version", "int64", 1),
        ("producer_name", "string", 2),
        ("producer_version", "string", 3),
        ("doc_string", "string", 6),
        ("graph", "Graph", GRAPH_FIELD),
        ("opset_import", "*OperatorSet", 8),
        ("metadata_props", "*Entry", 14),
    ),
    "OperatorSet": (("domain", "string", 1), ("version", "int64", 2)),
    "Entry": (("key", "string", 1), ("value", "string", 2)),
    "Graph": (
        ("node", "*Node", 1),
        ("name", "string", 2),
        ("initializer", "*Tensor", INITIALIZER_FIELD),
        ("doc_string", "string", 10),
        ("input", "*ValueInfo", 11),
        ("output", "*ValueInfo", 12),
    ),
    "Node": (
        ("input", "*string", 1),
        ("output", "*string", 2),
        ("name", "string", 3),
        ("op_type", "string", 4),
        ("attribute", "*Attribute", 5),
    ),
    "Attribute": (
        ("name", "string", 1),
        ("f", "float", 2),
        ("i", "int64", 3),
        ("s", "bytes", 4),
        ("ints", "*int64", 8),
        ("type", "int32", 20),
    ),
    "Tensor": (
        ("dims", "*int64", 1),
        ("data_type", "int32", 2),
        ("name", "string", 8),
        ("raw_data", "bytes", RAW_DATA_FIELD),
        ("external_data", "*Entry", 13),
        ("data_location", "int32", 14),
    ),
    "ValueInfo": (("name", "string", 1), ("type", "Type", 2)),
    "Type": (("tensor_type", "TensorType", 1),),
    "TensorType": (("elem_type", "int32", 1), ("shape", "Shape", 2)),
    "Shape": (("dim", "*Dimension", 1),),
    "Dimension": (("dim_value", "int64", 1), ("dim_param", "string", 2)),
}


@functools.cache
def _classes() -> dict[str, Any]:
    # proto2, as onnx.proto: an attribute that is 0 is written, too.
    file = descriptor_pb2.FileDescriptorProto(
        name="bigclip/onnx_out.proto", package="bigclip.onnx_out", syntax="proto2"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        entry = file.message_type.add(name=message)
        for name, kind, number in fields:
            repeated = kind.startswith("*")
            kind = kind.removeprefix("*")
            field = entry.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in _MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".{file.package}.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()  # of its own: `onnx` registers its messages, too
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}"))
        for name in _MESSAGES
    }


def message(kind: str, /, **fields: Any) -> Any:
    """Make a message, such as message("Entry", key="a", value="b")."""
    return _classes()[kind](**fields)


def attribute(name: str, value: int | float | str | tuple[int, ...]) -> Any:
    """Make the attribute of a node; its type is that of the value."""
    if isinstance(value, float):
        return message("Attribute", name=name, type=_FLOAT, f=value)
    if isinstance(value, int):
        return message("Attribute", name=name, type=_INT, i=value)
    if isinstance(value, str):
        return message("Attribute", name=name, type=_STRING, s=value.encode())
    return message("Attribute", name=name, type=_INTS, ints=value)


def tensor(name: str, shape: tuple[int, ...], dtype: Any, **fields: Any) -> Any:
    """Make a tensor, without data unless `fields` have them."""
    kind = ELEMENT_TYPES[np.dtype(dtype)]
    return message("Tensor", name=name, dims=shape, data_type=kind, **fields)


def value_info(name: str, dtype: Any, shape: tuple[int | str, ...]) -> Any:
    """Describe an input or output; a dimension that is a string may have any length."""
    dims = [
        message("Dimension", **{"dim_param" if isinstance(size, str) else "dim_value": size})
        for size in shape
    ]
    kind = message(
        "TensorType", elem_type=ELEMENT_TYPES[np.dtype(dtype)], shape=message("Shape", dim=dims)
    )
    return message("ValueInfo", name=name, type=message("Type", tensor_type=kind))
