"""The model as OpenAI's own code runs it, at float32."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bigclip.interop.files import open_weights
from bigclip.interop.openai_rows import is_buffer
from bigclip.interop.torch_reference import TorchReference


class OpenAIReference(TorchReference):
    """A `Reference` on a file. Its arrays are read as data: an archive's program never runs."""

    def __init__(self, path: Path):
        """Build their model around the arrays.

        Raises:
            ImportError: without PyTorch and openai/CLIP.
        """
        super().__init__()
        import clip

        self._clip = clip
        state = {
            name: self._torch.from_numpy(np.asarray(tensor.read(), np.float32))
            for name, tensor in open_weights(path).items()
            if not is_buffer(name)
        }
        self._model = clip.model.build_model(dict(state)).float()
        self._model.load_state_dict(state)  # once more, for what float16 has rounded
        self._prepare = clip.clip._transform(self._model.visual.input_resolution)

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        """Cut texts into ids [T, L]."""
        length = self._model.context_length
        return self._clip.tokenize(list(texts), context_length=length, truncate=True).numpy()

    def embed_images(self, pixels: np.ndarray) -> np.ndarray:
        """Embed normalised pixels [I, H, W, 3]: [I, D], of unit length."""
        return _unit(self._run(self._model.encode_image, self._images(pixels)))

    def embed_texts(self, ids: np.ndarray) -> np.ndarray:
        """Embed ids: [T, D], of unit length."""
        return _unit(self._run(self._model.encode_text, self._texts(ids)))

    def logits(self, pixels: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Score all pairs, [I, T]."""
        return self._run(self._model, self._images(pixels), self._texts(ids))


def _unit(emb: np.ndarray) -> np.ndarray:
    return emb / np.linalg.norm(emb, axis=-1, keepdims=True)
