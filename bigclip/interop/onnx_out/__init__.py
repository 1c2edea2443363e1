"""ONNX models of a checkpoint, for onnxruntime and whatever else runs them.

A folder with `vision_model.onnx`, `text_model.onnx`, `model.onnx` (both, with the logits of all
pairs), `preprocess.json` and the tokenizer's file. Any number of pictures and of texts; float32.

The graphs are written from the architecture, operator by operator, under our names. jax2onnx
0.17.1 was measured first: right to 1e-6, but 1,750 nodes and 1,647 nameless constants for
clip-vit-b-32's image tower where this has 300 and 160, all weights twice in memory, no file shared
between models, and it needs orbax-checkpoint < 0.11.37, where bigclip needs 0.12.
"""

from pathlib import Path

from bigclip.interop.format import Format
from bigclip.interop.onnx_out.export import IMAGE_FILE, JOINT_FILE, TEXT_FILE, write
from bigclip.interop.onnx_out.runtime import INSTALL, OnnxReference


def _recognises(path: Path) -> bool:
    return any((path / name).is_file() for name in (JOINT_FILE, IMAGE_FILE, TEXT_FILE))


FORMAT = Format(
    name="onnx",
    title="ONNX: image tower, text tower, and both with logits",
    suffixes=(),
    recognises=_recognises,
    read=None,
    write=write,
    reference=OnnxReference,
    install=INSTALL,
)
