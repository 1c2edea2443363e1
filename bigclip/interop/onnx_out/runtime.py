"""The exported models as onnxruntime runs them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from bigclip.config import ConfigError
from bigclip.interop.onnx_out.descriptions import TOKENIZER_FILE
from bigclip.interop.onnx_out.export import IMAGE_FILE, JOINT_FILE, TEXT_FILE

INSTALL = "pip install onnxruntime"


class OnnxReference:
    """Runs the models of a folder on the CPU; one at a time is open.

    Of a tower alone, it gives the features as the tower made them, not scaled to unit length.

    See `bigclip.interop.format.Reference` for the methods.
    """

    def __init__(self, folder: Path):
        """Open a folder that `write` made.

        Raises:
            ConfigError: if onnxruntime is not installed, or the folder holds no such model.
        """
        try:
            import onnxruntime
        except ImportError:
            raise ConfigError(
                f"to run ONNX models, onnxruntime is needed, which is not installed: {INSTALL}"
            ) from None
        self._library, self._folder = onnxruntime, Path(folder)
        self._open: tuple[str, Any] | None = None
        held = [name for name in (IMAGE_FILE, TEXT_FILE) if (self._folder / name).is_file()]
        if not held:
            raise ConfigError(f"{folder} holds neither {IMAGE_FILE} nor {TEXT_FILE}.")
        self._output = "{}_embeds" if len(held) == 2 else "{}_features"

    def _run(self, file_name: str, output: str, **inputs: np.ndarray) -> np.ndarray | None:
        if not (self._folder / file_name).is_file():
            return None
        if self._open is None or self._open[0] != file_name:
            self._open = None  # first: two large ones may not fit into memory
            session = self._library.InferenceSession(
                str(self._folder / file_name), providers=["CPUExecutionProvider"]
            )
            self._open = file_name, session
        return self._open[1].run([output], inputs)[0]

    def pixels(self, pictures: Sequence[PIL.Image.Image]) -> None:
        """Return None: the runtime prepares no pictures."""
        del pictures

    def ids(self, texts: Sequence[str]) -> np.ndarray | None:
        """Cut texts by the folder's tokenizer.json alone; None where it has none."""
        if not (self._folder / TOKENIZER_FILE).is_file():
            return None
        import tokenizers

        cut = tokenizers.Tokenizer.from_file(str(self._folder / TOKENIZER_FILE))
        return np.array([cut.encode(text).ids for text in texts], np.int64)

    def embed_images(self, pixels: np.ndarray) -> np.ndarray | None:
        """Embed normalised pixels [I, H, W, 3]: [I, D]."""
        return self._run(
            IMAGE_FILE, self._output.format("image"), pixel_values=_channels_first(pixels)
        )

    def embed_texts(self, ids: np.ndarray) -> np.ndarray | None:
        """Embed ids [T, L]: [T, D]."""
        return self._run(
            TEXT_FILE, self._output.format("text"), input_ids=np.asarray(ids, np.int64)
        )

    def logits(self, pixels: np.ndarray, ids: np.ndarray) -> np.ndarray | None:
        """Score all pairs, [I, T], by the model that holds both towers."""
        return self._run(
            JOINT_FILE,
            "logits_per_image",
            pixel_values=_channels_first(pixels),
            input_ids=np.asarray(ids, np.int64),
        )


def _channels_first(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(np.asarray(pixels, np.float32), -1, 1))
