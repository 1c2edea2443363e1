"""The model as transformers runs it: `AutoModel` and `AutoProcessor` on its folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from bigclip.interop.torchvision_import import import_torchvision


class TransformersReference:
    """A `Reference` on a folder; float32, on the CPU."""

    def __init__(self, folder: Path):
        """Load the model and what of its processor there is.

        Raises:
            ImportError: without transformers and PyTorch.
        """
        import_torchvision()  # transformers imports it where it is there
        import torch
        import transformers

        self._torch = torch
        self._model = transformers.AutoModel.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        ).eval()
        self._naflex = self._model.config.model_type == "siglip2"
        self._length = self._model.config.text_config.max_position_embeddings
        self._processor = None
        if (folder / "preprocessor_config.json").exists() or (
            folder / "processor_config.json"
        ).exists():
            self._processor = transformers.AutoProcessor.from_pretrained(
                folder, local_files_only=True
            )

    def pixels(self, pictures: Sequence[PIL.Image.Image]) -> np.ndarray | None:
        """Prepare pictures: [I, H, W, 3]; None for a NaFlex model, which keeps proportions."""
        if self._naflex or self._processor is None:
            return None
        found = self._processor.image_processor(images=list(pictures), return_tensors="pt")
        return found["pixel_values"].permute(0, 2, 3, 1).numpy()

    def ids(self, texts: Sequence[str]) -> np.ndarray | None:
        """Cut texts into ids [T, L]."""
        if self._processor is None:
            return None
        tokenizer = self._processor.tokenizer
        length = min(tokenizer.model_max_length, self._length)
        found = tokenizer(list(texts), padding="max_length", truncation=True, max_length=length)
        return np.asarray(found["input_ids"])

    def embed_images(self, pixels: np.ndarray) -> np.ndarray:
        """Embed normalised pixels [I, H, W, 3]: [I, D], of unit length."""
        with self._torch.no_grad():
            found = self._model.get_image_features(**self._image_inputs(pixels))
        return _normalised(found)

    def embed_texts(self, ids: np.ndarray) -> np.ndarray:
        """Embed ids: [T, D], of unit length."""
        with self._torch.no_grad():
            found = self._model.get_text_features(input_ids=self._ids(ids))
        return _normalised(found)

    def logits(self, pixels: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Score all pairs, [I, T]."""
        with self._torch.no_grad():
            found = self._model(input_ids=self._ids(ids), **self._image_inputs(pixels))
        return found.logits_per_image.numpy()

    def _ids(self, ids: np.ndarray):
        return self._torch.from_numpy(np.asarray(ids, np.int64))

    def _image_inputs(self, pixels: np.ndarray) -> dict:
        pixels = np.asarray(pixels, np.float32)
        if not self._naflex:
            moved = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
            return {"pixel_values": self._torch.from_numpy(moved)}
        size = self._model.config.vision_config.patch_size
        count, side = len(pixels), pixels.shape[1] // size
        cut = pixels.reshape(count, side, size, side, size * 3).swapaxes(2, 3)
        flat = np.ascontiguousarray(cut.reshape(count, side * side, -1))
        return {
            "pixel_values": self._torch.from_numpy(flat),
            "pixel_attention_mask": self._torch.ones(flat.shape[:2], dtype=self._torch.int64),
            "spatial_shapes": self._torch.full((count, 2), side),
        }


def _normalised(found) -> np.ndarray:
    # Version 5 returns the whole output, version 4 the embeddings alone.
    emb = getattr(found, "pooler_output", found)
    return (emb / emb.norm(dim=-1, keepdim=True)).numpy()
