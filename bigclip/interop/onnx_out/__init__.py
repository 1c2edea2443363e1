"""ONNX models of a checkpoint, for onnxruntime and whatever else runs them.

A folder with `vision_model.onnx`, `text_model.onnx`, `model.onnx` (both, with the logits of all
pairs), and how pictures and texts become their inputs. Any number of pictures and of texts;
float32; opset 20, so onnxruntime 1.17 or newer. transformers.js opens it with `subfolder: ""`
where transformers has a class for the model.

The graphs are written from the architecture, operator by operator, under our names, and nothing
need be installed for it. jax2onnx 0.17.1 was measured first: right to 1e-6, but 1,750 nodes and
1,647 nameless constants for clip-vit-b-32's image tower, where this has 389 and 209; twice the
weights in memory; no weights shared between models; and it asks for orbax-checkpoint < 0.11.37,
where bigclip needs 0.12.
"""

from pathlib import Path

from bigclip.interop.format import Format
from bigclip.interop.onnx_out.export import IMAGE_FILE, JOINT_FILE, TEXT_FILE, write
from bigclip.interop.onnx_out.runtime import INSTALL, OnnxReference


def _recognises(path: Path) -> bool:
    return any((path / name).is_file() for name in (JOINT_FILE, IMAGE_FILE, TEXT_FILE))


_USAGE = """\
import onnxruntime

session = onnxruntime.InferenceSession("{path}/model.onnx")
print([(one.name, one.shape) for one in session.get_inputs()])
# Pictures as preprocess.json tells, float32 [I, 3, H, W]; ids by tokenizer.json, int64 [T, L].
inputs = {{"pixel_values": pixels, "input_ids": ids}}
logits_per_image = session.run(["logits_per_image"], inputs)[0]"""

FORMAT = Format(
    name="onnx",
    title="ONNX: image tower, text tower, and both with logits",
    suffixes=(),
    recognises=_recognises,
    read=None,
    write=write,
    reference=OnnxReference,
    install=INSTALL,
    needs=("onnxruntime",),
    usage=_USAGE,
)
