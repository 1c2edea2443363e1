"""Writes a checkpoint as a folder of ONNX models."""

import json
from pathlib import Path

from bigclip import __version__
from bigclip.interop.mapping import Row
from bigclip.interop.onnx_out.descriptions import describe, write_descriptions
from bigclip.interop.onnx_out.graph import Graph, model_message
from bigclip.interop.onnx_out.towers import image_graph, joint_graph, text_graph
from bigclip.interop.onnx_out.weights import MAX_FILE_BYTES, Part, write_models
from bigclip.interop.outgoing import Outgoing

# As optimum and transformers.js name them.
IMAGE_FILE, TEXT_FILE, JOINT_FILE = "vision_model.onnx", "text_model.onnx", "model.onnx"
_SCALARS = ("log_logit_scale", "logit_bias")
_TITLE = "ONNX"


def graphs(outgoing: Outgoing) -> dict[str, Graph]:
    """Build the graph of each file: one for each tower, and with both towers a joint one.

    Raises:
        ConfigError: if the architecture has a part for which no operators are known here.
    """
    arch, found = outgoing.architecture, {}
    if "image" in outgoing.towers:
        found[IMAGE_FILE] = image_graph(arch)
    if "text" in outgoing.towers:
        found[TEXT_FILE] = text_graph(arch)
    if len(found) == 2:
        scalars = [name for name in _SCALARS if name in outgoing.shapes]
        found[JOINT_FILE] = joint_graph(arch, scalars)
    return found


def write(folder: Path, outgoing: Outgoing, *, max_file_bytes: int = MAX_FILE_BYTES) -> None:
    """Write a checkpoint into an empty folder.

    Args:
        folder: exists.
        outgoing: the checkpoint.
        max_file_bytes: a model with more bytes of parameters shares one file of data with the
            other models of the folder.

    Raises:
        ConfigError: if the architecture cannot be said in ONNX, or the disk is too small.
    """
    built, files = graphs(outgoing), describe(outgoing)
    changes = {
        name: change for graph in built.values() for name, change in graph.parameters.items()
    }
    specs, arrays = outgoing.translated(
        [Row(name, name, change) for name, change in changes.items()],
        where=_TITLE,
        without=[name for name in _SCALARS if JOINT_FILE not in built],
    )
    metadata = {
        "bigclip.architecture": json.dumps(outgoing.architecture),
        "bigclip.preprocess": json.dumps(outgoing.preprocess.to_dict()),
        "bigclip.step": str(outgoing.step),
        "bigclip.examples_seen": str(outgoing.examples_seen),
    }
    parts = {
        name: Part(
            model_message(graph.message(Path(name).stem), version=__version__, metadata=metadata),
            tuple(graph.parameters),
        )
        for name, graph in built.items()
    }
    write_models(folder, parts, specs, arrays, max_file_bytes=max_file_bytes)
    write_descriptions(folder, files)
